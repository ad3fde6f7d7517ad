package mqttcore

import (
	"context"
	"fmt"
	"runtime/metrics"
	"strconv"
	"time"

	"sluice/mqttcore/store"
)

// teller publishes the broker's figures under $SYS/broker, by the names that
// Mosquitto gave them. They are retained in memory, so that whoever subscribes
// need not wait for the next round, and published when they change.
type teller struct {
	b       *Broker
	said    map[string]string
	loads   loads
	heap    []metrics.Sample
	maximum uint64 // of the heap
}

// tell publishes until ctx ends.
func (b *Broker) tell(ctx context.Context) {
	t := &teller{b: b, said: map[string]string{}, heap: []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}}
	tick := time.NewTicker(b.cfg.SysInterval)
	defer tick.Stop()
	for {
		t.round(b.Stats(), b.st.Stats(), time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (t *teller) text(name, value string) {
	if t.said[name] == value {
		return
	}
	t.said[name] = value
	t.b.say(&publication{topic: []byte("$SYS/broker/" + name), payload: []byte(value), retain: true, live: true})
}

func (t *teller) figure(name string, n uint64) { t.text(name, strconv.FormatUint(n, 10)) }

func (t *teller) round(s Stats, d store.Stats, now time.Time) {
	if v := t.b.cfg.Version; v != "" {
		t.text("version", v)
	}
	t.text("uptime", strconv.Itoa(int(s.Uptime/time.Second))+" seconds")
	t.figure("clients/total", uint64(s.Sessions))
	t.figure("clients/maximum", uint64(s.MostConnected))
	t.figure("clients/connected", uint64(s.Connected))
	t.figure("clients/active", uint64(s.Connected))
	t.figure("clients/disconnected", uint64(max(s.Sessions-s.Connected, 0)))
	t.figure("clients/inactive", uint64(max(s.Sessions-s.Connected, 0)))
	t.figure("clients/expired", s.SessionsExpired)
	t.figure("messages/received", s.MessagesReceived)
	t.figure("messages/sent", s.MessagesSent)
	t.figure("messages/stored", d.Queued)
	t.figure("publish/messages/received", s.PublishReceived)
	t.figure("publish/messages/sent", s.PublishSent)
	t.figure("publish/messages/dropped", s.Dropped)
	t.figure("publish/bytes/received", s.PayloadReceived)
	t.figure("publish/bytes/sent", s.PayloadSent)
	t.figure("bytes/received", s.BytesReceived)
	t.figure("bytes/sent", s.BytesSent)
	t.figure("subscriptions/count", uint64(s.Subscriptions))
	t.figure("shared_subscriptions/count", uint64(s.Shared))
	t.figure("retained messages/count", uint64(s.Retained))
	t.figure("store/messages/count", d.Queued)
	t.figure("store/messages/bytes", uint64(max(d.Bytes, 0)))
	state := d.State
	if d.Err != nil {
		state += ": " + d.Err.Error()
	}
	t.text("store/state", state)
	t.deliveries(d)
	metrics.Read(t.heap)
	if t.heap[0].Value.Kind() == metrics.KindUint64 {
		n := t.heap[0].Value.Uint64()
		t.maximum = max(t.maximum, n)
		t.figure("heap/current", n)
		t.figure("heap/maximum", t.maximum)
	}
	t.loads.add(s, now)
	for i, l := range loadNames {
		for j, p := range loadPeriods {
			t.text("load/"+l.name+"/"+p.name, fmt.Sprintf("%.2f", t.loads.rate[i][j]))
		}
	}
}

// deliveries tells of the durable queues what Mosquitto has no name for:
// appended = delivered + queued + dropped, over all starts of the broker, and
// what was dropped by reason. What was rejected was not appended.
func (t *teller) deliveries(d store.Stats) {
	var lost uint64
	for _, n := range d.Dropped {
		lost += n
	}
	t.figure("store/deliveries/appended", d.Appended)
	t.figure("store/deliveries/delivered", d.Delivered)
	t.figure("store/deliveries/queued", d.Queued)
	t.figure("store/deliveries/dropped", lost)
	for reason, n := range d.Dropped {
		t.figure("store/deliveries/dropped/"+string(reason), n)
	}
	t.figure("store/deliveries/rejected", d.Rejected)
}
