package packet

import (
	"bytes"
	"testing"

	paho "github.com/eclipse/paho.golang/packets"
)

// FuzzDecode: no bytes make a decoder panic, and what is accepted comes out of
// Append meaning the same. Another codec, reading MQTT 5, must accept it too.
func FuzzDecode(f *testing.F) {
	for _, vec := range vectors(f) {
		for _, v := range vec.versions {
			f.Add(byte(v), vec.raw)
		}
	}
	f.Fuzz(func(t *testing.T, version byte, b []byte) {
		v := V31 + Version(version)%3
		h, n, err := ParseHeader(b)
		if err != nil || n == 0 || h.Remaining > len(b)-n {
			return
		}
		body := b[n : n+h.Remaining : n+h.Remaining]
		before := bytes.Clone(b)
		p, err := Decode(v, h, body)
		if !bytes.Equal(b, before) {
			t.Fatal("decoding changed the input")
		}
		if err != nil {
			if e, ok := err.(*Error); !ok || !e.Reason.Failed() || e.Text == "" {
				t.Fatalf("error %#v has no reason", err)
			}
			return
		}
		checkDecoded(t, v, p, len(b))
		if c, ok := p.(*Connect); ok {
			v = c.Version
		}
		if v == V5 {
			checkSecondOpinion(t, p)
		}
	})
}

// FuzzForward: on any bytes, forwarding ends and only leaves out; on a valid
// list, nothing that travels is lost.
func FuzzForward(f *testing.F) {
	for _, vec := range vectors(f) {
		f.Add(vec.raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		out := ForwardProps(nil, raw)
		if len(out) > len(raw) {
			t.Fatalf("%d bytes became %d", len(raw), len(out))
		}
		if again := ForwardProps(nil, out); !bytes.Equal(again, out) {
			t.Fatalf("forwarding twice: % x, then % x", out, again)
		}
		var p, q Properties
		if DecodeProps(&p, raw, PUBLISH) != nil {
			return
		}
		seconds, ok := ExpiryOf(raw)
		if ok != p.Has(PropMessageExpiry) || seconds != p.MessageExpiry {
			t.Fatalf("expiry %d %v, want %d", seconds, ok, p.MessageExpiry)
		}
		for _, id := range []PropID{PropMessageExpiry, PropSubscriptionID, PropTopicAlias} {
			p.Remove(id)
		}
		if err := DecodeProps(&q, out, PUBLISH); err != nil {
			t.Fatal(err)
		}
		if a, b := p.AppendRaw(nil), q.AppendRaw(nil); !bytes.Equal(a, b) {
			t.Fatalf("forwarded % x, want % x", b, a)
		}
	})
}

