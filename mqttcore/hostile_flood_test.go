package mqttcore

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

// TestFloods: a client that sends as fast as it can, what costs the broker
// most for its bytes, is served at its own expense.
func TestFloods(t *testing.T) {
	t.Parallel()
	ping := bytes.Repeat([]byte{0xc0, 0}, 200_000)
	var tiny, same, distinct, deep []byte
	for i := range 50_000 {
		tiny = message("a", "", 0, 0).Append(tiny, packet.V311)
		if i%50 == 0 {
			same = (&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: []byte("same")}}}).Append(same, packet.V311)
		}
	}
	for i := range 6 {
		s := &packet.Subscribe{PacketID: 1}
		for n := range 4_000 {
			s.Filters = append(s.Filters, packet.Filter{Topic: fmt.Appendf(nil, "f/%d/%d", i, n)})
		}
		distinct = s.Append(distinct, packet.V311)
	}
	for i := range 200 {
		// Each level is in two filters, so that every publish below finds all.
		f := strings.Repeat("+/", i%40) + "x/" + strings.Repeat("+/", 20) + "#"
		deep = (&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: []byte(f)}}}).Append(deep, packet.V311)
	}
	for range 2000 {
		deep = message(strings.Repeat("x/", 63)+"x", "", 0, 0).Append(deep, packet.V311)
	}
	for _, k := range []struct {
		name  string
		bytes []byte
	}{{"pings", ping}, {"tiny publishes", tiny}, {"the same filter", same}, {"distinct filters", distinct}, {"deep wildcards", deep}} {
		t.Run(k.name, func(t *testing.T) {
			r := start(t, Config{MaxQueuedBytes: 1 << 20})
			others := steady(r)
			c, _ := r.connect(packet.V311, "flood")
			done := make(chan error, 1)
			go func() { // it reads, but not as its first wish
				_, err := io.Copy(io.Discard, c.nc)
				done <- err
			}()
			_ = c.nc.SetDeadline(time.Now().Add(patience))
			if _, err := c.nc.Write(k.bytes); err != nil {
				t.Fatal(err)
			}
			others.flows(1)
			if _, err := c.nc.Write([]byte{0xe0, 0}); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Error("the flood is not served to its end: ", err)
			}
			others.finish()
			await(t, "it is gone", func() bool { return r.Stats().Sessions == 2 })
			if s := r.Stats(); s.Subscriptions != 1 {
				t.Errorf("%d subscriptions left", s.Subscriptions)
			}
			if r.filterBytes != filterSize("steady") {
				t.Errorf("%d bytes of filters are counted", r.filterBytes)
			}
			r.idle()
		})
	}
}

// TestDeafFlood: one that floods and reads nothing is not read any more long
// before its answers fill the memory, and the others do not notice.
func TestDeafFlood(t *testing.T) {
	t.Parallel()
	r := start(t, Config{MaxQueuedBytes: 256 << 10, WriteTimeout: time.Second})
	others := steady(r)
	c, _ := r.connect(packet.V5, "deaf")
	pings := bytes.Repeat([]byte{0xc0, 0}, 64<<10)
	for {
		_ = c.nc.SetWriteDeadline(time.Now().Add(patience))
		if _, err := c.nc.Write(pings); err != nil {
			break
		}
		if used := r.memory.used.Load(); used > 1<<20 {
			t.Fatalf("%d bytes are held for it", used)
		}
		others.flows(1)
	}
	others.finish()
	r.idle()
}

// TestManyUserProperties: a message of a megabyte of user properties reaches
// who subscribed, and nothing of it stays. One with more of them than anybody
// needs costs its sender the connection.
func TestManyUserProperties(t *testing.T) {
	t.Parallel()
	r := start(t, Config{})
	others := steady(r)
	c, _ := r.connect(packet.V5, "c")
	c.subscribe(1, "props")
	text := bytes.Repeat([]byte("v"), 450)
	for _, qos := range []byte{0, 1} {
		p := message("props", "", qos, 1)
		for range packet.MaxUserProperties {
			p.Properties.User = append(p.Properties.User, packet.UserProperty{Key: text, Value: text})
		}
		c.send(p)
		in := expect[*packet.Publish](c)
		if n := len(in.Properties.User); n != packet.MaxUserProperties {
			t.Errorf("%d user properties", n)
		}
		if qos == 1 {
			c.send(answer(packet.PUBACK, in.PacketID))
			c.expectAck(packet.PUBACK, 1, packet.Success)
			p.Properties.User = append(p.Properties.User, packet.UserProperty{})
			c.send(p)
			c.expectClosed(packet.QuotaExceeded)
		}
		others.flows(1)
	}
	rt := r.takeRouter()
	if n := cap(rt.pub.Properties.User); n > 100 {
		t.Errorf("room for %d user properties is kept", n)
	}
	r.giveRouter(rt)
	others.finish()
	r.idle()
}

// TestSubscriptionMemory: subscriptions of all clients together are bounded,
// whatever their filters look like, and given back.
func TestSubscriptionMemory(t *testing.T) {
	r := start(t, Config{MaxSubscriptionBytes: 1 << 20, MaxSessions: 6, MaxPacketSize: 4 << 20})
	long := strings.Repeat("x", 10_000)
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		refused := 0
		var all []*client
		for n := range 5 {
			c, _ := r.connect(v, fmt.Sprint("c", n))
			s := &packet.Subscribe{PacketID: 1}
			for i := range 100 {
				s.Filters = append(s.Filters, packet.Filter{Topic: fmt.Appendf(nil, "%d/%d/%s", n, i, long)})
			}
			c.send(s)
			for _, reason := range expect[*packet.Suback](c).Reasons {
				if reason.Failed() {
					refused++
				}
			}
			all = append(all, c)
		}
		if granted := r.Stats().Subscriptions; granted < 20 || granted > 55 || granted+refused != 500 {
			t.Errorf("%d granted, %d refused", granted, refused)
		}
		c, _ := r.connect(v, "sixth")
		over := r.dial(packet.V5)
		over.send(&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "seventh"})
		if ack := expect[*packet.Connack](over); ack.Reason != packet.QuotaExceeded {
			t.Errorf("one session too many: %v", ack.Reason)
		}
		for _, c := range append(all, c) {
			c.close()
		}
		await(t, "all are gone", func() bool { return r.Stats().Sessions == 0 })
		if r.filterBytes != 0 || r.tree.Levels() != 0 {
			t.Errorf("%d bytes and %d levels are counted", r.filterBytes, r.tree.Levels())
		}
	}
}

// TestAliasMemory: topic aliases count, too.
func TestAliasMemory(t *testing.T) {
	r := start(t, Config{MaxQueuedTotal: 100 << 10, MaxTopicLevels: 65536})
	c, _ := r.connect(packet.V5, "c")
	for i := range 2 * aliasMaximum {
		p := message(strings.Repeat("x", 3000), "", 0, 0)
		p.Properties.SetUint(packet.PropTopicAlias, uint32(1+i%aliasMaximum))
		c.send(p)
	}
	c.silent()
	if used := r.memory.used.Load(); used != aliasMaximum*3000 {
		t.Errorf("%d bytes are counted", used)
	}
	p := message(strings.Repeat("x", 60_000), "", 0, 0)
	p.Properties.SetUint(packet.PropTopicAlias, 1)
	c.send(p)
	c.expectClosed(packet.QuotaExceeded)
	r.idle()
}
