package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/google/go-cmp/cmp"
)

// TestAcceptedAndDroppedIsBounded: a server that takes us in and throws us
// out is not hammered, and is found again within the longest wait.
func TestAcceptedAndDroppedIsBounded(t *testing.T) {
	inEachVersion(t, func(t *testing.T, version int) {
		for name, after := range map[string]func(reply func(packets.Packet)) bool{
			"without a word": func(func(packets.Packet)) bool { return false },
			"server busy": func(reply func(packets.Packet)) bool {
				reply(&packets.Disconnect{ReasonCode: reasonServerBusy, Properties: &packets.Properties{}})
				return false
			},
		} {
			t.Run(name, func(t *testing.T) {
				s := &script{version: version, after: after}
				underScript(t, s, scripted(1), func(t *testing.T, g *gateway) {
					g.publish(t, "home/x", 1, 1, 10)
					time.Sleep(30 * time.Minute)
					if n := s.count(); n < 20 || n > 120 {
						t.Errorf("%d connections in half an hour, want one in about 30s", n)
					}
					s.set(func() { s.after = nil })
					time.Sleep(backoffMax + time.Second)
					if st := g.link.Stats(); !st.Connected || st.Forwarded != 10 || st.DeadLettered != 0 {
						t.Errorf("after the server has recovered: %+v", st)
					}
				})
			})
		}
	})
}

// TestBackWithinASecond: an upstream that nobody could reach for an hour is
// used again a second after it is back, whatever was before.
func TestBackWithinASecond(t *testing.T) {
	inEachVersion(t, func(t *testing.T, version int) {
		s := &script{version: version}
		underScript(t, s, scripted(1), func(t *testing.T, g *gateway) {
			time.Sleep(time.Second)
			if !g.link.Stats().Connected {
				t.Fatal("not connected to begin with")
			}
			s.set(func() { s.away, s.after = true, func(func(packets.Packet)) bool { return false } })
			g.publish(t, "home/x", 1, 1, 3)
			time.Sleep(time.Minute)
			s.set(func() { s.publish = func(*packets.Publish, func(packets.Packet)) bool { return false } })
			g.publish(t, "home/x", 1, 4, 5) // ends the first connection
			time.Sleep(time.Hour)
			s.set(func() { s.away, s.after, s.publish = false, nil, nil })
			time.Sleep(refusedMax + 10*time.Millisecond)
			if st := g.link.Stats(); !st.Connected || st.Backlog != 0 {
				t.Errorf("a second after the upstream is back: %+v", st)
			}
		})
	})
}

func TestQuotaIsWaitedFor(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		refusals := 3
		s := &script{}
		s.publish = func(p *packets.Publish, reply func(packets.Packet)) bool {
			if string(p.Payload) == "000002" && refusals > 0 {
				refusals--
				acknowledge(p, reasonQuota, reply)
			} else {
				acknowledge(p, 0, reply)
			}
			return true
		}
		cfg := scripted(qos)
		cfg.Window = 2
		underScript(t, s, cfg, func(t *testing.T, g *gateway) {
			g.publish(t, "home/x", qos, 1, 6)
			time.Sleep(time.Minute)
			if st := g.link.Stats(); st.Backlog != 0 || st.Retried != 3 || st.DeadLettered != 0 || st.Connects != 1 {
				t.Errorf("qos %d: %+v", qos, st)
			}
			got := s.payloads()
			if n := len(got); n != 9 {
				t.Errorf("qos %d: %d were sent for six and three refusals: %v", qos, n, got)
			}
			// What was in flight with it has passed it; nothing else has.
			slices.Reverse(got)
			if again := slices.Index(got, "000002"); again < 3 || !cmp.Equal(got[:3], []string{"000006", "000005", "000004"}) {
				t.Errorf("qos %d: sent in reverse %v", qos, got)
			}
		})
	}
}

func TestRefusedForGoodIsGivenUp(t *testing.T) {
	s := &script{}
	s.publish = func(p *packets.Publish, reply func(packets.Packet)) bool {
		switch string(p.Payload) {
		case "000002":
			acknowledge(p, reasonNotAuthorized, reply)
		case "000004":
			acknowledge(p, reasonImplementation, reply) // each time
		default:
			acknowledge(p, 0, reply)
		}
		return true
	}
	underScript(t, s, scripted(1), func(t *testing.T, g *gateway) {
		g.publish(t, "home/x", 1, 1, 6)
		time.Sleep(10 * time.Minute)
		st := g.link.Stats()
		if st.Backlog != 0 || st.DeadLettered != 2 || st.Forwarded != 4 || st.Retried != maxTries-1 || st.Connects != 1 {
			t.Errorf("figures: %+v", st)
		}
		if want := "home/x: refused by the upstream: implementation specific error (0x83)"; st.LastDeadLetter != want {
			t.Errorf("the last dead letter reads %q, want %q", st.LastDeadLetter, want)
		}
	})
}

