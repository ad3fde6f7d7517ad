package bridge

import (
	"bytes"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/packets"
	"github.com/google/go-cmp/cmp"

	"sluice/mqttcore"
	"sluice/mqttcore/packet"
)

// TestPublishPacketReadsBack reads what we write with paho's decoder.
func TestPublishPacketReadsBack(t *testing.T) {
	props := (&packets.Properties{
		PayloadFormat: new(byte(1)), ContentType: "application/json", ResponseTopic: "reply/here",
		CorrelationData: []byte{0, 1, 2}, User: []packets.User{{Key: "a", Value: "1"}, {Key: "a", Value: "2"}},
	}).Pack(packets.PUBLISH)
	for _, c := range []struct {
		name        string
		d           mqttcore.Delivery
		qos         byte
		dup, retain bool
	}{
		{"bare", mqttcore.Delivery{Topic: []byte("t")}, 0, false, false},
		{"qos 1", mqttcore.Delivery{Topic: []byte("home/x"), Payload: []byte("21.5"), Props: props}, 1, true, true},
		{"qos 2 with expiry", mqttcore.Delivery{Topic: []byte("home/x"), Props: props, Expiry: 61, HasExpiry: true}, 2, false, false},
		{"two byte length", mqttcore.Delivery{Topic: []byte("home/x"), Payload: bytes.Repeat([]byte("x"), 200)}, 1, false, true},
		{"three byte length", mqttcore.Delivery{Topic: []byte("home/x"), Payload: bytes.Repeat([]byte("x"), 20_000)}, 1, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := writer("site7/", limits{version: packet.V5, packet: maxPacket})
			out := packet.Outgoing{PacketID: 4711, QoS: c.qos, Dup: c.dup, Retain: c.retain, Props: c.d.Props, Expiry: c.d.Expiry, HasExpiry: c.d.HasExpiry}
			if _, why := f.unsendable(c.d.Topic, c.d.Payload, &out); why != "" {
				t.Fatal(why)
			}
			f.put(c.d.Payload, &out)
			r := bytes.NewReader(f.out)
			cp, err := packets.ReadPacket(r)
			if err != nil || r.Len() != 0 {
				t.Fatalf("read back: %v, %d bytes left", err, r.Len())
			}
			got := cp.Content.(*packets.Publish)
			want := &packets.Publish{
				Topic: "site7/" + string(c.d.Topic), Payload: c.d.Payload, QoS: c.qos, Duplicate: c.dup, Retain: c.retain,
				Properties: &packets.Properties{},
			}
			if c.qos > 0 {
				want.PacketID = 4711
			}
			if c.d.Props != nil {
				if err := want.Properties.Unpack(bytes.NewBuffer(append([]byte{byte(len(props))}, props...)), packets.PUBLISH); err != nil {
					t.Fatal(err)
				}
			}
			if c.d.HasExpiry {
				want.Properties.MessageExpiry = new(c.d.Expiry)
			}
			if len(got.Payload) == 0 {
				got.Payload = want.Payload
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("read back (-want +got):\n%s", diff)
			}
		})
	}
}

// writer is a forwarder that only makes packets.
func writer(prefix string, lim limits) *forwarder {
	return &forwarder{l: &Link{cfg: Config{Prefix: prefix}}, lim: lim, aliases: newAliases(lim.aliases)}
}

func TestUnsendable(t *testing.T) {
	aws := profiles["aws-iot"]
	kib := strings.Repeat("x", 1024)
	for name, c := range map[string]struct {
		topic   string
		payload int
		lim     limits
		class   string
	}{
		"at the size":       {"t", 90, limits{packet: 100}, ""},
		"above the size":    {"t", 91, limits{packet: 100}, tooLarge},
		"topic":             {strings.Repeat(kib, 64), 0, limits{packet: maxPacket}, "topic too long"},
		"payload":           {"t", 128 << 10, limits{packet: maxPacket, profile: aws}, ""},
		"payload above":     {"t", 128<<10 + 1, limits{packet: maxPacket, profile: aws}, tooLarge},
		"topic of aws":      {kib[:254], 0, limits{packet: maxPacket, profile: aws}, ""},
		"topic above aws":   {kib[:255], 0, limits{packet: maxPacket, profile: aws}, "topic too long for the upstream"},
		"levels of aws":     {"1/2/3/4/5/6/7", 0, limits{packet: maxPacket, profile: aws}, ""},
		"levels above aws":  {"1/2/3/4/5/6/7/8", 0, limits{packet: maxPacket, profile: aws}, "topic too deep for the upstream"},
		"levels beside aws": {"1/2/3/4/5/6/7/8", 0, limits{packet: maxPacket}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.lim.version = packet.V5
			f := writer("p/", c.lim)
			out := packet.Outgoing{QoS: 1, PacketID: 1}
			if class, why := f.unsendable([]byte(c.topic), make([]byte, c.payload), &out); class != c.class || (class == "") != (why == "") {
				t.Errorf("%q (%s), want %q", class, why, c.class)
			}
		})
	}
	// A rule's topic is measured behind the rule.
	f := writer("$aws/rules/x/", limits{version: packet.V5, packet: maxPacket, profile: aws})
	for topic, fits := range map[string]bool{"1/2/3/4/5/6/7/8": true, "1/2/3/4/5/6/7/8/9": false, kib[:256]: true, kib[:257]: false} {
		if _, why := f.unsendable([]byte(topic), nil, &packet.Outgoing{}); (why == "") != fits {
			t.Errorf("$aws/rules/x/%s: %q", topic, why)
		}
	}
}

func TestPubrelReadsBack(t *testing.T) {
	cp, err := packets.ReadPacket(bytes.NewReader(appendPubrel(nil, 59_999)))
	if err != nil || cp.Type != packets.PUBREL || cp.Flags != 2 || cp.PacketID() != 59_999 {
		t.Errorf("read back %v, %v", cp, err)
	}
}
