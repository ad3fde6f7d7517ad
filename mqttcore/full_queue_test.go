package mqttcore

import (
	"errors"
	"strings"
	"testing"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/store"
)

// TestFullQueueRefuses lets the queue of a client that is away run full. Who
// publishes is refused, by whatever way, until there is room; and again after a
// restart.
func TestFullQueueRefuses(t *testing.T) {
	t.Parallel()
	r := start(t, Config{SessionQueue: Limit{MaxBytes: 1000, WhenFull: Reject}})
	sub, _ := r.connect(packet.V5, "sub", keep)
	sub.subscribe(2, "q")
	sub.close()
	pub, _ := r.connect(packet.V5, "pub", keep)
	body := strings.Repeat("x", 99)
	const room = 10
	for pid := uint16(1); pid <= room; pid++ {
		pub.send(message("q", body, 1, pid))
		pub.expectAck(packet.PUBACK, pid, packet.Success)
	}
	refused := func() {
		t.Helper()
		pub.send(message("q", body, 1, 100))
		pub.expectAck(packet.PUBACK, 100, packet.QuotaExceeded)
		pub.send(message("q", body, 2, 101))
		pub.expectAck(packet.PUBREC, 101, packet.QuotaExceeded)
		old, _ := r.connect(packet.V311, "old")
		old.send(message("q", body, 1, 1))
		old.expectClosed(0)
		err := r.Publish(t.Context(), Message{Topic: "q", Payload: []byte(body), QoS: 1})
		if !errors.Is(err, store.ErrQuota) {
			t.Errorf("published from inside: %v", err)
		}
	}
	refused()
	r.restart()
	pub, _ = r.connect(packet.V5, "pub", keep)
	refused()

	sub, _ = r.connect(packet.V5, "sub", keep)
	for range room {
		sub.send(answer(packet.PUBACK, sub.expectMessage(body).PacketID))
	}
	sub.silent()
	pub.send(message("q", body, 1, 103))
	pub.expectAck(packet.PUBACK, 103, packet.Success)
	sub.expectMessage(body)
	d := r.st.Stats()
	if d.Appended != room+1 || d.Rejected == 0 {
		t.Errorf("appended %d, rejected %d", d.Appended, d.Rejected)
	}
}
