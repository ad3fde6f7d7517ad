package packet

import (
	"bytes"
	"strings"
	"testing"
)

// After a refusal, a Connect tells in which version to answer.
func TestRefusedConnectTellsItsVersion(t *testing.T) {
	want := map[string]Version{
		"connect-level-6":                  6,
		"connect-bridge-level":             0x84,
		"connect-311-reserved-flag":        V311,
		"connect-311-empty-id-no-clean":    V311,
		"connect-31-empty-id":              V31,
		"connect-5-receive-maximum-0":      V5,
		"connect-5-trailing":               V5,
		"connect-other-name":               0,
		"connect-empty":                    0,
		"connect-level-3-with-name-mqtt":   3,
		"connect-level-4-with-name-mqisdp": 4,
	}
	for _, vec := range vectors(t) {
		v, ok := want[vec.name]
		if !ok {
			continue
		}
		delete(want, vec.name)
		h, n, err := ParseHeader(vec.raw)
		if err != nil {
			t.Fatal(err)
		}
		var c Connect
		if err := c.Decode(0, h, vec.raw[n:]); err == nil || c.Version != v {
			t.Errorf("%s: version %d, error %v, want version %d and an error", vec.name, c.Version, err, v)
		}
	}
	if len(want) > 0 {
		t.Errorf("no such vectors: %v", want)
	}
}

// Decoding into a used struct leaves nothing of the packet before.
func TestDecodeOverwrites(t *testing.T) {
	used := map[Type]Packet{}
	all := vectors(t)
	for range 2 { // so that each comes after every other
		for _, vec := range all {
			if vec.reject != "" {
				continue
			}
			h, n, _ := ParseHeader(vec.raw)
			p := used[h.Type]
			if p == nil {
				p = New(h.Type)
				used[h.Type] = p
			}
			v := vec.versions[len(vec.versions)-1]
			if err := p.Decode(v, h, vec.raw[n:]); err != nil {
				t.Fatalf("%s: %v", vec.name, err)
			}
			if got := describe(p); got != vec.want {
				t.Errorf("%s into a used struct\n got %s\nwant %s", vec.name, got, vec.want)
			}
		}
	}
	if len(used) != 15 {
		t.Errorf("vectors for %d packet types, want 15", len(used))
	}
}

func TestClone(t *testing.T) {
	for _, vec := range vectors(t) {
		if vec.reject != "" {
			continue
		}
		raw := bytes.Clone(vec.raw)
		p, err := decodeAll(vec.versions[0], raw)
		if err != nil {
			t.Fatal(err)
		}
		pub, ok := p.(*Publish)
		if !ok {
			continue
		}
		want := pub.Properties.AppendRaw(nil)
		c := pub.Properties.Clone()
		clear(raw)
		if got := c.AppendRaw(nil); !bytes.Equal(got, want) {
			t.Errorf("%s: the clone changed with its input to % x", vec.name, got)
		}
	}
}

func TestV3ConnackCode(t *testing.T) {
	for code := range byte(6) {
		r, ok := reasonOfV3(code)
		if !ok || r.V3ConnackCode() != code {
			t.Errorf("code %d is %v, which is code %d", code, r, r.V3ConnackCode())
		}
	}
	for r, code := range map[Reason]byte{Banned: 5, ServerBusy: 3, BadAuthenticationMethod: 4, QuotaExceeded: 3} {
		if got := r.V3ConnackCode(); got != code {
			t.Errorf("%v is code %d, want %d", r, got, code)
		}
	}
	for r := range 256 {
		if code := Reason(r).V3ConnackCode(); code > 5 || (code == 0) != (r == 0) {
			t.Errorf("%v is code %d", Reason(r), code)
		}
	}
}

func TestDirections(t *testing.T) {
	both := "PUBLISH PUBACK PUBREC PUBREL PUBCOMP"
	client := both + " CONNECT SUBSCRIBE UNSUBSCRIBE PINGREQ DISCONNECT"
	server := both + " CONNACK SUBACK UNSUBACK PINGRESP"
	for typ := range Type(17) {
		for _, v := range []Version{V31, V311, V5} {
			wantClient := strings.Contains(" "+client+" ", " "+typ.String()+" ")
			wantServer := strings.Contains(" "+server+" ", " "+typ.String()+" ")
			if typ == AUTH && v == V5 {
				wantClient, wantServer = true, true
			}
			if typ == DISCONNECT && v == V5 {
				wantServer = true
			}
			if typ.ClientSends(v) != wantClient || typ.ServerSends(v) != wantServer {
				t.Errorf("%s in %s: client %v, server %v", typ, v, typ.ClientSends(v), typ.ServerSends(v))
			}
		}
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		V31.String(): "3.1", V311.String(): "3.1.1", V5.String(): "5.0", Version(9).String(): "level 9",
		PUBREL.String(): "PUBREL", Type(16).String(): "type 16",
		KeepAliveTimeout.String(): "keep alive timeout", Reason(0x55).String(): "reason 0x55",
		PropUser.String(): "user property", PropID(0x7f).String(): "property 0x7F",
		malformed(SUBACK, "text").Error(): "SUBACK: text (malformed packet)",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if New(0) != nil || New(16) != nil {
		t.Error("there is a packet of type 0 or 16")
	}
	if _, err := Decode(V5, Header{}, nil); err == nil {
		t.Error("type 0 was decoded")
	}
}

func TestFilterOptions(t *testing.T) {
	for b := range byte(0x40) {
		var f Filter
		f.SetOptions(b)
		if got := f.Options(); got != b {
			t.Errorf("options %#02x became %#02x", b, got)
		}
	}
}

// The quick look at a topic and the thorough one agree, wherever in the topic
// the special byte stands.
func TestNameFault(t *testing.T) {
	special := map[string]Reason{
		"+": TopicNameInvalid, "#": TopicNameInvalid, "\x00": MalformedPacket, "\xff": MalformedPacket,
		"\xed\xa0\x80": MalformedPacket, "\xc0\x80": MalformedPacket,
		"é": Success, "\x01": Success, "\"": Success, "$": Success, "*": Success, ",": Success,
	}
	for text, want := range special {
		for n := range 40 {
			for at := range n + 1 {
				name := strings.Repeat("a", at) + text + strings.Repeat("a", n-at)
				if got, fault := nameFault([]byte(name)); got != want || (fault == "") != (want == Success) {
					t.Fatalf("%q: %v %q, want %v", name, got, fault, want)
				}
			}
		}
	}
}
