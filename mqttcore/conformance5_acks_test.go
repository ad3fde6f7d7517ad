package mqttcore

import (
	"sluice/mqttcore/packet"
)

// acks5 is about PUBACK, PUBREC, PUBREL and PUBCOMP (3.4 to 3.7).
var acks5 = []statement{
	{"MQTT-3.4.2-1", func(r *rig) {
		rejects(packet.V5,
			wrong{"a code of another packet", "@puback-5-wrong-reason", packet.ProtocolError},
			wrong{"a code that nobody knows", "40: 00 01 ff", packet.ProtocolError},
		)(r)
		c := r.watch(packet.V5, r.name())
		c.send(message(r.name()+"/nobody", "x", 1, 1), message("$SYS/x", "x", 1, 2))
		c.expectAck(packet.PUBACK, 1, packet.NoMatchingSubscribers)
		c.expectAck(packet.PUBACK, 2, packet.NotAuthorized)
		// Each code that a client may give ends the handshake.
		c.subscribe(1, r.name())
		for _, reason := range []packet.Reason{0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99} {
			r.publish(r.name(), "x", 1, false)
			c.send(&packet.Ack{Type: packet.PUBACK, PacketID: c.expectMessage("x").PacketID, Reason: reason})
		}
		c.silent()
	}},
	{"MQTT-3.4.2-2", ackFits(packet.PUBACK)},
	{"MQTT-3.4.2-3", ackFits(packet.PUBACK)},
	{"MQTT-3.5.2-1", func(r *rig) {
		rejects(packet.V5,
			wrong{"a code of another packet", "@pubrec-5-wrong-reason", packet.ProtocolError},
			wrong{"a code that nobody knows", "50: 00 01 ff", packet.ProtocolError},
		)(r)
		c, _ := r.connect(packet.V5, "")
		c.send(message(r.name(), "x", 2, 1), message("$SYS/x", "x", 2, 2))
		c.expectAck(packet.PUBREC, 1, packet.NoMatchingSubscribers)
		c.expectAck(packet.PUBREC, 2, packet.NotAuthorized)
		c.subscribe(2, r.name())
		for _, reason := range []packet.Reason{0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99} {
			r.publish(r.name(), "x", 2, false)
			c.send(&packet.Ack{Type: packet.PUBREC, PacketID: c.expectMessage("x").PacketID, Reason: reason})
			c.silent() // no PUBREL
		}
		r.publish(r.name(), "x", 2, false)
		pid := c.expectMessage("x").PacketID
		c.send(&packet.Ack{Type: packet.PUBREC, PacketID: pid, Reason: packet.NoMatchingSubscribers})
		c.expectAck(packet.PUBREL, pid, packet.Success)
	}},
	{"MQTT-3.5.2-2", ackFits(packet.PUBREC)},
	{"MQTT-3.5.2-3", ackFits(packet.PUBREC)},
	{"MQTT-3.6.1-1", rejects(packet.V5,
		wrong{"flags 0", "60 02 00 01", packet.MalformedPacket},
		wrong{"DUP", "@pubrel-5-flags-dup", packet.MalformedPacket},
		wrong{"RETAIN", "63 02 00 01", packet.MalformedPacket},
		wrong{"QoS 2", "64 02 00 01", packet.MalformedPacket},
		wrong{"all", "6f 02 00 01", packet.MalformedPacket},
	)},
	{"MQTT-3.6.2-1", func(r *rig) {
		rejects(packet.V5,
			wrong{"a code of another packet", "@pubrel-5-wrong-reason", packet.ProtocolError},
			wrong{"a code that nobody knows", "62: 00 01 ff", packet.ProtocolError},
		)(r)
		c, _ := r.connect(packet.V5, "")
		c.send(answer(packet.PUBREC, 99))
		c.expectAck(packet.PUBREL, 99, packet.PacketIdentifierNotFound)
		c.send(message(r.name(), "x", 2, 1))
		c.expectAck(packet.PUBREC, 1, packet.NoMatchingSubscribers)
		c.send(&packet.Ack{Type: packet.PUBREL, PacketID: 1, Reason: packet.PacketIdentifierNotFound})
		c.expectAck(packet.PUBCOMP, 1, packet.Success)
	}},
	{"MQTT-3.6.2-2", ackFits(packet.PUBREL)},
	{"MQTT-3.6.2-3", ackFits(packet.PUBREL)},
	{"MQTT-3.7.2-1", func(r *rig) {
		rejects(packet.V5,
			wrong{"a code of another packet", "@pubcomp-5-wrong-reason", packet.ProtocolError},
			wrong{"a code that nobody knows", "70: 00 01 ff", packet.ProtocolError},
		)(r)
		c, _ := r.connect(packet.V5, "")
		c.send(answer(packet.PUBREL, 99))
		c.expectAck(packet.PUBCOMP, 99, packet.PacketIdentifierNotFound)
		c.subscribe(2, r.name())
		r.publish(r.name(), "x", 2, false)
		pid := c.expectMessage("x").PacketID
		c.send(answer(packet.PUBREC, pid))
		c.expectAck(packet.PUBREL, pid, packet.Success)
		c.send(&packet.Ack{Type: packet.PUBCOMP, PacketID: pid, Reason: packet.PacketIdentifierNotFound})
		c.silent()
	}},
	{"MQTT-3.7.2-2", ackFits(packet.PUBCOMP)},
	{"MQTT-3.7.2-3", ackFits(packet.PUBCOMP)},
}

// ackFits makes a test: neither reason string nor user properties ever make an
// acknowledgement larger than a client takes, not even one that refuses.
func ackFits(typ packet.Type) func(*rig) {
	return func(r *rig) {
		r.t.Helper()
		// The least that a client can allow and still be told the terms.
		c := r.tight()
		switch typ {
		case packet.PUBACK:
			c.send(message("$SYS/x", "", 1, 0xffff))
		case packet.PUBREC:
			c.send(message("$SYS/x", "", 2, 0xffff))
		case packet.PUBREL:
			c.send(answer(packet.PUBREC, 0xffff))
		case packet.PUBCOMP:
			c.send(answer(packet.PUBREL, 0xffff))
		}
		b := c.rawFrame()
		if packet.Type(b[0]>>4) != typ || len(b) != 5 || b[4] < 0x80 {
			r.t.Errorf("got % x, want %v with a reason and no more", b, typ)
		}
		c.silent()
	}
}

// tight connects a client with the least Maximum Packet Size at which it can
// be told the terms.
func (r *rig) tight() *client {
	r.t.Helper()
	for limit := range uint32(100) {
		c := r.dial(packet.V5)
		p := &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: r.name()}
		p.Properties.SetUint(packet.PropMaximumPacketSize, limit+1)
		c.send(p)
		if a, ok := c.read().(*packet.Connack); ok && a.Reason == packet.Success {
			return c
		}
		c.close()
	}
	r.t.Fatal("no CONNACK in 100 bytes")
	return nil
}
