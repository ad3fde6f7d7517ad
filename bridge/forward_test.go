package bridge

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"sluice/mqttcore"
)

// settledAll waits until the queue of the link is empty.
func settledAll(t testing.TB, g *gateway) {
	t.Helper()
	eventually(t, "the queue is empty", func() bool { return g.link.Stats().Backlog == 0 })
}

func TestForwardsInOrder(t *testing.T) {
	inEachVersion(t, func(t *testing.T, version int) {
		for _, qos := range []byte{1, 2} {
			t.Run(fmt.Sprintf("qos %d", qos), func(t *testing.T) {
				up := newUpstream(t, "").start()
				w := newWitness(t, up.addr, "site7/#", qos)
				g := startGateway(t, t.TempDir(), linkIn(version, up.addr, qos))
				g.publish(t, "home/meter/v", qos, 1, 2000)
				settledAll(t, g)
				eventually(t, "the witness has all", func() bool { return w.tally(2000).lost == 0 })
				if got := w.tally(2000); got != (tally{}) {
					t.Errorf("without any cut: %+v", got)
				}
				if s := g.link.Stats(); s.Forwarded != 2000 || s.Resent != 0 || s.DeadLettered != 0 || s.Connects != 1 {
					t.Errorf("figures: %+v", s)
				}
			})
		}
	})
}

// TestNothingIsLostWhileTheUpstreamIsAway publishes before the upstream
// exists, through its restart, and through a restart of the gateway.
func TestNothingIsLostWhileTheUpstreamIsAway(t *testing.T) {
	inEachVersion(t, func(t *testing.T, version int) {
		for _, qos := range []byte{1, 2} {
			t.Run(fmt.Sprintf("qos %d", qos), func(t *testing.T) {
				up := newUpstream(t, "").start()
				w := newWitness(t, up.addr, "site7/#", qos)
				up.stop(syscall.SIGTERM)

				dir := t.TempDir()
				g := startGateway(t, dir, linkIn(version, up.addr, qos))
				g.publish(t, "home/meter/v", qos, 1, 300)
				up.start()
				eventually(t, "some have arrived", func() bool { return g.link.Stats().Forwarded > 50 })
				g.publish(t, "home/meter/v", qos, 301, 600)
				up.stop(syscall.SIGTERM)
				g.publish(t, "home/meter/v", qos, 601, 900)
				g.halt()
				g = startGateway(t, dir, linkIn(version, up.addr, qos))
				g.publish(t, "home/meter/v", qos, 901, 1200)
				up.start()
				settledAll(t, g)
				eventually(t, "the witness has all", func() bool { return w.tally(1200).lost == 0 })
				if got := w.tally(1200); got.disorder != 0 || qos == 2 && got.twice != 0 || got.twice > 2*DefaultWindow {
					t.Errorf("after two restarts: %+v", got)
				}
			})
		}
	})
}

// TestCutsLoseNothing cuts the line after bytes drawn by lot, up or down, from
// within the handshake to thousands later, while messages flow.
func TestCutsLoseNothing(t *testing.T) {
	inEachVersion(t, func(t *testing.T, version int) {
		for _, qos := range []byte{1, 2} {
			t.Run(fmt.Sprintf("qos %d", qos), func(t *testing.T) {
				const n, window = 3000, 20
				up := newUpstream(t, "max_inflight_messages 0").start()
				w := newWitness(t, up.addr, "site7/#", qos)
				line := newProxy(t, up.addr)
				lot := rand.New(rand.NewPCG(1, uint64(qos)))
				line.limit(func() (int, int) {
					if lot.IntN(2) == 0 {
						return 1 + lot.IntN(4000), -1
					}
					return -1, 1 + lot.IntN(700)
				})
				cfg := linkIn(version, line.addr(), qos)
				cfg.Window = window
				g := startGateway(t, t.TempDir(), cfg, func(l *Link) {
					l.backoff.every = 0
					l.backoff.random = func(d time.Duration) time.Duration { return 0 } // the cuts are the test, not the waits
				})
				g.publish(t, "home/meter/v", qos, 1, n)
				eventually(t, "thirty cuts", func() bool { return line.seen() >= 30 || g.link.Stats().Backlog == 0 })
				line.limit(nil)
				settledAll(t, g)
				eventually(t, "the witness has all", func() bool { return w.tally(n).lost == 0 })
				got, s := w.tally(n), g.link.Stats()
				t.Logf("%d cuts, %d resent: %+v", line.seen(), s.Resent, got)
				if line.seen() < 20 {
					t.Errorf("only %d cuts were made", line.seen())
				}
				if got.disorder != 0 || qos == 2 && got.twice != 0 || got.twice > window*line.seen() {
					t.Errorf("after %d cuts: %+v", line.seen(), got)
				}
				if s.DeadLettered != 0 {
					t.Errorf("cuts made the link give up %d messages: %s", s.DeadLettered, s.LastDeadLetter)
				}
			})
		}
	})
}

// TestRewrite: what is sent is what Rewrite has made of the message.
func TestRewrite(t *testing.T) {
	inEachVersion(t, func(t *testing.T, version int) {
		up := newUpstream(t, "").start()
		w := newWitness(t, up.addr, "site7/#", 1)
		cfg := linkIn(version, up.addr, 1)
		cfg.Rewrite = func(d *mqttcore.Delivery) {
			if string(d.Payload) == "guess" {
				d.Payload, d.Props = []byte("known"), nil
			}
		}
		g := startGateway(t, t.TempDir(), cfg)
		for _, payload := range []string{"guess", "other"} {
			m := message("home/meter", payload, 1)
			m.Properties.User = []mqttcore.UserProperty{{Key: "k", Value: "v"}}
			if err := g.broker.Publish(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "both are upstream", func() bool { return len(w.messages()) == 2 })
		for i, want := range []string{"known", "other"} {
			got := w.messages()[i]
			if user := len(got.Properties.User); string(got.Payload) != want || user != 0 && (i == 0 || version == 3) {
				t.Errorf("%s with %d user properties, want %s", got.Payload, user, want)
			}
		}
	})
}