// checkSecondOpinion gives our encoding of p to the codec of paho.golang and
// compares what both read.
func checkSecondOpinion(t *testing.T, p Packet) {
	t.Helper()
	raw := p.Append(nil, V5)
	if string(raw) == "\xe0\x00" {
		return // allowed by 3.14.2.1, and refused there
	}
	cp, err := paho.ReadPacket(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("paho refuses % x, %s: %v", raw, describe(p), err)
	}
	switch theirs := cp.Content.(type) {
	case *paho.Connect:
		ours := p.(*Connect)
		if theirs.ClientID != ours.ClientID || theirs.KeepAlive != ours.KeepAlive ||
			theirs.CleanStart != ours.CleanStart || theirs.Username != ours.Username ||
			!bytes.Equal(theirs.Password, ours.Password) || theirs.WillFlag != (ours.Will != nil) {
			t.Fatalf("paho reads %s as %v", describe(p), theirs)
		}
		if w := ours.Will; w != nil && (theirs.WillTopic != w.Topic || theirs.WillQOS != w.QoS ||
			theirs.WillRetain != w.Retain || !bytes.Equal(theirs.WillMessage, w.Payload)) {
			t.Fatalf("paho reads the will of %s as %v", describe(p), theirs)
		}
		compareProps(t, &ours.Properties, theirs.Properties)
	case *paho.Connack:
		ours := p.(*Connack)
		if theirs.ReasonCode != byte(ours.Reason) || theirs.SessionPresent != ours.SessionPresent {
			t.Fatalf("paho reads %s as %v", describe(p), theirs)
		}
		compareProps(t, &ours.Properties, theirs.Properties)
	case *paho.Publish:
		ours := p.(*Publish)
		if theirs.Topic != string(ours.Topic) || !bytes.Equal(theirs.Payload, ours.Payload) ||
			theirs.PacketID != ours.PacketID || theirs.QoS != ours.QoS ||
			theirs.Retain != ours.Retain || theirs.Duplicate != ours.Dup {
			t.Fatalf("paho reads %s as %v", describe(p), theirs)
		}
		compareProps(t, &ours.Properties, theirs.Properties)
	case *paho.Subscribe:
		ours := p.(*Subscribe)
		if theirs.PacketID != ours.PacketID || len(theirs.Subscriptions) != len(ours.Filters) {
			t.Fatalf("paho reads %s as %v", describe(p), theirs)
		}
		for i, s := range theirs.Subscriptions {
			f := ours.Filters[i]
			if s.Topic != string(f.Topic) || s.QoS != f.QoS || s.NoLocal != f.NoLocal ||
				s.RetainAsPublished != f.RetainAsPublished || s.RetainHandling != f.RetainHandling {
				t.Fatalf("paho reads filter %d of %s as %v", i, describe(p), s)
			}
		}
		compareProps(t, &ours.Properties, theirs.Properties)
	case *paho.Suback:
		compareReasons(t, p.(*Suback).Reasons, theirs.Reasons)
	case *paho.Unsuback:
		compareReasons(t, p.(*Unsuback).Reasons, theirs.Reasons)
	case *paho.Unsubscribe:
		ours := p.(*Unsubscribe)
		if len(theirs.Topics) != len(ours.Filters) {
			t.Fatalf("paho reads %s as %v", describe(p), theirs)
		}
		for i, topic := range theirs.Topics {
			if topic != string(ours.Filters[i]) {
				t.Fatalf("paho reads filter %d of %s as %q", i, describe(p), topic)
			}
		}
	case *paho.Puback:
		compareAck(t, p.(*Ack), theirs.PacketID, theirs.ReasonCode)
	case *paho.Pubrec:
		compareAck(t, p.(*Ack), theirs.PacketID, theirs.ReasonCode)
	case *paho.Pubrel:
		compareAck(t, p.(*Ack), theirs.PacketID, theirs.ReasonCode)
	case *paho.Pubcomp:
		compareAck(t, p.(*Ack), theirs.PacketID, theirs.ReasonCode)
	case *paho.Disconnect:
		if theirs.ReasonCode != byte(p.(*Disconnect).Reason) {
			t.Fatalf("paho reads %s as %v", describe(p), theirs)
		}
	}
}

func compareAck(t *testing.T, ours *Ack, id uint16, reason byte) {
	t.Helper()
	if id != ours.PacketID || reason != byte(ours.Reason) {
		t.Fatalf("paho reads %s as id %d, reason 0x%02x", describe(ours), id, reason)
	}
}

func compareReasons(t *testing.T, ours []Reason, theirs []byte) {
	t.Helper()
	if len(ours) != len(theirs) {
		t.Fatalf("paho reads %d reasons of %d", len(theirs), len(ours))
	}
	for i, r := range ours {
		if byte(r) != theirs[i] {
			t.Fatalf("paho reads reason %d as 0x%02x, want %v", i, theirs[i], r)
		}
	}
}

