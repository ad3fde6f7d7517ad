package mqttcore

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// js is a process with an MQTT.js client; testdata/mqttjs.mjs says what it can
// be told and what it tells.
type js struct {
	t      *testing.T
	cmd    *exec.Cmd
	in     *json.Encoder
	events chan jsEvent
	done   chan struct{}
}

type jsEvent struct {
	On             string
	Topic, Payload string
	QoS            byte
	Retain, Dup    bool
	ID             uint16
	Present        bool
	Alias          int
	Granted        []int
	Properties     map[string]any
	Text           string
}

// do is a command.
type do map[string]any

// startJS starts MQTT.js. The process ends with the test.
func startJS(t *testing.T) *js {
	t.Helper()
	peers, err := filepath.Abs("../.ci/peers/package.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(peers), "node_modules", "mqtt")); err != nil {
		t.Fatal("MQTT.js is not installed: run make peers")
	}
	cmd := exec.Command(peer(t, "node"), "testdata/mqttjs.mjs", peers)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	j := &js{t: t, cmd: cmd, in: json.NewEncoder(in), events: make(chan jsEvent, 4096), done: make(chan struct{})}
	go func() {
		defer close(j.done)
		defer close(j.events)
		for s := bufio.NewScanner(out); s.Scan(); {
			var e jsEvent
			if err := json.Unmarshal(s.Bytes(), &e); err != nil {
				t.Errorf("MQTT.js says %q: %v", s.Text(), err)
				continue
			}
			j.events <- e
		}
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		j.kill()
		if complaints.Len() > 0 {
			t.Errorf("node says: %s", complaints.String())
		}
	})
	return j
}

// kill ends the process without a goodbye.
func (j *js) kill() {
	_ = j.cmd.Process.Kill()
	for range j.events { // let its reader end
	}
	<-j.done
}

func (j *js) do(what string, args do) {
	j.t.Helper()
	args["do"] = what
	if err := j.in.Encode(args); err != nil {
		j.t.Error("MQTT.js has ended: ", err)
	}
}

var errJSGone = errors.New("MQTT.js has ended")

// next gives the next event.
func (j *js) next(ctx context.Context) (jsEvent, error) {
	select {
	case e, ok := <-j.events:
		switch {
		case !ok:
			return e, errJSGone
		case e.On == "fault":
			return e, fmt.Errorf("MQTT.js: %s", e.Text)
		}
		return e, nil
	case <-ctx.Done():
		return jsEvent{}, ctx.Err()
	}
}

// expect gives the next event, which must be of this kind.
func (j *js) expect(on string) jsEvent {
	j.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	e, err := j.next(ctx)
	if err != nil {
		j.t.Fatalf("waiting for %q: %v", on, err)
	}
	if e.On != on {
		j.t.Fatalf("got %+v, want %q", e, on)
	}
	return e
}

// connect connects to a URL and gives CONNACK.
func (j *js) connect(url string, options do) jsEvent {
	j.t.Helper()
	j.do("connect", do{"url": url, "options": options})
	return j.expect("connect")
}

// jsKeeping are the options of a client that keeps its session and connects
// again at once. It takes aliases, for fewer topics than there are. At QoS 2 it
// must not be sent any: MQTT.js 5.16.0 hands on an empty topic then.
func jsKeeping(id string, version int) do {
	o := do{"protocolVersion": version, "clientId": id, "clean": false, "reconnectPeriod": 1, "connectTimeout": patience.Milliseconds(), "keepalive": 0}
	if version == 5 {
		o["properties"] = do{"sessionExpiryInterval": 3600, "topicAliasMaximum": flowTopics - 1}
	}
	return o
}

