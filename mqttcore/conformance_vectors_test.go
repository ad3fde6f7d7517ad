package mqttcore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/mqttcore/packet"
)

// TestVectorsAtTheBroker sends every packet of the codec's test vectors that
// is to be refused, and wants the broker to end the connection for that
// reason, said as far as the version has the words.
func TestVectorsAtTheBroker(t *testing.T) {
	r := start(t, Config{SysInterval: -1})
	files, err := filepath.Glob("packet/testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(string(text), "\n\n")
		keys := map[string]string{}
		for line := range strings.Lines(head) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			keys[key] = value
		}
		if keys["reject"] == "" {
			continue
		}
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		for word := range strings.FieldsSeq(keys["version"]) {
			v := map[string]packet.Version{"3.1": packet.V31, "3.1.1": packet.V311, "5": packet.V5}[word]
			tried++
			t.Run(name+"/"+word, func(t *testing.T) {
				bytes := vector(t, name)
				if bytes[0]>>4 == byte(packet.CONNECT) {
					refusesVector(r.in(t), v, bytes, keys["reject"])
					return
				}
				c, _ := r.in(t).connect(v, "vectors")
				c.write(bytes)
				switch p := c.read().(type) {
				case nil:
					if v == packet.V5 {
						t.Error("closed without a DISCONNECT")
					}
				case *packet.Disconnect:
					// What a client must not send at all is a protocol error, however it is made.
					fits := p.Reason.String() == keys["reject"]
					serverOnly := !packet.Type(bytes[0]>>4).ClientSends(v) && p.Reason == packet.ProtocolError
					auth := packet.Type(bytes[0]>>4) == packet.AUTH && p.Reason == packet.ProtocolError
					if v != packet.V5 || !fits && !serverOnly && !auth {
						t.Errorf("DISCONNECT with %q, want %q", p.Reason, keys["reject"])
					}
					if p := c.read(); p != nil {
						t.Errorf("got %T after DISCONNECT", p)
					}
				default:
					t.Errorf("got %T %+v", p, p)
				}
			})
		}
	}
	if tried < 150 || r.Stats().Panics > 0 {
		t.Errorf("%d vectors tried, %d faults", tried, r.Stats().Panics)
	}
}

// refusesVector wants the broker to refuse a CONNECT.
func refusesVector(r *rig, v packet.Version, bytes []byte, want string) {
	r.t.Helper()
	c := r.dial(v)
	c.write(bytes)
	p := c.read()
	if a, ok := p.(*packet.Connack); ok {
		if v == packet.V5 && a.Reason.String() != want || a.Reason == packet.Success || a.SessionPresent {
			r.t.Errorf("CONNACK with %v, want %q", a.Reason, want)
		}
		p = c.read()
	}
	if p != nil {
		r.t.Errorf("got %T, want the end of the connection", p)
	}
}
