package web

import (
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

func TestHealth(t *testing.T) {
	src := cellar()
	s := serve(t, src, defaultLimits)
	for _, c := range []struct {
		problems []string
		code     int
		want     string
	}{
		{nil, 200, `{"healthy":true,"reasons":[]}`},
		{[]string{"store: no space left on device", "line rs485 hangs"}, 503,
			`{"healthy":false,"reasons":["store: no space left on device","line rs485 hangs"]}`},
	} {
		src.set(func(f *field) { f.problems = c.problems })
		resp, body := get(t, s, "/healthz")
		if resp.StatusCode != c.code || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%q: %s, %s", c.problems, resp.Status, resp.Header.Get("Content-Type"))
		}
		if got := strings.Join(strings.Fields(strings.ReplaceAll(body, `": `, `":`)), ""); got != strings.ReplaceAll(c.want, " ", "") {
			t.Errorf("%q: %s", c.problems, body)
		}
	}
}

func TestStatusAPI(t *testing.T) {
	src := cellar()
	src.status.Lines[0].Load = math.NaN()
	src.status.Devices[0].Points[1].Value = json.RawMessage("tru")
	resp, body := get(t, serve(t, src, defaultLimits), "/api/status")
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s, %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	if strings.Contains(body, "hunter2") {
		t.Error("the password of the upstream is shown")
	}
	var got Status
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if got.Upstreams[0].URL != "mqtts://mq.example.com:8883" {
		t.Errorf("upstream at %q", got.Upstreams[0].URL)
	}
	if got.Lines[0].Load != 0 {
		t.Errorf("a load that is no number became %v", got.Lines[0].Load)
	}
	points := got.Devices[0].Points
	if v := string(points[0].Value); v != "231.4" {
		t.Errorf("voltage %s", v)
	}
	if v := string(points[1].Value); v != "null" {
		t.Errorf("a value that is no JSON became %s", v)
	}
	if points[4].Time != (time.Time{}) || strings.Contains(body, "0001-01-01") {
		t.Error("a time that is not known is shown")
	}
	if string(src.status.Devices[0].Points[1].Value) != "tru" {
		t.Error("the source's own status was changed")
	}
}

// TestStatusOfNothing checks that a list without entries is a list.
func TestStatusOfNothing(t *testing.T) {
	s := serve(t, &field{status: Status{Devices: []Device{{Name: "d"}}}}, defaultLimits)
	_, body := get(t, s, "/api/status")
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"lines", "devices", "upstreams"} {
		if _, ok := got[key].([]any); !ok {
			t.Errorf("%s is %v", key, got[key])
		}
	}
	if strings.Contains(body, "null") {
		t.Errorf("null in %s", body)
	}
	if resp, _ := get(t, s, "/"); resp.StatusCode != http.StatusOK {
		t.Errorf("page: %s", resp.Status)
	}
}

func TestWithoutSecrets(t *testing.T) {
	for address, want := range map[string]string{
		"mqtt://h:1883":                   "mqtt://h:1883",
		"wss://u:p@h/mqtt?token=secret#s": "wss://h/mqtt",
		"mqtt://u:p%zz@h":                 "",
		"u:secret@h":                      "",
		"":                                "",
	} {
		if got := withoutSecrets(address); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}

func TestMetrics(t *testing.T) {
	src := cellar()
	src.status.Devices[0].Points[0].Unit = "V\xff" // a unit in Latin-1 must not break them all
	s := serve(t, src, defaultLimits)
	resp, body := get(t, s, "/metrics")
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s\n%s", resp.Status, body)
	}
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("promlint: %s: %s", p.Metric, p.Text)
	}
	for _, want := range []string{
		`sluice_build_info{goversion="go`,
		"sluice_healthy 1\n",
		`sluice_line_open{line="rs485"} 1` + "\n",
		`sluice_line_busy_ratio{line="rs485"} 0.425` + "\n",
		`sluice_line_errors_total{cause="crc",line="rs485"} 1` + "\n",
		`sluice_device_up{device="pump",line="rs485"} 0` + "\n",
		`sluice_device_requests_total{device="pump",line="rs485",result="timeout"} 44` + "\n",
		`sluice_value{device="meter",point="voltage",unit="V�"} 231.4` + "\n",
		`sluice_value{device="meter",point="relay",unit=""} 1` + "\n",
		`sluice_upstream_connected{upstream="cloud"} 0` + "\n",
		`sluice_queue_messages{upstream="cloud"} 1204` + "\n",
		`sluice_queue_lanes{upstream="cloud"} 2` + "\n",
		`sluice_queue_given_up_total{reason="expired",upstream="cloud"} 5` + "\n",
		`sluice_upstream_rate_limited{upstream="cloud"} 1` + "\n",
		`sluice_queue_bytes{upstream="cloud"} 98611` + "\n",
		`sluice_queue_oldest_age_seconds{upstream="cloud"} 720` + "\n",
		"sluice_broker_messages_received_total 1000\n",
		"sluice_store_bytes 4.194304e+06\n",
		"go_goroutines ",
		"process_open_fds ",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q", want)
		}
	}
	for _, not := range []string{
		`point="energy"`, // not good
		`point="serial"`, // a text
		`sluice_device_last_success_timestamp_seconds{device="pump"`, // never answered
		`sluice_device_response_p99_seconds{device="pump"`,
	} {
		if strings.Contains(body, not) {
			t.Errorf("%q is there", not)
		}
	}
	// Every metric that is described is also collected.
	for _, m := range metrics {
		name := strings.Split(m.desc.String(), `"`)[1]
		if !strings.Contains(body, "\n"+name+"{") && !strings.Contains(body, "\n"+name+" ") {
			t.Errorf("%s has no sample", name)
		}
	}
}