// mqttjs is MQTT.js over TCP (scheme mqtt) or over WebSocket (ws).
func mqttjs(scheme string, version int) library {
	listen := "tcp"
	if scheme == "ws" {
		listen = "ws"
	}
	return library{
		listen: listen,
		receive: func(ctx context.Context, t *testing.T, addr string, qos byte, ready func(), got func(arrival)) {
			j := startJS(t)
			defer j.kill()
			j.do("connect", do{"url": scheme + "://" + addr, "options": jsKeeping("receiver", version)})
			j.do("subscribe", do{"topic": "flow/#", "options": do{"qos": qos}})
			for {
				e, err := j.next(ctx)
				switch {
				case ctx.Err() != nil:
					return
				case err != nil:
					t.Error(err)
					return
				case e.On == "subscribed":
					ready()
				case e.On == "message":
					got(arrival{topic: e.Topic, payload: e.Payload, id: e.ID, dup: e.Dup})
				}
			}
		},
		publish: func(ctx context.Context, t *testing.T, addr string, qos byte, n int) {
			j := startJS(t)
			defer j.kill()
			j.do("connect", do{"url": scheme + "://" + addr, "options": jsKeeping("publisher", version)})
			j.do("flow", do{"n": n, "topics": flowTopics, "qos": qos, "window": 20})
			for {
				_, err := j.next(ctx)
				switch {
				case ctx.Err() != nil:
					return
				case err != nil:
					t.Error(err)
					return
				}
			}
		},
	}
}

// TestMQTTjsOverCuts: MQTT.js in both versions, as publisher and as receiver.
func TestMQTTjsOverCuts(t *testing.T) {
	for version := 4; version <= 5; version++ {
		for qos := byte(1); qos <= 2; qos++ {
			t.Run(fmt.Sprintf("protocol %d QoS %d", version, qos), func(t *testing.T) {
				t.Parallel()
				overCuts(t, mqttjs("mqtt", version), mqttjs("mqtt", version), qos)
			})
		}
	}
}

// TestMQTTjsWebSocketOverCuts: the same over WebSocket, as in a browser.
func TestMQTTjsWebSocketOverCuts(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			t.Parallel()
			overCuts(t, mqttjs("ws", 5), mqttjs("ws", 5), qos)
		})
	}
}