// TestPoisonDoesNotLoop: a message that ends every connection is given up,
// and nothing else is.
func TestPoisonDoesNotLoop(t *testing.T) {
	inEachVersion(t, func(t *testing.T, version int) {
		for _, c := range []struct {
			name  string
			end   func(reply func(packets.Packet))
			loops int
		}{
			{"told", func(reply func(packets.Packet)) {
				reply(&packets.Disconnect{ReasonCode: reasonMalformed, Properties: &packets.Properties{}})
			}, strikesTold},
			{"without a word", func(func(packets.Packet)) {}, strikesBare},
		} {
			if version == 3 && c.name == "told" {
				continue // there is no DISCONNECT from a server
			}
			t.Run(c.name, func(t *testing.T) {
				s := &script{version: version, keep: true}
				s.publish = func(p *packets.Publish, reply func(packets.Packet)) bool {
					if string(p.Payload) == "000007" {
						c.end(reply)
						return false
					}
					acknowledge(p, 0, reply)
					return true
				}
				underScript(t, s, scripted(1), func(t *testing.T, g *gateway) {
					g.publish(t, "home/x", 1, 1, 20)
					time.Sleep(20 * time.Minute)
					st := g.link.Stats()
					if st.Backlog != 0 || st.DeadLettered != 1 || st.Forwarded != 19 {
						t.Errorf("figures: %+v", st)
					}
					// One more for the connection on which others went through,
					// and one after.
					if st.Connects > uint64(c.loops)+2 {
						t.Errorf("it took %d connections", st.Connects)
					}
				})
			})
		}
	})
}

// TestSessionWithoutRoomIsDiscarded: a session of the upstream that is full of
// messages we have forgotten stops the link for a while and costs no message.
func TestSessionWithoutRoomIsDiscarded(t *testing.T) {
	s := &script{keep: true}
	s.after = func(func(packets.Packet)) bool {
		s.set(func() { s.keep = s.keep && !s.connect.CleanStart })
		return true
	}
	s.publish = func(p *packets.Publish, reply func(packets.Packet)) bool {
		s.mu.Lock()
		full := s.keep
		s.mu.Unlock()
		switch {
		case full && s.count() == 1:
			acknowledge(p, 0, reply)
			return string(p.Payload) != "000005"
		case full && string(p.Payload) == "online":
			acknowledge(p, reasonQuota, reply)
			return true
		case full:
			return false
		}
		acknowledge(p, 0, reply)
		return true
	}
	cfg := scripted(2)
	cfg.Availability = "home/availability"
	underScript(t, s, cfg, func(t *testing.T, g *gateway) {
		g.publish(t, "home/x", 2, 1, 20)
		time.Sleep(5 * time.Minute)
		st := g.link.Stats()
		if st.Backlog != 0 || st.DeadLettered != 0 || !st.Connected {
			t.Errorf("figures: %+v", st)
		}
		if n := s.count(); n > 2+jamsMost+2 {
			t.Errorf("it took %d connections", n)
		}
	})
}

