package mqttcore

import (
	"testing"

	"sluice/mqttcore/packet"
)

func TestQoSFlows(t *testing.T) {
	each(t, func(t *testing.T, v packet.Version) {
		r := start(t, Config{})
		sub, _ := r.connect(v, "sub")
		pub, _ := r.connect(v, "pub")
		sub.subscribe(2, "a/#")
		for qos := byte(0); qos <= 2; qos++ {
			for pid := uint16(1); pid <= 3; pid++ {
				pub.send(message("a/b", "hello", qos, pid))
				switch qos {
				case 1:
					pub.expectAck(packet.PUBACK, pid, packet.Success)
				case 2:
					pub.expectAck(packet.PUBREC, pid, packet.Success)
					pub.send(answer(packet.PUBREL, pid))
					pub.expectAck(packet.PUBCOMP, pid, packet.Success)
				}
				m := sub.expectMessage("hello")
				if m.QoS != qos || m.Dup || m.Retain || string(m.Topic) != "a/b" {
					t.Errorf("QoS %d arrives as %+v", qos, m)
				}
				switch qos {
				case 1:
					sub.send(answer(packet.PUBACK, m.PacketID))
				case 2:
					sub.send(answer(packet.PUBREC, m.PacketID))
					sub.expectAck(packet.PUBREL, m.PacketID, packet.Success)
					sub.send(answer(packet.PUBCOMP, m.PacketID))
				}
			}
		}
		sub.silent()
		pub.silent()
	})
}
