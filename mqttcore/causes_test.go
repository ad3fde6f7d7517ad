package mqttcore

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"sluice/mqttcore/packet"
)

// TestCauses holds the broker to what has made other brokers fall, leak or let
// in whom they should not: each cause of their published advisories and bug
// reports is a subtest. These concern other parts and are tested with them:
//
//   - 03, frames of WebSocket that do not end where packets do: TestMQTT5Ch6
//   - 23, passwords on the command line: `sluice passwd` takes none (gateway/cli)
//   - 28, hostile upstream servers: the bridge
//   - 31, labels of metrics that an attacker names: gateway/web
func TestCauses(t *testing.T) {
	t.Run("01-truncated-subscribe", causeTruncated)
	t.Run("02-long-varint", causeLongVarint)
	t.Run("04-claimed-length", causeClaimedLength)
	t.Run("05-qos2-never-released", causeNeverReleased)
	t.Run("06-bad-properties-leak", causeBadProperties)
	t.Run("07-packets-of-servers", causeServerPackets)
	t.Run("08-empty-topic", causeEmptyTopic)
	t.Run("09-dollar-topics", causeDollarTopics)
	t.Run("10-deep-topics", causeDeepTopics)
	t.Run("11-many-user-properties", causeUserProperties)
	t.Run("12-share-without-filter", causeShareWithoutFilter)
	t.Run("13-subscription-outlives-right", causeSubscriptionOutlivesRight)
	t.Run("14-retained-of-revoked-publisher", causeRetainedOfRevoked)
	t.Run("15-resumed-qos2-skips-acl", causeResumedQoS2)
	t.Run("16-will-bypasses-acl", causeWillBypasses)
	t.Run("17-session-of-another-user", causeSessionOfAnother)
	t.Run("18-clean-start-before-login", causeCleanStartBeforeLogin)
	t.Run("19-wildcards-in-names", causeWildcardNames)
	t.Run("20-failing-open", causeFailingOpen)
	t.Run("21-reload-without-descriptors", causeReloadWithoutDescriptors)
	t.Run("22-readable-files", causeReadableFiles)
	t.Run("24-slots-held", causeSlotsHeld)
	t.Run("25-flood-and-slow-reader", causeFlood)
	t.Run("26-subscribers-come-and-go", causeComeAndGo)
	t.Run("27-limits-not-kept", causeLimitsNotKept)
	t.Run("29-injected-log-lines", causeInjectedLines)
	t.Run("30-qos2-taken-over", causeQoS2TakenOver)
	t.Run("32-max-connections", causeMaxConnections)
	t.Run("33-will-matrix", causeWillMatrix)
}

// unharmed says that the broker serves others and had no fault.
func (r *rig) unharmed() {
	r.t.Helper()
	c, _ := r.connect(packet.V5, "")
	c.silent()
	c.close()
	if n := r.Stats().Panics; n > 0 {
		r.t.Errorf("%d faults of the program", n)
	}
}

// raw puts a fixed header before a body.
func raw(first byte, body []byte) []byte {
	out := []byte{first}
	for n := len(body); ; {
		if n < 0x80 {
			return append(append(out, byte(n)), body...)
		}
		out = append(out, byte(n)|0x80)
		n >>= 7
	}
}

// bodyOf encodes a packet and gives it without its fixed header, which is two
// bytes long.
func bodyOf(p packet.Packet, v packet.Version) (first byte, body []byte) {
	b := p.Append(nil, v)
	return b[0], b[2:]
}

func causeTruncated(t *testing.T) {
	r := start(t, Config{})
	each(t, func(t *testing.T, v packet.Version) {
		full := []packet.Packet{
			&packet.Subscribe{PacketID: 7, Filters: []packet.Filter{{Topic: []byte("a/b"), QoS: 1}, {Topic: []byte("c"), QoS: 2}}},
			&packet.Unsubscribe{PacketID: 7, Filters: [][]byte{[]byte("a/b")}},
			message("a/b", "", 1, 7),
		}
		for _, p := range full {
			first, body := bodyOf(p, v)
			for n := range len(body) {
				c, _ := r.connect(v, "x")
				c.write(raw(first, body[:n]))
				c.send(&packet.Ping{Type: packet.PINGREQ})
				// Cut where a filter ends, it is a packet still; else the end.
				for {
					got := c.read()
					if _, pong := got.(*packet.Ping); pong || got == nil {
						break
					}
				}
				c.close()
			}
		}
	})
	r.unharmed()
}

func causeLongVarint(t *testing.T) {
	r := start(t, Config{})
	each(t, func(t *testing.T, v packet.Version) {
		for name, b := range map[string]string{
			"five bytes":     "\x30\x80\x80\x80\x80\x01",
			"all ones":       "\x30\xff\xff\xff\xff\x7f",
			"longer than is": "\xc0\x80\x00",
		} {
			if name == "longer than is" && v != packet.V5 {
				continue // only MQTT 5 forbids it (MQTT-1.5.5-1)
			}
			t.Run(name, func(t *testing.T) {
				c, _ := r.connect(v, "x")
				c.write([]byte(b))
				c.expectClosed(packet.MalformedPacket)
			})
		}
	})
	t.Run("in properties", func(t *testing.T) {
		for _, length := range []string{"\x80\x80\x80\x80\x01", "\x80\x00", "\xff\xff\xff\x7f"} {
			c, _ := r.connect(packet.V5, "")
			c.write(raw(0x30, []byte("\x00\x01a"+length+"x")))
			c.expectClosed(packet.MalformedPacket)
		}
	})
	r.unharmed()
}