// compareProps compares what both read of a list of properties. paho keeps
// strings without telling empty from absent, and of several subscription
// identifiers the last.
func compareProps(t *testing.T, ours *Properties, theirs *paho.Properties) {
	t.Helper()
	number := func(id PropID, v uint32, there bool, w uint32) {
		if ours.Has(id) != there || there && v != w {
			t.Fatalf("paho reads %s as %d %v, want %d", id, w, there, v)
		}
	}
	u32 := func(id PropID, v uint32, w *uint32) {
		if w == nil {
			w = new(uint32)
			number(id, v, false, *w)
			return
		}
		number(id, v, true, *w)
	}
	u16 := func(id PropID, v uint16, w *uint16) {
		if w == nil {
			number(id, uint32(v), false, 0)
			return
		}
		number(id, uint32(v), true, uint32(*w))
	}
	u8 := func(id PropID, v byte, w *byte) {
		if w == nil {
			number(id, uint32(v), false, 0)
			return
		}
		number(id, uint32(v), true, uint32(*w))
	}
	text := func(id PropID, v []byte, w string) {
		if string(v) != w {
			t.Fatalf("paho reads %s as %q, want %q", id, w, v)
		}
	}
	u8(PropPayloadFormat, ours.PayloadFormat, theirs.PayloadFormat)
	u32(PropMessageExpiry, ours.MessageExpiry, theirs.MessageExpiry)
	text(PropContentType, ours.ContentType, theirs.ContentType)
	text(PropResponseTopic, ours.ResponseTopic, theirs.ResponseTopic)
	text(PropCorrelationData, ours.CorrelationData, string(theirs.CorrelationData))
	u32(PropSessionExpiry, ours.SessionExpiry, theirs.SessionExpiryInterval)
	text(PropAssignedClientID, ours.AssignedClientID, theirs.AssignedClientID)
	u16(PropServerKeepAlive, ours.ServerKeepAlive, theirs.ServerKeepAlive)
	text(PropAuthMethod, ours.AuthMethod, theirs.AuthMethod)
	text(PropAuthData, ours.AuthData, string(theirs.AuthData))
	u8(PropRequestProblemInfo, ours.RequestProblemInfo, theirs.RequestProblemInfo)
	u8(PropRequestResponseInfo, ours.RequestResponseInfo, theirs.RequestResponseInfo)
	text(PropResponseInfo, ours.ResponseInfo, theirs.ResponseInfo)
	text(PropServerReference, ours.ServerReference, theirs.ServerReference)
	text(PropReasonString, ours.ReasonString, theirs.ReasonString)
	u16(PropReceiveMaximum, ours.ReceiveMaximum, theirs.ReceiveMaximum)
	u16(PropTopicAliasMaximum, ours.TopicAliasMaximum, theirs.TopicAliasMaximum)
	u16(PropTopicAlias, ours.TopicAlias, theirs.TopicAlias)
	u8(PropMaximumQoS, ours.MaximumQoS, theirs.MaximumQOS)
	u8(PropRetainAvailable, ours.RetainAvailable, theirs.RetainAvailable)
	u32(PropMaximumPacketSize, ours.MaximumPacketSize, theirs.MaximumPacketSize)
	u8(PropWildcardSubAvailable, ours.WildcardSubAvailable, theirs.WildcardSubAvailable)
	u8(PropSubIDAvailable, ours.SubIDAvailable, theirs.SubIDAvailable)
	u8(PropSharedSubAvailable, ours.SharedSubAvailable, theirs.SharedSubAvailable)
	if n := len(ours.SubscriptionIDs); n > 0 {
		if theirs.SubscriptionIdentifier == nil || uint32(*theirs.SubscriptionIdentifier) != ours.SubscriptionIDs[n-1] {
			t.Fatalf("paho reads the subscription identifiers %d as %v", ours.SubscriptionIDs, theirs.SubscriptionIdentifier)
		}
	}
	if len(ours.User) != len(theirs.User) {
		t.Fatalf("paho reads %d user properties of %d", len(theirs.User), len(ours.User))
	}
	for i, u := range theirs.User {
		if u.Key != string(ours.User[i].Key) || u.Value != string(ours.User[i].Value) {
			t.Fatalf("paho reads user property %d as %v", i, u)
		}
	}
}

// Each property in each packet: allowed by us exactly where paho allows it.
func TestPropertiesBelong(t *testing.T) {
	allowed := 0
	for typ := CONNECT; typ <= AUTH; typ++ {
		for id := range PropID(128) {
			ours, theirs := id.In(typ), paho.ValidateID(byte(typ), byte(id))
			if typ == CONNECT && id != PropUser && id.In(WillType) {
				// paho has one list for CONNECT and its will.
				ours = true
			}
			if ours {
				allowed++
			}
			if ours != theirs {
				t.Errorf("%s in %s: %v, paho says %v", id, typ, ours, theirs)
			}
		}
	}
	if allowed == 0 {
		t.Error("no property is allowed anywhere")
	}
}
