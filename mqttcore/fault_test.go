package mqttcore

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/store"
)

// deadDisk is a disk that cannot be used at all.
type deadDisk struct {
	store.FS
	why error
}

func (d deadDisk) Lock() (io.Closer, error) { return nil, d.why }

// TestBrokerWithoutADisk runs the broker on a disk that cannot be used: clients
// without a durable session do not notice, what needs the disk is refused with
// its reason, and nothing is acknowledged that is not kept.
func TestBrokerWithoutADisk(t *testing.T) {
	for why, reason := range map[error]packet.Reason{
		syscall.EIO:    packet.ImplementationSpecificError,
		syscall.ENOSPC: packet.QuotaExceeded,
	} {
		t.Run(why.Error(), func(t *testing.T) {
			r := start(t, Config{SysInterval: -1})
			r.stop()
			r.cfg.SysInterval = patience
			r.disk = deadDisk{nil, why}
			r.up()
			if err := r.DiskFault(); !errors.Is(err, why) {
				t.Errorf("disk fault: %v", err)
			}

			sub, _ := r.connect(packet.V5, "sub")
			pub, _ := r.connect(packet.V5, "pub")
			sub.subscribe(2, "live/#")
			for qos := byte(0); qos <= 2; qos++ {
				text := strings.Repeat("q", int(qos)+1)
				pub.send(message("live/x", text, qos, 9))
				if p := sub.expectMessage(text); p.QoS != qos {
					t.Errorf("QoS %d came at %d", qos, p.QoS)
				} else if qos == 1 {
					sub.send(answer(packet.PUBACK, p.PacketID))
					pub.expectAck(packet.PUBACK, 9, packet.Success)
				} else if qos == 2 {
					pub.expectAck(packet.PUBREC, 9, packet.Success)
					pub.send(answer(packet.PUBREL, 9))
					pub.expectAck(packet.PUBCOMP, 9, packet.Success)
					sub.send(answer(packet.PUBREC, p.PacketID))
					sub.expectAck(packet.PUBREL, p.PacketID, packet.Success)
					sub.send(answer(packet.PUBCOMP, p.PacketID))
				}
			}

			kept := message("kept/x", "retained", 0, 0)
			kept.Retain = true
			pub.send(kept)
			pub.silent()
			sub.subscribe(1, "kept/#")
			sub.expectMessage("retained")
			kept = message("kept/y", "must be on disk", 1, 3)
			kept.Retain = true
			pub.send(kept)
			sub.expectMessage("must be on disk")
			pub.expectAck(packet.PUBACK, 3, reason)

			for _, v := range []packet.Version{packet.V5, packet.V311} {
				c := r.dial(v)
				hello := &packet.Connect{Version: v, ClientID: "durable"}
				if v == packet.V5 {
					keep(hello)
				}
				c.send(hello)
				if ack := expect[*packet.Connack](c); v == packet.V5 && ack.Reason != reason || ack.Reason == packet.Success {
					t.Errorf("durable session: %v", ack.Reason)
				}
			}

			if _, err := r.AwaitConsumer(t.Context(), "c", []Filter{{Topic: "up/#", QoS: 1}}, nil); !errors.Is(err, store.ErrFailed) {
				t.Errorf("consumer: %v", err)
			}
			pub.send(message("up/x", "for the consumer", 1, 4))
			pub.expectAck(packet.PUBACK, 4, reason)
			k := r.StoredConsumer("c")
			var d Delivery
			if ok, err := k.Next(&d); ok || err != nil {
				t.Errorf("stored consumer: %v, %v", ok, err)
			}
			k.Release(1, func(err error) {
				if !errors.Is(err, store.ErrFailed) {
					t.Errorf("release: %v", err)
				}
			})
			k.Close()

			state := ""
			await(t, "the state is told", func() bool {
				cancel := r.Subscribe("$SYS/broker/store/state", func(m *Message) { state = string(m.Payload) })
				cancel()
				return state != ""
			})
			if !strings.HasPrefix(state, "failed: ") || !strings.Contains(state, why.Error()) {
				t.Errorf("state is %q", state)
			}
		})
	}
}