// memoryNow is what lives in memory after a collection, in bytes.
func memoryNow() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func causeClaimedLength(t *testing.T) {
	r := start(t, Config{ConnectTimeout: patience})
	before := memoryNow()
	var held []*client
	for range 100 {
		c := r.dial(packet.V311)
		c.write([]byte("\x10\xff\xff\x03\x00\x04M")) // CONNECT of 65,535 bytes, three of them here
		held = append(held, c)
		c, _ = r.connect(packet.V5, "")
		c.write([]byte("\x30\xff\xff\x3f\x00\x01a")) // PUBLISH just below 1 MiB
		held = append(held, c)
	}
	if grown := memoryNow() - before; grown > 32<<20 {
		t.Errorf("100 claims of a megabyte took %d bytes", grown)
	}
	for _, c := range held {
		c.close()
	}
	c := r.dial(packet.V5)
	c.write([]byte("\x10\xff\xff\xff\x7f\x00\x04M"))
	c.expectClosed(packet.Success)
	c, _ = r.connect(packet.V5, "")
	c.write([]byte("\x30\xff\xff\xff\x7f\x00\x01a"))
	c.expectClosed(packet.PacketTooLarge)
	c = r.dial(packet.V311)
	c.write([]byte("\x40\x02\x00\x01")) // PUBACK in the place of CONNECT
	c.expectClosed(packet.Success)
	r.unharmed()
}

func causeNeverReleased(t *testing.T) {
	r := start(t, Config{ReceiveMaximum: 10})
	t.Run("MQTT 5 clients are held to Receive Maximum", func(t *testing.T) {
		c, _ := r.connect(packet.V5, "five")
		for pid := range uint16(10) {
			c.send(message("a", "", 2, pid+1))
			c.expectAck(packet.PUBREC, pid+1, packet.NoMatchingSubscribers)
		}
		c.send(message("a", "", 2, 11))
		c.expectClosed(packet.ReceiveMaximumExceeded)
	})
	t.Run("duplicates are answered and take nothing", func(t *testing.T) {
		sub, _ := r.connect(packet.V311, "sub")
		sub.subscribe(0, "a")
		c, _ := r.connect(packet.V311, "three")
		for range 3 {
			for pid := uint16(1); pid <= 500; pid++ {
				c.send(message("a", fmt.Sprint(pid), 2, pid))
				c.expectAck(packet.PUBREC, pid, packet.Success)
			}
		}
		r.mu.Lock()
		s := r.sessions["three"]
		r.mu.Unlock()
		s.mu.Lock()
		if s.inbound.n != 500 || len(s.inbound.words) > 1024 {
			t.Errorf("%d identifiers in %d words", s.inbound.n, len(s.inbound.words))
		}
		s.mu.Unlock()
		for pid := 1; pid <= 500; pid++ {
			sub.expectMessage(fmt.Sprint(pid))
		}
		sub.silent()
	})
}

func causeBadProperties(t *testing.T) {
	r := start(t, Config{})
	head := "\x00\x04MQTT\x05\x06\x00\x00"
	long := strings.Repeat("x", 100)
	bodies := [][]byte{
		[]byte(head + "\x05\x11\x00\x00\x00"),                             // cut off
		[]byte(head + "\x03\x21\x00\x00" + "\x00\x01c"),                   // Receive Maximum 0
		[]byte(head + "\x02\x03\x00" + "\x00\x01c"),                       // content type does not belong here
		[]byte(head + "\x04\x17\x01\x17\x01" + "\x00\x01c"),               // twice
		[]byte(head + "\x00\x00\x01c" + "\x02\x18\x00" + "\x00\x01w\x00"), // will delay cut off
		[]byte(head + "\x00\x00\x01c" + "\x04\x01\x01\x01\x01\x00\x01w\x00\x00"),
		[]byte(head + "\x69\x26\x00\x64" + long + "\x00\x01"),
	}
	try := func() {
		for _, b := range bodies {
			c := r.dial(packet.V5)
			c.write(raw(0x10, b))
			for p := c.read(); p != nil; p = c.read() {
				if ack, ok := p.(*packet.Connack); !ok || !ack.Reason.Failed() {
					t.Fatalf("% x was answered %+v", b, p)
				}
			}
			c.close()
		}
	}
	try()
	before, tasks := memoryNow(), runtime.NumGoroutine()
	for range 100 {
		try()
	}
	await(t, "the connections are gone", func() bool { return runtime.NumGoroutine() <= tasks+2 })
	if grown := memoryNow() - before; grown > 4<<20 {
		t.Errorf("700 bad CONNECT left %d bytes", grown)
	}
	r.unharmed()
}

