package packet

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// drawOutgoing makes any message a server may send, with its topic and payload.
func drawOutgoing(t *rapid.T) (v Version, topic string, payload []byte, o *Outgoing) {
	v = rapid.SampledFrom([]Version{V31, V311, V5}).Draw(t, "version")
	topic = rapid.StringMatching(`[a-zé/]{1,200}`).Draw(t, "topic")
	payload = rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "payload")
	o = &Outgoing{
		Retain:    rapid.Bool().Draw(t, "retain"),
		QoS:       rapid.ByteRange(0, 2).Draw(t, "qos"),
		Alias:     rapid.Uint16().Draw(t, "alias"),
		SubIDs:    rapid.SliceOfN(rapid.Uint32Range(1, MaxRemaining), 0, 5).Draw(t, "subscriptions"),
		HasExpiry: rapid.Bool().Draw(t, "expires"),
	}
	if o.QoS > 0 {
		o.PacketID = rapid.Uint16Range(1, 65535).Draw(t, "id")
		o.Dup = rapid.Bool().Draw(t, "dup")
	}
	if o.HasExpiry {
		o.Expiry = rapid.Uint32().Draw(t, "expiry")
	}
	var p Properties
	if rapid.Bool().Draw(t, "content type") {
		p.SetBytes(PropContentType, []byte("text/plain"))
	}
	for range rapid.IntRange(0, 20).Draw(t, "user properties") {
		p.User = append(p.User, UserProperty{[]byte("key"), []byte("value")})
	}
	o.Props = p.AppendRaw(nil)
	return v, topic, payload, o
}

// A message sent is the message that a Publish says, by any of the ways.
func TestOutgoing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, topic, payload, o := drawOutgoing(t)
		raw := AppendPublish(nil, v, topic, payload, o)
		if n := PublishSize(v, len(topic), len(payload), o); n != len(raw) {
			t.Fatalf("size %d, packet has %d bytes", n, len(raw))
		}
		if b := AppendPublish(nil, v, []byte(topic), payload, o); !bytes.Equal(b, raw) {
			t.Fatalf("a topic in bytes gives % x, not % x", b, raw)
		}
		head := AppendPublishHead([]byte("x"), v, topic, len(payload), o)
		if b := append(head[1:], payload...); !bytes.Equal(b, raw) {
			t.Fatalf("head and payload give % x, not % x", b, raw)
		}

		want := Publish{
			Dup: o.Dup, QoS: o.QoS, Retain: o.Retain, Topic: []byte(topic), PacketID: o.PacketID, Payload: payload,
		}
		if v == V5 {
			if err := DecodeProps(&want.Properties, o.Props, PUBLISH); err != nil {
				t.Fatal(err)
			}
			want.Properties.SubscriptionIDs = o.SubIDs
			if o.Alias != 0 {
				want.Properties.SetUint(PropTopicAlias, uint32(o.Alias))
			}
			if o.HasExpiry {
				want.Properties.SetUint(PropMessageExpiry, o.Expiry)
			}
		}
		got, err := decodeAll(v, raw)
		if err != nil {
			t.Fatal(err)
		}
		if describe(got) != describe(&want) {
			t.Fatalf("\n got %s\nwant %s", describe(got), describe(&want))
		}
		if v == V5 {
			travelled := ForwardProps(nil, got.(*Publish).RawProps)
			if !bytes.Equal(travelled, o.Props) {
				t.Fatalf("forwarded % x, want % x", travelled, o.Props)
			}
		}
	})
}

func TestFrame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, topic, payload, o := drawOutgoing(t)
		f := NewFrame(v, topic, payload, o)
		want := AppendPublish([]byte("before"), v, topic, payload, o)
		if got := f.Append([]byte("before"), o.PacketID, o.Dup); !bytes.Equal(got, want) {
			t.Fatalf("frame gives % x, want % x", got, want)
		}
		if f.Size() != len(want)-len("before") {
			t.Fatalf("frame says %d bytes of %d", f.Size(), len(want)-len("before"))
		}
		if shared := f.Bytes(); (shared != nil) != (o.QoS == 0) {
			t.Fatalf("QoS %d shares % x", o.QoS, shared)
		}
		// Another subscriber's identifier does not touch the frame.
		f.Append(nil, ^o.PacketID, true)
		if got := f.Append([]byte("before"), o.PacketID, o.Dup); !bytes.Equal(got, want) {
			t.Fatal("a frame changed by being used")
		}
	})
}

func TestForwardProps(t *testing.T) {
	var p Properties
	p.SetUint(PropPayloadFormat, 1)
	p.SetUint(PropMessageExpiry, 77)
	p.SetUint(PropSubscriptionID, 5)
	p.SetUint(PropTopicAlias, 9)
	p.SetUint(PropWillDelay, 3)
	p.SetBytes(PropResponseTopic, []byte("r"))
	p.SetBytes(PropCorrelationData, []byte{0})
	p.User = []UserProperty{{[]byte("b"), []byte("1")}, {[]byte("a"), []byte("2")}}
	raw := p.AppendRaw(nil)
	for _, id := range []PropID{PropMessageExpiry, PropSubscriptionID, PropTopicAlias, PropWillDelay} {
		p.Remove(id)
		if p.Has(id) {
			t.Errorf("%s is still there", id)
		}
	}
	if got, want := ForwardProps([]byte("x"), raw), p.AppendRaw([]byte("x")); !bytes.Equal(got, want) {
		t.Errorf("forwarded % x, want % x", got, want)
	}
	if s, ok := ExpiryOf(raw); s != 77 || !ok {
		t.Errorf("expiry %d %v, want 77", s, ok)
	}
	if s, ok := ExpiryOf(p.AppendRaw(nil)); s != 0 || ok {
		t.Errorf("expiry %d %v where there is none", s, ok)
	}
}

// What the hot path of a broker does, does not allocate.
func TestNoAllocation(t *testing.T) {
	o := &Outgoing{QoS: 1, PacketID: 7, SubIDs: []uint32{1, 2}, HasExpiry: true, Expiry: 60, Alias: 4}
	o.Props = (&Properties{User: []UserProperty{{[]byte("k"), []byte("v")}}}).AppendRaw(nil)
	topic, payload := "site/floor1/meter/voltage_l1", make([]byte, 200)
	raw := AppendPublish(nil, V5, topic, payload, o)
	frame := NewFrame(V5, topic, payload, o)
	dst := make([]byte, 0, 1024)
	var pub Publish
	var ack Ack
	for name, fn := range map[string]func(){
		"decode PUBLISH": func() {
			h, n, _ := ParseHeader(raw)
			if err := pub.Decode(V5, h, raw[n:]); err != nil {
				t.Fatal(err)
			}
		},
		"decode PUBACK": func() {
			if err := ack.Decode(V5, Header{Type: PUBACK, Remaining: 2}, raw[:2]); err != nil {
				t.Fatal(err)
			}
		},
		"forward properties": func() { dst = ForwardProps(dst[:0], pub.RawProps) },
		"append PUBLISH":     func() { dst = AppendPublish(dst[:0], V5, topic, payload, o) },
		"append frame":       func() { dst = frame.Append(dst[:0], 9, true) },
		"append PUBACK":      func() { dst = (&Ack{Type: PUBACK, PacketID: 3}).Append(dst[:0], V5) },
		"append ping":        func() { dst = append(dst[:0], PingrespPacket...) },
	} {
		if n := testing.AllocsPerRun(100, fn); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