// TestMQTTjsProperties: MQTT.js and the program it talks to see all properties
// of each other's messages.
func TestMQTTjsProperties(t *testing.T) {
	t.Parallel()
	r := start(t, Config{})
	j := startJS(t)
	up := j.connect("mqtt://"+r.addr(), do{"protocolVersion": 5, "reconnectPeriod": 0, "clientId": "", "autoAssignTopicAlias": true,
		"properties": do{"topicAliasMaximum": 10, "receiveMaximum": 5, "maximumPacketSize": 1000},
		"will": do{"topic": "will", "payload": "gone", "qos": 1, "retain": true, "properties": do{
			"contentType": "text/plain", "correlationData": "c", "userProperties": do{"k": "v"}, "messageExpiryInterval": 60}}})
	for name, want := range map[string]float64{"topicAliasMaximum": aliasMaximum, "receiveMaximum": 1024, "maximumPacketSize": 1 << 20} {
		if got := up.Properties[name]; got != want {
			t.Errorf("CONNACK: %s is %v, want %v", name, got, want)
		}
	}
	if id, _ := up.Properties["assignedClientIdentifier"].(string); id == "" {
		t.Error("CONNACK: no identifier assigned")
	}

	// To MQTT.js.
	j.do("subscribe", do{"topic": "down/+", "options": do{"qos": 2, "properties": do{"subscriptionIdentifier": 7}}})
	if got := j.expect("subscribed").Granted; len(got) != 1 || got[0] != 2 {
		t.Errorf("granted %v", got)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	props := Properties{UTF8: true, ContentType: "text/plain", ResponseTopic: "re", Correlation: []byte("42"),
		User: []UserProperty{{"a", "1"}, {"b", "2"}, {"a", "3"}}, Expiry: 60, HasExpiry: true}
	if err := r.Publish(ctx, Message{Topic: "down/x", Payload: []byte("21.5"), QoS: 2, Properties: props}); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"payloadFormatIndicator": true, "contentType": "text/plain", "responseTopic": "re", "correlationData": "42",
		"userProperties": map[string]any{"a": []any{"1", "3"}, "b": "2"}, "messageExpiryInterval": 60.0, "subscriptionIdentifier": 7.0}
	e := j.expect("message")
	delete(e.Properties, "topicAlias") // of this hop only
	if e.Topic != "down/x" || e.Payload != "21.5" || e.QoS != 2 {
		t.Errorf("got %+v", e)
	}
	if d := cmp.Diff(want, e.Properties); d != "" {
		t.Errorf("properties differ (-want +got):\n%s", d)
	}
	for i := range 6 { // the topic gets an alias, but not at QoS 2
		if err := r.Publish(ctx, Message{Topic: "down/temperature", Payload: []byte(fmt.Sprint(i)), QoS: byte(i % 3)}); err != nil {
			t.Fatal(err)
		}
		e := j.expect("message")
		if e.Topic != "down/temperature" || e.Payload != fmt.Sprint(i) {
			t.Errorf("message %d: got %+v", i, e)
		}
		if _, short := e.Properties["topicAlias"]; short != (i%3 < 2) {
			t.Errorf("message %d at QoS %d: has an alias: %v", i, i%3, short)
		}
	}
	// A message larger than it takes is not for it, the next one is.
	for _, payload := range []string{strings.Repeat("x", 1000), "small"} {
		if err := r.Publish(ctx, Message{Topic: "down/size", Payload: []byte(payload), QoS: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if e := j.expect("message"); e.Payload != "small" {
		t.Errorf("got %.20q", e.Payload)
	}

	// From MQTT.js, whose topics become aliases after their first use.
	heard := make(chan *Message, 10)
	defer r.Subscribe("up/#", func(m *Message) { heard <- m })()
	for i := range 6 {
		topic := fmt.Sprint("up/", i%2)
		j.do("publish", do{"topic": topic, "payload": fmt.Sprint(i), "options": do{"qos": i % 3, "properties": do{
			"payloadFormatIndicator": true, "contentType": "text/plain", "responseTopic": "re", "correlationData": "42",
			"userProperties": do{"a": []string{"1", "3"}}, "messageExpiryInterval": 60}}})
		if e := j.expect("published"); e.Alias != i%2+1 || (e.Topic == "") != (i >= 2) {
			t.Errorf("message %d left with topic %q, alias %d", i, e.Topic, e.Alias)
		}
		m := awaitOn(ctx, t, heard)
		want := &Message{Topic: topic, Payload: []byte(fmt.Sprint(i)), QoS: byte(i % 3), Properties: Properties{UTF8: true,
			ContentType: "text/plain", ResponseTopic: "re", Correlation: []byte("42"), Expiry: 60, HasExpiry: true,
			User: []UserProperty{{"a", "1"}, {"a", "3"}}}}
		if d := cmp.Diff(want, m); d != "" {
			t.Errorf("message %d (-want +got):\n%s", i, d)
		}
	}

	// Its will, as it dies.
	wills := make(chan *Message, 1)
	defer r.Subscribe("will", func(m *Message) { wills <- m })()
	j.kill()
	last := &Message{Topic: "will", Payload: []byte("gone"), QoS: 1, Retained: true, Properties: Properties{ContentType: "text/plain",
		Correlation: []byte("c"), User: []UserProperty{{"k", "v"}}, Expiry: 60, HasExpiry: true}}
	if d := cmp.Diff(last, awaitOn(ctx, t, wills)); d != "" {
		t.Errorf("will (-want +got):\n%s", d)
	}
}

// awaitOn gives what comes next on a channel.
func awaitOn[T any](ctx context.Context, t *testing.T, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-ctx.Done():
		t.Fatal("nothing comes")
	}
	return v
}