func causeServerPackets(t *testing.T) {
	r := start(t, Config{})
	each(t, func(t *testing.T, v packet.Version) {
		for _, b := range []string{"\x20\x02\x00\x00", "\x20\x03\x00\x00\x00", "\x90\x03\x00\x01\x00", "\xb0\x02\x00\x01", "\xd0\x00"} {
			c, _ := r.connect(v, "x")
			c.write([]byte(b))
			c.expectClosed(packet.ProtocolError)
		}
	})
	r.unharmed()
}

func causeEmptyTopic(t *testing.T) {
	r := start(t, Config{})
	each(t, func(t *testing.T, v packet.Version) {
		for qos := range byte(3) {
			c, _ := r.connect(v, "x")
			c.send(message("", "x", qos, 1))
			if p := c.read(); p != nil {
				d, ok := p.(*packet.Disconnect)
				if !ok || d.Reason != packet.ProtocolError && d.Reason != packet.TopicNameInvalid && d.Reason != packet.MalformedPacket {
					t.Errorf("QoS %d: answered %+v", qos, p)
				}
				c.expectClosed(packet.Success)
			}
		}
	})
	r.unharmed()
}

func causeDollarTopics(t *testing.T) {
	r := start(t, Config{SysInterval: -1})
	each(t, func(t *testing.T, v packet.Version) {
		c, _ := r.connect(v, "x")
		c.subscribe(1, "#", "+/x", "$other/#", "$", "$x")
		for _, topic := range []string{"$other", "$other/x", "$", "$x", "$share/x", "$SYSTEM"} {
			c.send(message(topic, topic, 0, 0))
		}
		for _, want := range []string{"$other", "$other/x", "$", "$x"} {
			c.expectMessage(want)
		}
		c.silent() // # and + do not match what begins with $
		c.send(message("$SYS/broker/version", "mine", 1, 9))
		reason := packet.Success // 3.1.1 has no word for it
		if v == packet.V5 {
			reason = packet.NotAuthorized
		}
		c.expectAck(packet.PUBACK, 9, reason)
		c.subscribe(0, "$SYS/#")
		c.silent()
	})
	r.unharmed()
}

func causeDeepTopics(t *testing.T) {
	r := start(t, Config{})
	deep := strings.Repeat("/", 65535)
	each(t, func(t *testing.T, v packet.Version) {
		c, _ := r.connect(v, "x")
		c.send(&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: []byte(deep)}, {Topic: []byte(strings.Repeat("+/", 32767) + "#")}, {Topic: []byte("a")}}})
		ack := expect[*packet.Suback](c)
		if !ack.Reasons[0].Failed() || !ack.Reasons[1].Failed() || ack.Reasons[2] != packet.Success {
			t.Errorf("answered %v", ack.Reasons)
		}
		c.send(message(deep, "x", 0, 0), message("a", "y", 0, 0))
		c.expectMessage("y")
		c.send(&packet.Unsubscribe{PacketID: 2, Filters: [][]byte{[]byte(deep)}})
		expect[*packet.Unsuback](c)
	})
	r.unharmed()
}

func causeUserProperties(t *testing.T) {
	r := start(t, Config{})
	sub, _ := r.connect(packet.V5, "sub")
	sub.subscribe(0, "a")
	c, _ := r.connect(packet.V5, "pub")
	p := message("a", "many", 1, 1)
	user := packet.UserProperty{Key: []byte("k"), Value: []byte(strings.Repeat("v", 900))}
	for range 1024 {
		p.Properties.User = append(p.Properties.User, user)
	}
	c.send(p)
	c.expectAck(packet.PUBACK, 1, packet.Success)
	if got := sub.expectMessage("many"); len(got.Properties.User) != len(p.Properties.User) {
		t.Errorf("%d of %d properties came", len(got.Properties.User), len(p.Properties.User))
	}
	// As many as fit into a packet are too many to look at.
	p.Properties.User = make([]packet.UserProperty, 200_000)
	c.send(p)
	c.expectClosed(packet.QuotaExceeded)
	sub.silent()
	r.unharmed()
}

func causeShareWithoutFilter(t *testing.T) {
	r := start(t, Config{})
	each(t, func(t *testing.T, v packet.Version) {
		for _, f := range []string{"$share", "$share/", "$share/g", "$share//x", "$share/g/", "$share/+/x", "$share/g+/x", "$share/#/x", "$share/g/a#"} {
			c, _ := r.connect(v, "x")
			c.send(&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: []byte(f), QoS: 1}}})
			switch p := c.read().(type) {
			case nil:
			case *packet.Suback:
				if f != "$share" && !p.Reasons[0].Failed() {
					t.Errorf("%q granted: %v", f, p.Reasons[0])
				}
			case *packet.Disconnect:
			default:
				t.Errorf("%q: answered %+v", f, p)
			}
			c.close()
		}
	})
	r.unharmed()
}
