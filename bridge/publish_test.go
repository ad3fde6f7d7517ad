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
			raw := appendPublish(nil, packet.V5, "site7/", &c.d, 4711, c.qos, c.dup, c.retain)
			if want := publishLen(packet.V5, "site7/", &c.d, c.qos); len(raw) != want {
				t.Errorf("packet has %d bytes, foretold were %d", len(raw), want)
			}
			r := bytes.NewReader(raw)
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

func TestUnsendable(t *testing.T) {
	d := mqttcore.Delivery{Topic: []byte("t"), Payload: make([]byte, 90)}
	size := publishLen(packet.V5, "p/", &d, 1)
	if why := unsendable(packet.V5, "p/", &d, 1, size); why != "" {
		t.Errorf("a packet of exactly the allowed size is refused: %s", why)
	}
	if why := unsendable(packet.V5, "p/", &d, 1, size-1); !strings.Contains(why, "allows") {
		t.Errorf("a packet one byte too large is let through: %q", why)
	}
	if why := unsendable(packet.V5, strings.Repeat("p", 65535), &d, 1, maxPacket); !strings.Contains(why, "65535") {
		t.Errorf("a topic that grew too long is let through: %q", why)
	}
}

func TestPubrelReadsBack(t *testing.T) {
	cp, err := packets.ReadPacket(bytes.NewReader(appendPubrel(nil, 59_999)))
	if err != nil || cp.Type != packets.PUBREL || cp.Flags != 2 || cp.PacketID() != 59_999 {
		t.Errorf("read back %v, %v", cp, err)
	}
}
