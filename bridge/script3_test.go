package bridge

import (
	"fmt"
	"io"
	"net"

	"github.com/eclipse/paho.golang/packets"

	"sluice/mqttcore/packet"
)

// The scripts are written in the packets of MQTT 5. read3 and write3 put them
// on the wire as MQTT 3.1.1.

func read3(c net.Conn) (*packets.ControlPacket, error) {
	var raw []byte
	var head packet.Header
	for n := 0; n == 0; {
		var b [1]byte
		if _, err := io.ReadFull(c, b[:]); err != nil {
			return nil, err
		}
		raw = append(raw, b[0])
		var err error
		if head, n, err = packet.ParseHeader(raw); err != nil {
			return nil, err
		}
	}
	body := make([]byte, head.Remaining)
	if _, err := io.ReadFull(c, body); err != nil {
		return nil, err
	}
	p, err := packet.Decode(packet.V311, head, body)
	if err != nil {
		return nil, err
	}
	cp := &packets.ControlPacket{FixedHeader: packets.FixedHeader{Type: byte(head.Type)}}
	switch p := p.(type) {
	case *packet.Connect:
		if p.Version != packet.V311 {
			return nil, fmt.Errorf("CONNECT is of version %v", p.Version)
		}
		cp.Content = &packets.Connect{CleanStart: p.CleanStart, KeepAlive: p.KeepAlive, ClientID: p.ClientID, WillFlag: p.Will != nil}
	case *packet.Publish:
		cp.Content = &packets.Publish{Duplicate: p.Dup, QoS: p.QoS, Retain: p.Retain, Topic: string(p.Topic), PacketID: p.PacketID, Payload: p.Payload}
	case *packet.Subscribe:
		s := &packets.Subscribe{PacketID: p.PacketID}
		for _, f := range p.Filters {
			s.Subscriptions = append(s.Subscriptions, packets.SubOptions{Topic: string(f.Topic), QoS: f.QoS})
		}
		cp.Content = s
	case *packet.Ack:
		switch p.Type {
		case packet.PUBACK:
			cp.Content = &packets.Puback{PacketID: p.PacketID}
		case packet.PUBREC:
			cp.Content = &packets.Pubrec{PacketID: p.PacketID}
		case packet.PUBREL:
			cp.Content = &packets.Pubrel{PacketID: p.PacketID}
		case packet.PUBCOMP:
			cp.Content = &packets.Pubcomp{PacketID: p.PacketID}
		}
	case *packet.Ping:
		cp.Content = &packets.Pingreq{}
	case *packet.Disconnect:
		cp.Content = &packets.Disconnect{}
	default:
		return nil, fmt.Errorf("a client sent %v", head.Type)
	}
	return cp, nil
}

func write3(c net.Conn, p packets.Packet) error {
	var out packet.Packet
	ack := func(t packet.Type, id uint16) { out = &packet.Ack{Type: t, PacketID: id} }
	switch p := p.(type) {
	case *packets.Connack:
		out = &packet.Connack{SessionPresent: p.SessionPresent, Reason: packet.Reason(p.ReasonCode)}
	case *packets.Suback:
		s := &packet.Suback{PacketID: p.PacketID}
		for _, r := range p.Reasons {
			s.Reasons = append(s.Reasons, packet.Reason(r))
		}
		out = s
	case *packets.Publish:
		out = &packet.Publish{Dup: p.Duplicate, QoS: p.QoS, Retain: p.Retain, Topic: []byte(p.Topic), PacketID: p.PacketID, Payload: p.Payload}
	case *packets.Puback:
		ack(packet.PUBACK, p.PacketID)
	case *packets.Pubrec:
		ack(packet.PUBREC, p.PacketID)
	case *packets.Pubrel:
		ack(packet.PUBREL, p.PacketID)
	case *packets.Pubcomp:
		ack(packet.PUBCOMP, p.PacketID)
	case *packets.Pingresp:
		out = &packet.Ping{Type: packet.PINGRESP}
	case *packets.Disconnect:
		return nil // a server of MQTT 3.1.1 has no such word
	default:
		return fmt.Errorf("no server sends %T", p)
	}
	_, err := c.Write(out.Append(nil, packet.V311))
	return err
}
