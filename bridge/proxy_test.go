package bridge

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// runProxy starts a proxy of Debian's and waits until it listens.
func runProxy(t *testing.T, port int, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s does not start: %v (make peers)", name, err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	eventually(t, name+" listens", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func tinyproxy(t *testing.T, extra string) string {
	t.Helper()
	port := freePort(t)
	conf := filepath.Join(t.TempDir(), "tinyproxy.conf")
	text := fmt.Sprintf("Port %d\nListen 127.0.0.1\nTimeout 600\nMaxClients 100\nLogLevel Critical\n%s\n", port, extra)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	runProxy(t, port, "tinyproxy", "-d", "-c", conf)
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func microsocks(t *testing.T, args ...string) string {
	t.Helper()
	port := freePort(t)
	runProxy(t, port, "microsocks", append([]string{"-i", "127.0.0.1", "-p", fmt.Sprint(port)}, args...)...)
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// TestThroughProxies forwards through real proxies, with and without TLS.
func TestThroughProxies(t *testing.T) {
	certFile, keyFile := certificate(t)
	up, secured := over(t, "certfile %s\nkeyfile %s\n", certFile, keyFile)
	w := newWitness(t, up.addr, "site7/#", 1)
	plain := tinyproxy(t, "")
	guarded := tinyproxy(t, "BasicAuth pi secret")
	closed := tinyproxy(t, "ConnectPort 443")
	socks := microsocks(t)
	guardedSocks := microsocks(t, "-u", "pi", "-P", "secret")
	nobody := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	n := 0
	for name, c := range map[string]struct {
		proxy, url string
		want       string // "": it works
	}{
		"http":                 {"http://" + plain, "mqtt://" + up.addr, ""},
		"http with TLS":        {"http://" + plain, "mqtts://" + secured, ""},
		"http with a password": {"http://pi:secret@" + guarded, "mqtt://" + up.addr, ""},
		"without it":           {"http://" + guarded, "mqtt://" + up.addr, "wants a user name and a password"},
		"a port not allowed":   {"http://" + closed, "mqtt://" + up.addr, "does not let us through"},
		"socks":                {"socks5://" + socks, "mqtt://" + up.addr, ""},
		"socks with TLS":       {"socks5://" + socks, "mqtts://" + secured, ""},
		"socks and password":   {"socks5://pi:secret@" + guardedSocks, "mqtt://" + up.addr, ""},
		"wrong password":       {"socks5://pi:wrong@" + guardedSocks, "mqtt://" + up.addr, "authentication failed"},
		"socks taken for http": {"http://" + socks, "mqtt://" + up.addr, "is it one of socks5://?"},
		"nobody behind http":   {"http://" + plain, "mqtt://" + nobody, "does not reach"},
		"nobody behind socks":  {"socks5://" + socks, "mqtt://" + nobody, "refused"},
		"no proxy there":       {"http://" + nobody, "mqtt://" + up.addr, "refused"},
	} {
		n++
		payload := fmt.Sprintf("%06d", n)
		t.Run(name, func(t *testing.T) {
			cfg := linkTo("", 1)
			cfg.URL, cfg.Proxy, cfg.TLS.CA, cfg.ClientID = c.url, c.proxy, certFile, name
			g := startGateway(t, t.TempDir(), cfg)
			if c.want != "" {
				eventually(t, "an outcome", func() bool { return g.link.Stats().LastError != "" })
				if s := g.link.Stats(); !strings.Contains(s.LastError, c.want) || strings.Contains(s.LastError, "wrong") {
					t.Errorf("it says %q, want %q", s.LastError, c.want)
				}
				return
			}
			if err := g.broker.Publish(t.Context(), message("home/x", payload, 1)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it is upstream", func() bool { return w.has("site7/home/x", payload) })
		})
	}
}

func TestProxyOfTheEnvironment(t *testing.T) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy", "HTTP_PROXY"} {
		t.Setenv(name, "")
	}
	is := func(configured, addr, want string) {
		t.Helper()
		u, err := proxyTo(configured, addr)
		got := ""
		if u != nil {
			got = u.String()
		}
		if err != nil || got != want {
			t.Errorf("proxyTo(%q, %q) = %q, %v, want %q", configured, addr, got, err, want)
		}
	}
	const addr = "mq.example.com:8883"
	is("", addr, "")
	t.Setenv("ALL_PROXY", "socks5://all")
	is("", addr, "socks5://all:1080")
	t.Setenv("HTTPS_PROXY", "http://secure:3128")
	is("", addr, "http://secure:3128")
	is("", "127.0.0.1:1883", "")
	is("", "localhost:1883", "")
	is(NoProxy, addr, "")
	is("socks5://own:1", addr, "socks5://own:1")
	is("http://own", addr, "http://own:80")
	t.Setenv("NO_PROXY", "10.0.0.0/8,.example.com")
	is("", addr, "")
	is("", "10.1.2.3:1883", "")
	is("", "192.0.2.1:1883", "http://secure:3128")
	for _, wrong := range []string{"own:3128", "ftp://x", "http://", "http://x/path", "socks5://u:geheim@"} {
		if err := CheckProxy(wrong); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("CheckProxy(%q) = %v", wrong, err)
		}
	}
}
