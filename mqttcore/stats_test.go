package mqttcore

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/store"
)

func TestClients(t *testing.T) {
	r := start(t, Config{MaxInflight: 2, SysInterval: -1})
	if got := r.Clients(); len(got) != 0 {
		t.Errorf("clients before the first: %+v", got)
	}
	began := time.Now()
	kept, _ := r.connect(packet.V5, "kept", keep, func(p *packet.Connect) { p.KeepAlive = 60 })
	kept.subscribe(1, "a", "b")
	pub, _ := r.connect(packet.V311, "pub")
	numbered(pub, "a", 5, 100)
	expect[*packet.Publish](kept)
	expect[*packet.Publish](kept)
	kept.silent()
	check := func(want ClientStats) {
		t.Helper()
		await(t, "what is written is accounted for", func() bool { return want.QueuedMessages > 0 || r.one(want.ID).QueuedBytes == 0 })
		got := r.one(want.ID)
		if got.Since.Before(began.Add(-time.Second)) || got.Since.After(time.Now().Add(time.Second)) {
			t.Errorf("%s: since %v", want.ID, got.Since)
		}
		if (got.BytesReceived > 0) != want.Connected || (got.BytesSent > 0) != want.Connected {
			t.Errorf("%s: %d bytes received, %d sent", want.ID, got.BytesReceived, got.BytesSent)
		}
		if got.QueuedBytes < want.QueuedMessages*100 {
			t.Errorf("%s: %d bytes in %d messages", want.ID, got.QueuedBytes, want.QueuedMessages)
		}
		got.Since, got.BytesReceived, got.BytesSent, got.QueuedBytes = want.Since, 0, 0, 0
		if got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	check(ClientStats{ID: "kept", Address: kept.nc.LocalAddr().String(), Version: "5.0", Connected: true, KeepAlive: time.Minute,
		SessionExpiry: time.Hour, Subscriptions: 2, Inflight: 2, QueuedMessages: 5, PublishSent: 2})
	check(ClientStats{ID: "pub", Address: pub.nc.LocalAddr().String(), Version: "3.1.1", Connected: true, PublishReceived: 5})
	kept.close()
	await(t, "the client is gone", func() bool { return r.Stats().Connected == 1 })
	check(ClientStats{ID: "kept", SessionExpiry: time.Hour, Subscriptions: 2, QueuedMessages: 5})
	if all := r.Clients(); len(all) != 2 || all[0].ID != "kept" || all[1].ID != "pub" {
		t.Errorf("order: %+v", all)
	}
}

// TestSys: the figures under $SYS, as a monitor subscribes to them.
func TestSys(t *testing.T) {
	r := start(t, Config{SysInterval: 20 * time.Millisecond, Version: "1.2.3"})
	kept, _ := r.connect(packet.V5, "kept", keep)
	kept.subscribe(1, "a", "$share/g/s")
	pub, _ := r.connect(packet.V311, "pub")
	numbered(pub, "a", 3, 100)
	for range 3 {
		kept.send(answer(packet.PUBACK, expect[*packet.Publish](kept).PacketID))
	}
	kept.close()
	await(t, "the client is gone", func() bool { return r.Stats().Connected == 1 })
	numbered(pub, "a", 4, 100)
	monitor, _ := r.connect(packet.V5, "monitor")
	monitor.subscribe(0, "$SYS/broker/#")
	said := map[string]string{}
	want := map[string]string{
		"version": "1.2.3", "clients/total": "3", "clients/maximum": "2", "clients/connected": "2", "clients/active": "2",
		"clients/disconnected": "1", "clients/inactive": "1", "clients/expired": "0",
		"publish/messages/received": "7", "publish/messages/dropped": "0", "publish/bytes/received": "700",
		"messages/stored": "4", "subscriptions/count": "2", "shared_subscriptions/count": "1",
		"store/messages/count": "4", "store/state": "open",
		"store/deliveries/appended": "7", "store/deliveries/delivered": "3", "store/deliveries/queued": "4", "store/deliveries/dropped": "0",
		"load/publish/dropped/15min": "0.00",
	}
	missing := func() (all []string) {
		for name, v := range want {
			if said[name] != v {
				all = append(all, fmt.Sprintf("%s is %q, not %q", name, said[name], v))
			}
		}
		return all
	}
	for late := time.Now().Add(patience); len(missing()) > 0; {
		if time.Now().After(late) {
			t.Fatal(strings.Join(missing(), "\n"))
		}
		m := expect[*packet.Publish](monitor)
		said[strings.TrimPrefix(string(m.Topic), "$SYS/broker/")] = string(m.Payload)
	}
	for _, name := range []string{"messages/received", "messages/sent", "publish/messages/sent", "publish/bytes/sent", "bytes/received",
		"bytes/sent", "retained messages/count", "store/messages/bytes", "heap/current", "heap/maximum"} {
		if n, err := strconv.ParseUint(said[name], 10, 64); err != nil || n == 0 {
			t.Errorf("%s is %q", name, said[name])
		}
	}
	for _, name := range []string{"messages/received", "messages/sent", "publish/received", "publish/sent", "publish/dropped",
		"bytes/received", "bytes/sent", "sockets", "connections"} {
		for _, p := range []string{"1min", "5min", "15min"} {
			if _, err := strconv.ParseFloat(said["load/"+name+"/"+p], 64); err != nil {
				t.Errorf("load/%s/%s is %q", name, p, said["load/"+name+"/"+p])
			}
		}
	}
	if !strings.HasSuffix(said["uptime"], " seconds") {
		t.Errorf("uptime is %q", said["uptime"])
	}
}

// TestLoads: a steady rate is what the averages come to, the short one first.
func TestLoads(t *testing.T) {
	var l loads
	now := time.Unix(0, 0)
	s := Stats{PublishReceived: 1000} // from before the first look
	for range 60 {                    // ten minutes of 600 a minute
		l.add(s, now)
		now = now.Add(10 * time.Second)
		s.PublishReceived += 100
	}
	i := 0
	for loadNames[i].name != "publish/received" {
		i++
	}
	minutes := 590.0 / 60 // between the first look and the last
	for j, p := range loadPeriods {
		want := 600 * (1 - math.Exp(-minutes*60/p.seconds))
		if got := l.rate[i][j]; math.Abs(got-want) > 0.01 {
			t.Errorf("%s: %.2f, want %.2f", p.name, got, want)
		}
	}
	l.add(s, now.Add(-10*time.Second)) // no time has passed
	if math.IsNaN(l.rate[i][0]) || math.IsInf(l.rate[i][0], 0) {
		t.Error("no time passed: ", l.rate[i])
	}
}

// TestBalance: for the durable queues all that was published is delivered,
// queued or dropped, with its reason.
func TestBalance(t *testing.T) {
	r := start(t, Config{SysInterval: -1})
	small, _ := r.connect(packet.V5, "small", keep, with(packet.PropMaximumPacketSize, 100))
	small.subscribe(1, "a")
	away, _ := r.connect(packet.V5, "away", keep)
	away.subscribe(2, "a")
	away.close()
	pub, _ := r.connect(packet.V5, "pub")
	numbered(pub, "a", 5, 20)
	numbered(pub, "a", 4, 200)
	for range 5 {
		small.send(answer(packet.PUBACK, expect[*packet.Publish](small).PacketID))
	}
	small.silent()
	balanced := func(d store.Stats) bool {
		lost := uint64(0)
		for _, n := range d.Dropped {
			lost += n
		}
		return d.Appended == d.Delivered+d.Queued+lost
	}
	await(t, "all is accounted for", func() bool {
		d := r.st.Stats()
		return d.Appended == 18 && d.Delivered == 5 && d.Queued == 9 && d.Dropped[reasonTooLarge] == 4
	})
	if d := r.st.Stats(); !balanced(d) {
		t.Errorf("%+v", d)
	}
}
