package main

import (
	"fmt"
	"net"
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

// upstreamPort is the same in every network of its own.
const upstreamPort = 1883

// TestBadNetworkLosesNothing gives the links to the upstream all that a line can
// do to them, while messages flow.
func TestBadNetworkLosesNothing(t *testing.T) {
	t.Parallel() // it mostly waits
	rounds := long(t, 1)
	outage := 4 * time.Second // longer than it takes the keep-alive to notice
	if rounds > 1 {
		outage = 30 * time.Second
	}
	w := newWire(t)
	here, above := "127.0.0.1:1884", fmt.Sprintf("%s:%d", farEnd, upstreamPort)
	broker := t.TempDir()
	m := w.far.mosquitto(t, broker, farEnd, upstreamPort)
	l := &load{t: t}
	l.receive(w.far, above, "upstream2", "qos2/load/#", packet.V311, 2)
	l.receive(w.far, above, "upstream1", "qos1/load/#", packet.V311, 2)
	s := newSite(t, relayConfig(here, above, t.TempDir(), 5))
	s.at = w.near
	s.start("--quiet")
	l.publish(w.near, here, packet.V5, 2)
	l.publish(w.near, here, packet.V311, 1)
	l.arrive(1000)

	connects := 0
	phase := func(name string, bad weather, lasts func()) {
		t.Helper()
		w.set(bad)
		began := time.Now()
		lasts()
		w.set(weather{})
		ended := time.Now()
		l.arrive(1)
		n := w.asked()
		connects += n
		t.Logf("%s: %v, %d connects, messages again after %v", name, ended.Sub(began).Round(time.Millisecond), n, time.Since(ended).Round(time.Millisecond))
	}
	for range rounds {
		phase("10 % loss", weather{loss: 0.1, delay: 5 * time.Millisecond}, func() { l.arrive(200) })
		phase("600 ms there and back", weather{delay: 300 * time.Millisecond}, func() { l.arrive(60) })
		phase("silence", weather{silent: true}, func() { <-time.After(outage) })
		for range 5 {
			phase("short silence", weather{silent: true}, func() { <-time.After(300 * time.Millisecond) })
			l.arrive(200)
			phase("resets", weather{reset: true}, func() { <-time.After(200 * time.Millisecond) })
			l.arrive(200)
		}
		phase("upstream restarted", weather{}, func() {
			if code := m.terminate(10 * time.Second); code != 0 {
				t.Fatalf("mosquitto stopped with %d", code)
			}
			<-time.After(outage / 2)
			m = w.far.mosquitto(t, broker, farEnd, upstreamPort)
		})
		phase("upstream accepts and drops", weather{}, func() {
			if code := m.terminate(10 * time.Second); code != 0 {
				t.Fatalf("mosquitto stopped with %d", code)
			}
			w.asked()
			w.far.acceptAndDrop(t, above, outage)
			if n := w.asked(); n == 0 || n > 10*int(outage/time.Second) {
				t.Errorf("%d connects in %v to a server that drops them", n, outage)
			} else {
				t.Logf("%d connects in %v to a server that drops them", n, outage)
			}
			m = w.far.mosquitto(t, broker, farEnd, upstreamPort)
		})
	}
	l.settle()
	connects += w.asked()
	l.judge(func(_ *publisher, r *receiver) bool { return r.id == "upstream2" })
	for _, r := range l.receivers {
		twice := 0
		for _, n := range r.again {
			twice += n
		}
		if twice > connects*window {
			t.Errorf("%s: %d messages came twice over %d connects", r.id, twice, connects)
		}
	}
}

// window is how many messages the links have in flight: mosquitto's Receive
// Maximum without the place of the birth message.
const window = 99

// arrive waits until n more of each publisher's messages are with each receiver.
func (l *load) arrive(n int) {
	l.t.Helper()
	for _, p := range l.publishers {
		for _, r := range l.receivers {
			want := r.newest(p.id) + n
			l.await(fmt.Sprintf("%d more messages", n), func() bool { return r.newest(p.id) >= want })
		}
	}
}

// acceptAndDrop is a server in the place that drops each connection, some
// before and some after it has let the client in.
func (p *place) acceptAndDrop(t testing.TB, addr string, lasts time.Duration) {
	t.Helper()
	var server net.Listener
	err := p.do(func() (err error) {
		server, err = net.Listen("tcp", addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	end := time.AfterFunc(lasts, func() { server.Close() })
	defer end.Stop()
	for n := 0; ; n++ {
		raw, err := server.Accept()
		if err != nil {
			return
		}
		if n%2 == 1 {
			c := &connection{Conn: raw, v: packet.V5}
			c.send(&packet.Connack{SessionPresent: true})
			c.flush()
		}
		raw.Close()
	}
}
