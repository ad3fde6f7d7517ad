package mqttcore

import (
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

// The tests of conformance go through the normative statements of the
// standards. Each is a subtest that bears the statement's number, so that
// go test -run 'TestMQTT5/MQTT-3.3' shows how PUBLISH is kept, and each talks
// to a broker over TCP, byte for byte where the statement is about bytes.
//
// That nothing is sent is shown by what is sent next (see silent), never by
// waiting.

// name is one that no other statement uses, for topics and clients.
func (r *rig) name() string {
	_, name, _ := strings.Cut(r.t.Name(), "/")
	return name
}

// statement is one normative statement and what shows that it is kept.
type statement struct {
	id   string // as the standard numbers it
	test func(r *rig)
}

// judge tests statements on one broker, which must not have a fault by any.
func (r *rig) judge(t *testing.T, parts ...[]statement) {
	for _, part := range parts {
		for _, s := range part {
			t.Run(s.id, func(t *testing.T) {
				before := r.Stats().Panics
				s.test(r.in(t))
				if r.Stats().Panics != before {
					t.Error("a fault in the broker")
				}
			})
		}
	}
}

// in is the same broker for a subtest.
func (r *rig) in(t testing.TB) *rig {
	sub := *r
	sub.t = t
	return &sub
}

// wire reads hex digits and quoted text with white space between. After a colon
// the remaining length is put in:
//
//	30: 00 01 "a" 00 "xyz"
func wire(t testing.TB, s string) (b []byte) {
	t.Helper()
	if first, body, ok := strings.Cut(s, ":"); ok && len(first) == 2 {
		return framed(wire(t, first)[0], wire(t, body))
	}
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		if s[0] == '"' {
			quoted, err := strconv.QuotedPrefix(s)
			if err != nil {
				t.Fatalf("%s: %v", s, err)
			}
			text, err := strconv.Unquote(quoted)
			if err != nil {
				t.Fatalf("%s: %v", quoted, err)
			}
			b, s = append(b, text...), s[len(quoted):]
			continue
		}
		word := s
		if i := strings.IndexAny(s, " \n\t\""); i >= 0 {
			word = s[:i]
		}
		digits, err := hex.DecodeString(word)
		if err != nil {
			t.Fatalf("%s: %v", word, err)
		}
		b, s = append(b, digits...), s[len(word):]
	}
	return b
}

// framed puts a fixed header before a body, with the right length.
func framed(first byte, body []byte) []byte {
	b := []byte{first}
	n := len(body)
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(append(b, byte(n)), body...)
}

// vector gives the packet of a file of the codec's test vectors.
func vector(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("packet", "testdata", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(text), "\n\n")
	body, _, _ = strings.Cut(body, "\nappend\n")
	b := wire(t, body)
	if len(b) < 2 {
		t.Fatalf("vector %s is empty", name)
	}
	return b
}

// wrong is what a client must not send and the reason it is answered with.
type wrong struct {
	about  string
	bytes  string // as wire reads it, or "@" and the name of a vector
	reason packet.Reason
}

func (w wrong) wire(t testing.TB) []byte {
	t.Helper()
	if name, ok := strings.CutPrefix(w.bytes, "@"); ok {
		return vector(t, name)
	}
	return wire(t, w.bytes)
}

// rejects makes a test: a connected client that sends any of these is told the
// reason, where its version has the words, and the connection ends.
func rejects(v packet.Version, all ...wrong) func(*rig) {
	return func(r *rig) {
		r.t.Helper()
		for _, w := range all {
			c, _ := r.connect(v, "")
			c.write(w.wire(r.t))
			c.over(w.about, w.reason)
		}
	}
}

// refuses makes a test: who begins with any of these bytes gets a CONNACK of
// version v with this reason, or none if the reason is 0, and then the end of
// the connection.
func refuses(v packet.Version, all ...wrong) func(*rig) {
	return func(r *rig) {
		r.t.Helper()
		for _, w := range all {
			c := r.dial(v)
			c.write(w.wire(r.t))
			c.refused(w.about, w.reason)
		}
	}
}

