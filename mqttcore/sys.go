package mqttcore

import (
	"context"
	"strconv"
	"time"
)

// tell publishes the broker's figures under $SYS/broker, by the names that
// Mosquitto gave them, until ctx ends. They are retained in memory, so that
// whoever subscribes need not wait for the next round.
func (b *Broker) tell(ctx context.Context) {
	tick := time.NewTicker(b.cfg.SysInterval)
	defer tick.Stop()
	for {
		b.tellOnce()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (b *Broker) tellOnce() {
	s := b.Stats()
	d := b.st.Stats()
	text := func(name, value string) {
		b.say(&publication{topic: []byte("$SYS/broker/" + name), payload: []byte(value), retain: true, live: true})
	}
	figure := func(name string, n uint64) { text(name, strconv.FormatUint(n, 10)) }
	if b.cfg.Version != "" {
		text("version", b.cfg.Version)
	}
	text("uptime", strconv.Itoa(int(s.Uptime/time.Second))+" seconds")
	figure("clients/connected", uint64(s.Connected))
	figure("clients/active", uint64(s.Connected))
	figure("clients/disconnected", uint64(s.Sessions-s.Connected))
	figure("clients/inactive", uint64(s.Sessions-s.Connected))
	figure("clients/total", uint64(s.Sessions))
	figure("messages/received", s.MessagesReceived)
	figure("messages/sent", s.MessagesSent)
	figure("publish/messages/received", s.PublishReceived)
	figure("publish/messages/sent", s.PublishSent)
	figure("publish/messages/dropped", s.Dropped)
	figure("bytes/received", s.BytesReceived)
	figure("bytes/sent", s.BytesSent)
	figure("subscriptions/count", uint64(s.Subscriptions))
	figure("retained messages/count", uint64(s.Retained))
	figure("store/messages/count", d.Queued)
	figure("store/messages/bytes", uint64(max(d.Bytes, 0)))
	text("store/state", d.State)
}
