package mqttcore

import (
	"testing"
)

// TestInboxOutlivesARestart: an identifier is remembered with its message, also
// where nobody subscribed, until it is released or cleared.
func TestInboxOutlivesARestart(t *testing.T) {
	r := start(t, Config{})
	open := func() *Consumer {
		k, err := r.Broker.Consumer(t.Context(), "link", nil)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	k := open()
	for id := uint16(1); id <= 3; id++ {
		m := Message{Topic: "nobody/here", QoS: 2, Inbox: k.Inbox(), PacketID: id}
		if err := r.Broker.Publish(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Broker.Publish(t.Context(), Message{Topic: "a", QoS: 1, Inbox: k.Inbox(), PacketID: 9}); err != nil {
		t.Fatal(err)
	}
	released := make(chan bool, 2)
	for _, id := range []uint16{2, 9} {
		k.Inbox().Release(id, func(known bool, err error) {
			if err != nil {
				t.Error(err)
			}
			released <- known
		})
	}
	if a, b := <-released, <-released; a == b {
		t.Error("one of the two releases was of a message that is there")
	}
	disk := make(chan error, 1)
	k.SetNote("with whom", func(err error) { disk <- err })
	if err := <-disk; err != nil {
		t.Fatal(err)
	}
	k.Close()

	r.restart()
	k = open()
	for id, want := range map[uint16]bool{1: true, 2: false, 3: true, 9: false} {
		if got := k.Inbox().Has(id); got != want {
			t.Errorf("after a restart Has(%d) = %v", id, got)
		}
	}
	if got := k.Note(); got != "with whom" {
		t.Errorf("after a restart the note is %q", got)
	}
	k.Inbox().Clear(func(err error) { disk <- err })
	if err := <-disk; err != nil {
		t.Fatal(err)
	}
	k.Close()

	r.restart()
	k = open()
	defer k.Close()
	if k.Inbox().Has(1) || k.Inbox().Has(3) {
		t.Error("what was cleared is remembered after a restart")
	}
}
