package packet

import (
	"fmt"
	"strings"
)

// describe writes all that a packet says in one line.
func describe(p Packet) string {
	var b strings.Builder
	switch p := p.(type) {
	case *Connect:
		fmt.Fprintf(&b, "CONNECT %s id=%q keepalive=%d", p.Version, p.ClientID, p.KeepAlive)
		say(&b, p.CleanStart, " clean")
		describeProps(&b, &p.Properties)
		if w := p.Will; w != nil {
			fmt.Fprintf(&b, " will={topic=%q payload=%q qos=%d", w.Topic, w.Payload, w.QoS)
			say(&b, w.Retain, " retain")
			describeProps(&b, &w.Properties)
			b.WriteByte('}')
		}
		if p.HasUsername {
			fmt.Fprintf(&b, " user=%q", p.Username)
		}
		if p.HasPassword {
			fmt.Fprintf(&b, " password=%q", p.Password)
		}
	case *Connack:
		fmt.Fprintf(&b, "CONNACK 0x%02x", byte(p.Reason))
		say(&b, p.SessionPresent, " session")
		describeProps(&b, &p.Properties)
	case *Publish:
		fmt.Fprintf(&b, "PUBLISH topic=%q payload=%q qos=%d id=%d", p.Topic, p.Payload, p.QoS, p.PacketID)
		say(&b, p.Dup, " dup")
		say(&b, p.Retain, " retain")
		describeProps(&b, &p.Properties)
	case *Ack:
		fmt.Fprintf(&b, "%s id=%d 0x%02x", p.Type, p.PacketID, byte(p.Reason))
		describeProps(&b, &p.Properties)
	case *Subscribe:
		fmt.Fprintf(&b, "SUBSCRIBE id=%d", p.PacketID)
		describeProps(&b, &p.Properties)
		for _, f := range p.Filters {
			fmt.Fprintf(&b, " filter={%q qos=%d handling=%d", f.Topic, f.QoS, f.RetainHandling)
			say(&b, f.NoLocal, " no-local")
			say(&b, f.RetainAsPublished, " as-published")
			b.WriteByte('}')
		}
	case *Suback:
		describeReasons(&b, SUBACK, p.PacketID, &p.Properties, p.Reasons)
	case *Unsubscribe:
		fmt.Fprintf(&b, "UNSUBSCRIBE id=%d", p.PacketID)
		describeProps(&b, &p.Properties)
		for _, f := range p.Filters {
			fmt.Fprintf(&b, " filter=%q", f)
		}
	case *Unsuback:
		describeReasons(&b, UNSUBACK, p.PacketID, &p.Properties, p.Reasons)
	case *Ping:
		b.WriteString(p.Type.String())
	case *Disconnect:
		fmt.Fprintf(&b, "DISCONNECT 0x%02x", byte(p.Reason))
		describeProps(&b, &p.Properties)
	case *Auth:
		fmt.Fprintf(&b, "AUTH 0x%02x", byte(p.Reason))
		describeProps(&b, &p.Properties)
	default:
		panic(fmt.Sprintf("describe does not know %T", p))
	}
	return b.String()
}

func say(b *strings.Builder, is bool, word string) {
	if is {
		b.WriteString(word)
	}
}

func describeReasons(b *strings.Builder, t Type, id uint16, p *Properties, reasons []Reason) {
	fmt.Fprintf(b, "%s id=%d", t, id)
	describeProps(b, p)
	for _, r := range reasons {
		fmt.Fprintf(b, " 0x%02x", byte(r))
	}
}

func describeProps(b *strings.Builder, p *Properties) {
	number := func(id PropID, n uint32) {
		if p.Has(id) {
			fmt.Fprintf(b, " %s=%d", strings.ReplaceAll(id.String(), " ", "-"), n)
		}
	}
	text := func(id PropID, s []byte) {
		if p.Has(id) {
			fmt.Fprintf(b, " %s=%q", strings.ReplaceAll(id.String(), " ", "-"), s)
		}
	}
	number(PropPayloadFormat, uint32(p.PayloadFormat))
	number(PropMessageExpiry, p.MessageExpiry)
	text(PropContentType, p.ContentType)
	text(PropResponseTopic, p.ResponseTopic)
	text(PropCorrelationData, p.CorrelationData)
	for _, id := range p.SubscriptionIDs {
		number(PropSubscriptionID, id)
	}
	number(PropSessionExpiry, p.SessionExpiry)
	text(PropAssignedClientID, p.AssignedClientID)
	number(PropServerKeepAlive, uint32(p.ServerKeepAlive))
	text(PropAuthMethod, p.AuthMethod)
	text(PropAuthData, p.AuthData)
	number(PropRequestProblemInfo, uint32(p.RequestProblemInfo))
	number(PropWillDelay, p.WillDelay)
	number(PropRequestResponseInfo, uint32(p.RequestResponseInfo))
	text(PropResponseInfo, p.ResponseInfo)
	text(PropServerReference, p.ServerReference)
	text(PropReasonString, p.ReasonString)
	number(PropReceiveMaximum, uint32(p.ReceiveMaximum))
	number(PropTopicAliasMaximum, uint32(p.TopicAliasMaximum))
	number(PropTopicAlias, uint32(p.TopicAlias))
	number(PropMaximumQoS, uint32(p.MaximumQoS))
	number(PropRetainAvailable, uint32(p.RetainAvailable))
	for _, u := range p.User {
		fmt.Fprintf(b, " user-property=%q:%q", u.Key, u.Value)
	}
	number(PropMaximumPacketSize, p.MaximumPacketSize)
	number(PropWildcardSubAvailable, uint32(p.WildcardSubAvailable))
	number(PropSubIDAvailable, uint32(p.SubIDAvailable))
	number(PropSharedSubAvailable, uint32(p.SharedSubAvailable))
}