func TestHeaders(t *testing.T) {
	s := serve(t, cellar(), defaultLimits)
	for _, path := range []string{"/", "/api/status", "/healthz", "/metrics", "/page.js", "/nothing"} {
		resp, _ := get(t, s, path)
		for name, want := range map[string]string{
			"Content-Security-Policy":      contentPolicy,
			"X-Content-Type-Options":       "nosniff",
			"Referrer-Policy":              "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		if cache := resp.Header.Get("Cache-Control"); path != "/page.js" && cache != "no-store" {
			t.Errorf("%s: Cache-Control is %q", path, cache)
		}
	}
}

func TestMethodsAndPaths(t *testing.T) {
	s := serve(t, cellar(), defaultLimits)
	for _, c := range []struct {
		method, path string
		code         int
	}{
		{"HEAD", "/", 200},
		{"HEAD", "/api/status", 200},
		{"POST", "/", 405},
		{"DELETE", "/api/status", 405},
		{"GET", "/page.html", 404},
		{"GET", "/api/", 404},
		{"GET", "/..%2f..%2fetc/passwd", 404},
	} {
		if resp, _ := ask(t, s, c.method, c.path, ""); resp.StatusCode != c.code {
			t.Errorf("%s %s: %s, want %d", c.method, c.path, resp.Status, c.code)
		}
	}
}

func TestAssets(t *testing.T) {
	s := serve(t, cellar(), defaultLimits)
	for path, kind := range map[string]string{
		"/page.css": "text/css; charset=utf-8",
		"/page.js":  "text/javascript; charset=utf-8",
		"/icon.svg": "image/svg+xml",
	} {
		resp, body := get(t, s, path)
		if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != kind || body == "" {
			t.Errorf("%s: %s, %s, %d bytes", path, resp.Status, resp.Header.Get("Content-Type"), len(body))
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url(path), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("If-None-Match", resp.Header.Get("ETag"))
		again, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		again.Body.Close()
		if again.StatusCode != http.StatusNotModified {
			t.Errorf("%s once more: %s", path, again.Status)
		}
	}
}

func TestHostCheck(t *testing.T) {
	s := serve(t, cellar(), defaultLimits)
	for host, code := range map[string]int{
		"localhost":            200,
		"LocalHost.:8080":      200,
		"sluice.localhost:80":  200,
		"127.0.0.1:8080":       200,
		"127.1.2.3":            200,
		"[::1]:8080":           200,
		"[::1]":                200,
		"[::ffff:127.0.0.1]":   200,
		"evil.example.com":     421,
		"evil.example.com:80":  421,
		"localhost.evil.com":   421,
		"notlocalhost":         421,
		"192.168.1.5:8080":     421,
		"127.0.0.1.nip.io":     421,
		"[2001:db8::1]:8080":   421,
		"pi-cellar.local:8080": 421,
	} {
		if resp, _ := ask(t, s, http.MethodGet, "/api/status", host); resp.StatusCode != code {
			t.Errorf("host %q: %s, want %d", host, resp.Status, code)
		}
	}
	if n := s.refusedHosts.Load(); n != 8 {
		t.Errorf("%d requests counted as refused, want 8", n)
	}
}

// TestHostCheckElsewhere checks that a request which came in on an address of
// the network may name any host, and one without a host name is no browser.
func TestHostCheckElsewhere(t *testing.T) {
	s := New(Config{Listen: ":0"}, cellar(), slog.New(slog.DiscardHandler))
	for _, c := range []struct {
		local, host string
		code        int
	}{
		{"192.168.1.5", "pi-cellar.local", 200},
		{"2001:db8::1", "pi-cellar.local", 200},
		{"127.0.0.1", "", 200},
		{"127.0.0.1", "pi-cellar.local", 421},
		{"::1", "pi-cellar.local", 421},
	} {
		req := httptest.NewRequest(http.MethodGet, "/healthz", nil)
		req.Host = c.host
		local := &net.TCPAddr{IP: net.ParseIP(c.local), Port: 8080}
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, req.WithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, local)))
		if w.Code != c.code {
			t.Errorf("%s asked for host %q: %d, want %d", c.local, c.host, w.Code, c.code)
		}
	}
}

// TestStatusFieldsHaveNames checks that each field of the API has a name of
// its own in JSON, in the one style.
func TestStatusFieldsHaveNames(t *testing.T) {
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" || name != strings.ToLower(name) {
				t.Errorf("%s.%s is %q in JSON", typ.Name(), f.Name, name)
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[Status]())
}
