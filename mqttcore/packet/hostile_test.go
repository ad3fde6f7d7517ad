package packet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// checkDecoded holds the law for a packet that was accepted: what Append makes
// of it means the same and is then written the same way again.
func checkDecoded(t *testing.T, v Version, p Packet, input int) {
	t.Helper()
	if c, ok := p.(*Connect); ok {
		v = c.Version
	}
	first := p.Append(nil, v)
	again, err := decodeAll(v, first)
	if err != nil {
		t.Fatalf("%s\nwas appended as % x\nwhich is refused: %v", describe(p), first, err)
	}
	got, want := describe(again), describe(p)
	if pub, ok := p.(*Publish); ok && pub.QoS == 0 {
		want = strings.Replace(want, " id=0 dup", " id=0", 1) // MQTT 3.1 may have it
	}
	if got != want {
		t.Fatalf("appending changed the packet\n got %s\nwant %s", got, want)
	}
	if second := again.Append(nil, v); !bytes.Equal(first, second) {
		t.Fatalf("appended in two ways\n% x\n% x", first, second)
	}
	if users, most := held(p), input/4+1; users > most {
		t.Fatalf("%d entries from %d bytes", users, input)
	}
}

// held counts the entries in a packet's lists.
func held(p Packet) int {
	switch p := p.(type) {
	case *Connect:
		if p.Will != nil {
			return len(p.Properties.User) + len(p.Will.Properties.User)
		}
		return len(p.Properties.User)
	case *Publish:
		return (len(p.Properties.User) + len(p.Properties.SubscriptionIDs)) / 2
	case *Subscribe:
		return len(p.Properties.User) + len(p.Filters)
	case *Unsubscribe:
		return (len(p.Properties.User) + len(p.Filters)) / 2
	}
	return 0
}

func TestTruncated(t *testing.T) {
	for _, vec := range vectors(t) {
		if vec.reject != "" {
			continue
		}
		for _, v := range vec.versions {
			h, n, err := ParseHeader(vec.raw)
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				if _, n, err := ParseHeader(vec.raw[:i]); n != 0 || err != nil {
					t.Errorf("%s: header cut to %d bytes: n %d, error %v", vec.name, i, n, err)
				}
			}
			for i := n; i < len(vec.raw); i++ {
				// Clip: reading past the cut must fail even where bytes follow.
				body := slices.Clip(slices.Clone(vec.raw[n:i]))
				h.Remaining = len(body)
				p, err := Decode(v, h, body)
				var e *Error
				switch {
				case err == nil:
					checkDecoded(t, v, p, len(vec.raw)+20)
				case !errors.As(err, &e) || !e.Reason.Failed():
					t.Errorf("%s cut to %d bytes: error %v has no reason", vec.name, i, err)
				}
			}
		}
	}
}