// over wants the end of the connection, in MQTT 5 after a DISCONNECT with this
// reason; 0: without.
func (c *client) over(about string, reason packet.Reason) {
	c.t.Helper()
	p := c.read()
	if c.v == packet.V5 && reason != 0 {
		d, ok := p.(*packet.Disconnect)
		if !ok {
			c.t.Errorf("%s: got %T %+v, want DISCONNECT", about, p, p)
			return
		}
		if d.Reason != reason {
			c.t.Errorf("%s: DISCONNECT with %v, want %v", about, d.Reason, reason)
		}
		p = c.read()
	}
	if p != nil {
		c.t.Errorf("%s: got %T %+v, want the end of the connection", about, p, p)
	}
}

// refused wants a CONNACK with this reason, or none if it is 0, and the end of
// the connection.
func (c *client) refused(about string, reason packet.Reason) {
	c.t.Helper()
	p := c.read()
	if reason != 0 {
		a, ok := p.(*packet.Connack)
		if !ok {
			c.t.Errorf("%s: got %T %+v, want CONNACK", about, p, p)
			return
		}
		if a.Reason != reason || a.SessionPresent {
			c.t.Errorf("%s: CONNACK %+v, want %v", about, a, reason)
		}
		p = c.read()
	}
	if p != nil {
		c.t.Errorf("%s: got %T %+v, want the end of the connection", about, p, p)
	}
}

// rawFrame reads the next packet as it is on the wire.
func (c *client) rawFrame() []byte {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(patience))
	var raw []byte
	for {
		x, err := c.in.ReadByte()
		if err != nil {
			c.t.Fatal("no packet: ", err)
		}
		raw = append(raw, x)
		h, n, err := packet.ParseHeader(raw)
		if err != nil {
			c.t.Fatalf("% x: %v", raw, err)
		}
		if n > 0 {
			raw = append(raw, make([]byte, h.Remaining)...)
			if _, err := io.ReadFull(c.in, raw[n:]); err != nil {
				c.t.Fatal("cut packet: ", err)
			}
			return raw
		}
	}
}

// expectFrame wants exactly these bytes next.
func (c *client) expectFrame(want string) {
	c.t.Helper()
	if got, want := c.rawFrame(), wire(c.t, want); string(got) != string(want) {
		c.t.Errorf("got  % x\nwant % x", got, want)
	}
}

// member is a client with a new session: one in memory, or a durable one that
// outlives its connection.
func (r *rig) member(durable bool) *client {
	r.t.Helper()
	c, _ := r.connect(packet.V5, r.name()+"-member", func(p *packet.Connect) {
		if durable {
			p.Properties.SetUint(packet.PropSessionExpiry, 3600)
		}
	})
	return c
}

// watch is a client that gets what is published to these filters, at QoS 0.
func (r *rig) watch(v packet.Version, filters ...string) *client {
	r.t.Helper()
	c, _ := r.connect(v, "")
	c.subscribe(0, filters...)
	return c
}

// publish publishes a message from within the program.
func (r *rig) publish(topic, payload string, qos byte, retain bool) {
	r.t.Helper()
	if err := r.Publish(r.t.Context(), Message{Topic: topic, Payload: []byte(payload), QoS: qos, Retain: retain}); err != nil {
		r.t.Fatal(err)
	}
}

// subscribeWith subscribes to one filter with its options and an identifier
// (0: none), and wants it granted.
func (c *client) subscribeWith(f packet.Filter, id uint32) {
	c.t.Helper()
	p := &packet.Subscribe{PacketID: 1, Filters: []packet.Filter{f}}
	if id != 0 {
		p.Properties.SetUint(packet.PropSubscriptionID, id)
	}
	c.send(p)
	a := expect[*packet.Suback](c)
	if len(a.Reasons) != 1 || a.Reasons[0] != packet.Reason(f.QoS) {
		c.t.Fatalf("filter %q: %v", f.Topic, a.Reasons)
	}
}

// leave disconnects in good order and waits for the end.
func (c *client) leave(reason packet.Reason) {
	c.t.Helper()
	c.send(&packet.Disconnect{Reason: reason})
	c.expectClosed(packet.Success)
	c.close()
}