func TestServerLimitsAreKept(t *testing.T) {
	s := &script{connack: packets.Connack{Properties: &packets.Properties{
		MaximumQOS: new(byte(1)), RetainAvailable: new(byte(0)), ReceiveMaximum: new(uint16(4)), // three, and the birth
		MaximumPacketSize: new(uint32(200)), ServerKeepAlive: new(uint16(0)),
	}}}
	var held []*packets.Publish
	most := 0
	s.publish = func(p *packets.Publish, reply func(packets.Packet)) bool {
		held = append(held, p)
		most = max(most, len(held))
		if len(held) == 3 || string(p.Payload) == "last" {
			for _, p := range held {
				acknowledge(p, 0, reply)
			}
			held = nil
		}
		return true
	}
	underScript(t, s, scripted(2), func(t *testing.T, g *gateway) {
		ctx := t.Context()
		g.publish(t, "home/x", 2, 1, 9)
		for _, m := range []string{string(make([]byte, 200)), "last"} {
			if err := g.broker.Publish(ctx, message("home/x", m, 2)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		st := g.link.Stats()
		if st.Backlog != 0 || st.DeadLettered != 1 || st.Forwarded != 10 || st.Window != 3 || most != 3 {
			t.Errorf("%d in flight at once: %+v", most, st)
		}
		for _, p := range s.sent() {
			if p.QoS != 1 || p.Retain {
				t.Errorf("sent at QoS %d, retain %v", p.QoS, p.Retain)
			}
		}
		// A server that asks for no keep alive is still watched.
		s.set(func() { s.mute = true })
		time.Sleep(time.Minute)
		if st := g.link.Stats(); st.Connects < 2 {
			t.Errorf("a server that went silent was not noticed within a minute: %+v", st)
		}
	})
}

// TestNoAnswerEndsTheConnection: what is never acknowledged is sent again on
// a new connection, under the same packet identifier and with DUP.
func TestNoAnswerEndsTheConnection(t *testing.T) {
	inEachVersion(t, func(t *testing.T, version int) {
		s := &script{version: version, keep: true}
		s.publish = func(p *packets.Publish, reply func(packets.Packet)) bool {
			if s.count() > 1 {
				acknowledge(p, 0, reply)
			}
			return true
		}
		underScript(t, s, scripted(1), func(t *testing.T, g *gateway) {
			g.publish(t, "home/x", 1, 1, 2)
			time.Sleep(g.link.answerTimeout() + 5*time.Second)
			if st := g.link.Stats(); st.Backlog != 0 || st.Connects != 2 || st.Resent != 2 {
				t.Errorf("figures: %+v", st)
			}
			type sight struct {
				id  uint16
				dup bool
			}
			var got []sight
			for _, p := range s.sent() {
				got = append(got, sight{p.PacketID, p.Duplicate})
			}
			if diff := cmp.Diff([]sight{{1, false}, {2, false}, {1, true}, {2, true}}, got, cmp.AllowUnexported(sight{})); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
		})
	})
}

// TestReleasedIsNotSentAgain cuts a QoS 2 exchange after PUBREL.
func TestReleasedIsNotSentAgain(t *testing.T) {
	inEachVersion(t, func(t *testing.T, version int) {
		for _, kept := range []bool{true, false} {
			t.Run(fmt.Sprintf("session kept %v", kept), func(t *testing.T) {
				s := &script{version: version, keep: kept}
				cut := &cutAtPubrel{script: s}
				cfg := scripted(2)
				cfg.Version = version
				synctest.Test(t, func(t *testing.T) {
					g := startGateway(t, t.TempDir(), cfg, func(l *Link) { l.dial = cut.dial })
					defer g.halt()
					g.publish(t, "home/x", 2, 1, 1)
					synctest.Wait()
					time.Sleep(5 * time.Second)
					st := g.link.Stats()
					if st.Backlog != 0 || st.Connects != 2 {
						t.Fatalf("figures: %+v", st)
					}
					if kept && (len(s.sent()) != 1 || st.Downgraded != 0) {
						t.Errorf("sent %d times although it was released: %+v", len(s.sent()), st)
					}
					if !kept && (len(s.sent()) != 2 || st.Downgraded != 1 || s.sent()[1].Duplicate) {
						t.Errorf("sent %d times to an upstream that had forgotten it: %+v", len(s.sent()), st)
					}
				})
			})
		}
	})
}

// cutAtPubrel ends the first connection when PUBREL comes.
type cutAtPubrel struct {
	*script
	done bool
}

func (c *cutAtPubrel) dial(ctx context.Context) (net.Conn, error) {
	here, err := c.script.dial(ctx)
	if err != nil || c.done {
		return here, err
	}
	c.done = true
	return &pubrelBreaker{here}, nil
}

type pubrelBreaker struct{ net.Conn }

func (b *pubrelBreaker) Write(p []byte) (int, error) {
	if len(p) == 4 && p[0]>>4 == packets.PUBREL {
		b.Conn.Close()
		return 0, errors.New("cut")
	}
	return b.Conn.Write(p)
}

// TestASessionOfAnEarlierLifeIsDiscarded: a queue that is new must not meet
// a session whose packet identifiers it does not know.
func TestASessionOfAnEarlierLifeIsDiscarded(t *testing.T) {
	inEachVersion(t, func(t *testing.T, version int) {
		s := &script{version: version, keep: true}
		s.connects = make([]time.Time, 1) // somebody was here before
		underScript(t, s, scripted(2), func(t *testing.T, g *gateway) {
			g.publish(t, "home/x", 2, 1, 5)
			time.Sleep(5 * time.Second)
			st := g.link.Stats()
			if st.Connects != 1 || st.Forwarded != 5 || s.count() != 1+3 {
				t.Errorf("after %d connections: %+v", s.count()-1, st)
			}
			if s.connect.CleanStart {
				t.Error("the session that stays began with Clean Start, which mosquitto does not save")
			}
		})
	})
}