// A claimed length alone must not cost memory: the header says 256 MiB and
// properties say as much, in a body of a few bytes.
func TestClaimedLengthCostsNothing(t *testing.T) {
	claims := [][]byte{
		{0x10, 0xff, 0xff, 0xff, 0x7f},
		append([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, 0, 1, 'a', 0xff, 0xff, 0xff, 0x7f, 0x26),
		append([]byte{0x82, 0xff, 0xff, 0xff, 0x7f}, 0, 1, 0, 0xff, 0xff, 'a'),
		append([]byte{0x82, 0xff, 0xff, 0xff, 0x7f}, 0, 1, 0xff, 0xff, 0xff, 0x7f, 0x0b),
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, b := range claims {
		h, n, err := ParseHeader(b)
		if err != nil || h.Remaining != MaxRemaining {
			t.Fatalf("header %+v, error %v", h, err)
		}
		for _, v := range []Version{V31, V311, V5} {
			if p, err := Decode(v, h, b[n:]); err == nil && v == V5 {
				t.Errorf("% x decoded to %s", b, describe(p))
			}
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<10 {
		t.Errorf("%d bytes allocated for %d packets of a dozen bytes", grown, len(claims))
	}
}

func TestManyUserProperties(t *testing.T) {
	one := []byte{0x26, 0, 1, 'k', 0, 1, 'v'}
	publish := func(n int) []byte {
		list := bytes.Repeat(one, n)
		body := appendUvarint([]byte{0, 1, 'a'}, uint32(len(list)))
		body = append(body, list...)
		return append(appendUvarint([]byte{0x30}, uint32(len(body))), body...)
	}
	p, err := decodeAll(V5, publish(MaxUserProperties))
	if err != nil || len(p.(*Publish).Properties.User) != MaxUserProperties {
		t.Errorf("the most allowed user properties: %v", err)
	}
	_, err = decodeAll(V5, publish(MaxUserProperties+1))
	if e, ok := err.(*Error); !ok || e.Reason != QuotaExceeded {
		t.Errorf("one too many: %v", err)
	}

	// A decoder that is used again does not hold on to what one flood made.
	var pub Publish
	flood := publish(MaxUserProperties)
	h, n, _ := ParseHeader(flood)
	if err := pub.Decode(V5, h, flood[n:]); err != nil {
		t.Fatal(err)
	}
	pub.Properties.Reset()
	if c := cap(pub.Properties.User); c > maxKept {
		t.Errorf("room for %d user properties is kept", c)
	}
}

// Every flag combination of every type in every version: only the allowed ones
// of the standard are accepted.
func TestHeaderFlags(t *testing.T) {
	bodies := map[Type][]byte{
		CONNACK: {0, 0}, PUBLISH: {0, 1, 'a', 0, 1}, PUBACK: {0, 1}, PUBREC: {0, 1}, PUBREL: {0, 1},
		PUBCOMP: {0, 1}, SUBSCRIBE: {0, 1, 0, 1, 'a', 0}, SUBACK: {0, 1, 0}, UNSUBSCRIBE: {0, 1, 0, 1, 'a'},
		UNSUBACK: {0, 1}, PINGREQ: {}, PINGRESP: {}, DISCONNECT: {},
	}
	for typ, body := range bodies {
		for flags := range byte(16) {
			_, err := Decode(V311, Header{Type: typ, Flags: flags, Remaining: len(body)}, body)
			want := flags == 0
			switch typ {
			case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
				want = flags == 2
			case PUBLISH:
				qos := flags >> 1 & 3
				want = qos != 3 && (qos > 0 || flags&8 == 0)
			}
			if (err == nil) != want {
				t.Errorf("%s with flags %04b: error %v", typ, flags, err)
			}
		}
	}
}

func TestAppendRefusesWhatIsNotMQTT(t *testing.T) {
	long := make([]byte, 65536)
	p := Publish{Topic: []byte("a")}
	p.Properties.SetBytes(PropCorrelationData, long)
	for name, fn := range map[string]func(){
		"topic":       func() { (&Publish{Topic: long}).Append(nil, V311) },
		"property":    func() { p.Append(nil, V5) },
		"client id":   func() { (&Connect{Version: V5, ClientID: string(long)}).Append(nil, V5) },
		"sub id":      func() { AppendPublish(nil, V5, "a", nil, &Outgoing{SubIDs: []uint32{MaxRemaining + 1}}) },
		"packet":      func() { AppendPublishHead(nil, V5, "a", MaxRemaining, &Outgoing{}) },
		"text number": func() { p.Properties.SetUint(PropContentType, 1) },
		"number text": func() { p.Properties.SetBytes(PropTopicAlias, nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			fn()
		}()
	}
}

func TestVariableByteInteger(t *testing.T) {
	for _, n := range []uint32{0, 1, 127, 128, 16383, 16384, 2097151, 2097152, MaxRemaining} {
		b := appendUvarint(nil, n)
		if len(b) != uvarintLen(n) {
			t.Errorf("%d takes %d bytes, said %d", n, len(b), uvarintLen(n))
		}
		if got, width := uvarint(append(b, 0xff)); got != n || width != len(b) {
			t.Errorf("%d came back as %d in %d bytes", n, got, width)
		}
		h, at, err := ParseHeader(append([]byte{0x30}, b...))
		if err != nil || h.Remaining != int(n) || at != 1+len(b) || h.Padded {
			t.Errorf("header of %d: %+v, %d, %v", n, h, at, err)
		}
		for i := range b {
			if _, width := uvarint(b[:i]); width != 0 {
				t.Errorf("%d cut to %d bytes: width %d", n, i, width)
			}
		}
	}
	// The largest length an encoder here may ever write, with its payload left out.
	head := AppendPublishHead(nil, V311, "abc", MaxRemaining-5, &Outgoing{})
	if h, n, err := ParseHeader(head); err != nil || h.Remaining != MaxRemaining || n != 5 {
		t.Errorf("largest packet: %+v, %d, %v", h, n, err)
	}
	if binary.BigEndian.Uint16(head[5:]) != 3 {
		t.Errorf("largest packet begins % x", head)
	}
}
