package bridge

import (
	"fmt"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
)

// TestEachReasonCode has a scripted server refuse one of six messages with each
// reason that there is, and some that there are not, again and again.
func TestEachReasonCode(t *testing.T) {
	const tried = "tried for a while and then given up"
	fates := map[byte]string{
		0x00: "taken", 0x10: "taken", // no matching subscribers
		reasonUnspecified: tried, reasonImplementation: tried, reasonIDInUse: tried,
		reasonQuota:         "waited for",
		reasonNotAuthorized: "given up", reasonTopicName: "given up", reasonPayloadFormat: "given up",
		// Not for PUBACK or PUBREC by the standard (3.4.2.1, 3.5.2.1).
		reasonMalformed: "given up", reasonProtocolError: "given up", reasonPacketTooLarge: "given up",
		reasonRetain: "given up", reasonQoS: "given up",
		reasonServerBusy: "waited for", reasonMessageRate: "waited for",
		0x94: tried, 0xFF: tried,
	}
	for reason, want := range fates {
		for _, qos := range []byte{1, 2} {
			t.Run(fmt.Sprintf("0x%02X qos %d", reason, qos), func(t *testing.T) {
				s := &script{}
				s.publish = func(p *packets.Publish, reply func(packets.Packet)) bool {
					if string(p.Payload) == "000003" {
						acknowledge(p, reason, reply)
					} else {
						acknowledge(p, 0, reply)
					}
					return true
				}
				underScript(t, s, scripted(qos), func(t *testing.T, g *gateway) {
					g.publish(t, "home/x", qos, 1, 6)
					time.Sleep(20 * time.Minute)
					st := g.link.Stats()
					got := "?"
					switch {
					case st.Backlog == 0 && st.Forwarded == 6 && st.Retried == 0:
						got = "taken"
					case st.Backlog == 1 && st.Forwarded == 5 && st.Retried > 20:
						got = "waited for"
					case st.Backlog == 0 && st.DeadLettered == 1 && st.Retried == 0:
						got = "given up"
					case st.Backlog == 0 && st.DeadLettered == 1 && st.Retried == maxTries-1:
						got = tried
					}
					if got != want || st.Connects != 1 {
						t.Errorf("it is %s, want %s: %+v", got, want, st)
					}
					if st.DeadLettered > 0 && st.DroppedBy["refused by the upstream: "+reasonText(reason, "")] != 1 {
						t.Errorf("dropped: %v", st.DroppedBy)
					}
				})
			})
		}
	}
}

// TestEachDisconnectReason has a scripted server end each connection on which
// it gets one of six messages, with each reason that there is, or without.
func TestEachDisconnectReason(t *testing.T) {
	const lost, kept = "given up", "kept"
	fates := map[byte]string{
		reasonMalformed: lost, reasonProtocolError: lost, reasonTopicName: lost, reasonPacketTooLarge: lost,
		reasonPayloadFormat: lost, reasonRetain: lost, reasonQoS: lost,
		0: lost, // without a word
		// About us, or the server, and not the message.
		reasonUnspecified: kept, reasonImplementation: kept, reasonNotAuthorized: kept, reasonServerBusy: kept,
		0x8B: kept, 0x8D: kept, 0x8E: kept, reasonReceiveMaximum: kept, reasonMessageRate: kept, reasonQuota: kept,
		0x98: kept, reasonConnectionRate: kept, 0xA0: kept,
	}
	for reason, want := range fates {
		t.Run(fmt.Sprintf("0x%02X", reason), func(t *testing.T) {
			s := &script{keep: true}
			s.publish = func(p *packets.Publish, reply func(packets.Packet)) bool {
				if string(p.Payload) != "000003" {
					acknowledge(p, 0, reply)
					return true
				}
				if reason != 0 {
					reply(&packets.Disconnect{ReasonCode: reason, Properties: &packets.Properties{}})
				}
				return false
			}
			underScript(t, s, scripted(1), func(t *testing.T, g *gateway) {
				g.publish(t, "home/x", 1, 1, 6)
				time.Sleep(20 * time.Minute)
				st := g.link.Stats()
				switch {
				case want == lost && (st.Backlog != 0 || st.DeadLettered != 1 || st.Forwarded != 5):
					t.Errorf("it was not given up: %+v", st)
				case want == kept && (st.DeadLettered != 0 || st.Backlog == 0):
					t.Errorf("it was given up: %+v", st)
				case st.Connects > 80:
					t.Errorf("%d connections in twenty minutes", st.Connects)
				}
			})
		})
	}
}
