package bridge

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/google/go-cmp/cmp"

	"sluice/mqttcore"
)

// liveFirst is the usual configuration with the order "live-first".
func liveFirst(qos byte) Config {
	cfg := scripted(qos)
	cfg.Order = LiveFirst
	return cfg
}

// marked tells whether a message is marked as one of the backlog.
func marked(p *packets.Publish) bool {
	return slices.Contains(p.Properties.User, packets.User{Key: backlogProperty, Value: backlogValue})
}

// slowly answers after a round trip, and notes how many were without an answer.
type slowly struct {
	rtt                time.Duration
	flying, most, sent int
}

func (s *slowly) serve(sc *script) func(p *packets.Publish, reply func(packets.Packet)) bool {
	return func(p *packets.Publish, reply func(packets.Packet)) bool {
		var behind time.Duration // a server answers in order
		sc.set(func() {
			s.flying++
			s.most = max(s.most, s.flying)
			s.sent++
			behind = time.Duration(s.sent) * time.Microsecond
		})
		time.AfterFunc(s.rtt+behind, func() {
			sc.set(func() { s.flying-- })
			acknowledge(p, 0, reply)
		})
		return true
	}
}

// inLanes returns the payloads of each lane, in the order in which they came
// first, by their packet identifiers.
func inLanes(t *testing.T, all []packets.Publish) map[int][]string {
	t.Helper()
	lanes := map[int][]string{}
	for _, p := range all {
		n := laneOf(p.PacketID)
		if !slices.Contains(lanes[n], string(p.Payload)) {
			lanes[n] = append(lanes[n], string(p.Payload))
		}
	}
	for n, got := range lanes {
		if !slices.IsSorted(got) {
			t.Errorf("lane %d is out of order: %v", n, got)
		}
	}
	return lanes
}

// TestLiveFirst: after an outage a new reading goes within a round trip, and
// the backlog has all other places.
func TestLiveFirst(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		t.Run(fmt.Sprintf("qos %d", qos), func(t *testing.T) {
			const window, backlog, fresh = 10, 600, 20
			const rtt = 100 * time.Millisecond
			s := &script{away: true}
			slow := &slowly{rtt: rtt}
			s.publish = slow.serve(s)
			cfg := liveFirst(qos)
			cfg.Window = window
			underScript(t, s, cfg, func(t *testing.T, g *gateway) {
				g.publish(t, "home/x", qos, 1, backlog)
				s.set(func() { s.away = false })
				time.Sleep(2 * time.Second)
				if st := g.link.Stats(); !st.Connected || len(st.Lanes) != 2 || st.Backlog == 0 {
					t.Fatalf("after the outage: %+v", st)
				}
				for i := range fresh {
					g.publish(t, "home/x", qos, backlog+1+i, backlog+1+i)
					want := fmt.Sprintf("%06d", backlog+1+i)
					synctest.Wait()
					time.Sleep(rtt) // the places that are taken come free
					synctest.Wait()
					if !slices.Contains(s.payloads(), want) {
						t.Fatalf("new message %s did not go within a round trip: %v", want, s.payloads()[len(s.payloads())-window:])
					}
				}
				if st := g.link.Stats(); st.Backlog < 100 {
					t.Fatalf("the backlog was gone before the test was: %+v", st)
				}
				time.Sleep(time.Minute)
				st := g.link.Stats()
				if st.Backlog != 0 || st.Forwarded != backlog+fresh || st.Resent != 0 {
					t.Errorf("figures: %+v", st)
				}
				if slow.most > window {
					t.Errorf("%d were in flight at once", slow.most)
				}
				lanes := inLanes(t, s.sent())
				if len(lanes) != 2 || len(lanes[1]) != backlog || len(lanes[2]) != fresh {
					t.Errorf("%d and %d went in %d lanes", len(lanes[1]), len(lanes[2]), len(lanes))
				}
				for _, p := range s.sent() {
					if old := laneOf(p.PacketID) == 1; marked(&p) != old {
						t.Fatalf("message %s of lane %d: marked %v", p.Payload, laneOf(p.PacketID), marked(&p))
					}
				}
			})
		})
	}
}

// TestBacklogReplacesNothingNewer: what is retained upstream in the end is the
// newest of each topic, though older ones come later.
func TestBacklogReplacesNothingNewer(t *testing.T) {
	s := &script{away: true}
	s.publish = (&slowly{rtt: 100 * time.Millisecond}).serve(s)
	cfg := liveFirst(1)
	cfg.Window = 5
	underScript(t, s, cfg, func(t *testing.T, g *gateway) {
		retain := func(topic, payload string) {
			t.Helper()
			m := mqttcore.Message{Topic: topic, Payload: []byte(payload), QoS: 1, Retain: true}
			if err := g.broker.Publish(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
		retain("home/gone", "there")
		for i := range 100 {
			retain("home/busy", fmt.Sprint(i))
		}
		retain("home/once", "in the outage")
		retain("home/gone", "")
		s.set(func() { s.away = false })
		time.Sleep(time.Second)
		retain("home/busy", "newest")
		time.Sleep(time.Minute)
		upstream := map[string]string{}
		for _, p := range s.sent() {
			if p.Retain {
				upstream[p.Topic] = string(p.Payload)
			}
		}
		want := map[string]string{"site7/home/busy": "newest", "site7/home/once": "in the outage", "site7/home/gone": ""}
		if diff := cmp.Diff(want, upstream); diff != "" || len(s.sent()) != 104 {
			t.Errorf("of %d messages are retained (-want +got):\n%s", len(s.sent()), diff)
		}
	})
}

// TestBacklogKeepsItsShare: new messages that would take every place leave one
// in ten to the backlog.
func TestBacklogKeepsItsShare(t *testing.T) {
	for _, window := range []int{1, 20} {
		t.Run(fmt.Sprintf("window %d", window), func(t *testing.T) {
			s := &script{away: true}
			s.publish = (&slowly{rtt: time.Duration(window) * 5 * time.Millisecond}).serve(s)
			cfg := liveFirst(1)
			cfg.Window = window
			underScript(t, s, cfg, func(t *testing.T, g *gateway) {
				g.publish(t, "home/x", 1, 1, 2000)
				s.set(func() { s.away = false })
				time.Sleep(2 * time.Second)
				g.publish(t, "home/x", 1, 2001, 4000) // more than can go in a moment
				before := len(s.sent())
				time.Sleep(3 * time.Second)
				var old, fresh int
				for _, p := range s.sent()[before:] {
					if marked(&p) {
						old++
					} else {
						fresh++
					}
				}
				if old == 0 || fresh < 8*old || fresh > 10*old+10 {
					t.Errorf("%d of the backlog and %d new ones went", old, fresh)
				}
				time.Sleep(time.Minute)
				if st := g.link.Stats(); st.Backlog != 0 || st.Forwarded != 4000 {
					t.Errorf("figures: %+v", st)
				}
				inLanes(t, s.sent())
			})
		})
	}
}

// TestLanesOverOutages: outages come faster than their backlogs go, the
// gateway is restarted in between, and each message arrives once, in the order
// of its lane.
func TestLanesOverOutages(t *testing.T) {
	const each, outages = 150, 7
	s := &script{keep: true, away: true}
	cfg := liveFirst(2)
	cfg.Window = 10
	var room atomic.Int64
	s.publish = func(p *packets.Publish, reply func(packets.Packet)) bool {
		if room.Add(-1) < 0 {
			return false // cut
		}
		acknowledge(p, 0, reply)
		return true
	}
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		start := func(cfg Config) *gateway {
			return startGateway(t, dir, cfg, func(l *Link) { l.dial = s.dial })
		}
		g := start(cfg)
		published, most := 0, 0
		for i := range outages {
			g.publish(t, "home/x", 2, published+1, published+each)
			published += each
			room.Store(60)
			s.set(func() { s.away = false })
			eventually(t, "another cut", func() bool { return room.Load() < 0 })
			s.set(func() { s.away = true })
			most = max(most, len(g.link.Stats().Lanes))
			if i%2 == 1 {
				g.halt()
				g = start(cfg)
				if n := len(g.link.Stats().Lanes); n < most {
					t.Fatalf("of %d lanes %d are left after a restart", most, n)
				}
			}
		}
		if most != mqttcore.MaxLanes {
			t.Errorf("there were up to %d lanes, want %d", most, mqttcore.MaxLanes)
		}
		room.Store(1 << 30)
		s.set(func() { s.away = false })
		time.Sleep(2 * time.Minute)
		st := g.link.Stats()
		if st.Backlog != 0 || st.DeadLettered != 0 || st.Downgraded != 0 {
			t.Errorf("figures: %+v", st)
		}
		seen := map[string]uint16{}
		for n, payloads := range inLanes(t, s.sent()) {
			for _, p := range payloads {
				if _, twice := seen[p]; twice {
					t.Errorf("message %s went in lane %d too", p, n)
				}
				seen[p] = uint16(n)
			}
		}
		if len(seen) != published {
			t.Errorf("%d of %d arrived", len(seen), published)
		}
		g.halt()
	})
}

// TestResumedPlacesAreTaken: a session that was kept holds QoS 2 messages of the
// connection before, and with what is new there are never more than it takes.
func TestResumedPlacesAreTaken(t *testing.T) {
	const most = 10
	s := &script{keep: true, away: true}
	s.connack.Properties = &packets.Properties{ReceiveMaximum: new(uint16(most))}
	var mu sync.Mutex
	held, released, cut, too := map[uint16]bool{}, 0, false, 0
	s.publish = func(p *packets.Publish, reply func(packets.Packet)) bool {
		s.mu.Lock()
		rel := s.rel
		s.mu.Unlock()
		mu.Lock()
		defer mu.Unlock()
		for ; released < len(rel); released++ {
			delete(held, rel[released])
		}
		if held[p.PacketID] = true; len(held) > most {
			too++
			reply(&packets.Disconnect{ReasonCode: reasonReceiveMaximum, Properties: &packets.Properties{}})
			return false
		}
		if !cut { // takes as many as may be in flight, and never says so
			if cut = len(held) == most-1; cut {
				s.set(func() { s.away = true })
			}
			return !cut
		}
		acknowledge(p, 0, reply)
		return true
	}
	underScript(t, s, liveFirst(2), func(t *testing.T, g *gateway) {
		g.publish(t, "home/x", 2, 1, 50)
		if at := g.link.Resumed(); !at.IsZero() {
			t.Errorf("a session was resumed before any was there, at %s", at)
		}
		s.set(func() { s.away = false })
		time.Sleep(5 * time.Second)
		g.publish(t, "home/x", 2, 51, 55)
		s.set(func() { s.away = false })
		time.Sleep(time.Minute)
		synctest.Wait()
		st := g.link.Stats()
		if st.Backlog != 0 || st.Connects != 2 || st.Downgraded != 0 || too > 0 {
			t.Errorf("too much %d times: %+v", too, st)
		}
		if at := g.link.Resumed(); at.IsZero() || at.After(st.Since) {
			t.Errorf("resumed at %s, connected since %s", at, st.Since)
		}
		if lanes := inLanes(t, s.sent()); len(lanes) != 2 {
			t.Errorf("there were %d lanes", len(lanes))
		}
	})
}

// TestBackToFIFO: what is in lanes goes lane after lane, unmarked and before
// all that is new, once the order is "fifo" again.
func TestBackToFIFO(t *testing.T) {
	s := &script{away: true}
	silent := func(*packets.Publish, func(packets.Packet)) bool { return true }
	s.publish = silent
	cfg := liveFirst(1)
	cfg.Window = 5
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		g := startGateway(t, dir, cfg, func(l *Link) { l.dial = s.dial })
		g.publish(t, "home/x", 1, 1, 50)
		s.set(func() { s.away = false })
		time.Sleep(2 * time.Second)
		g.publish(t, "home/x", 1, 51, 100)
		g.halt()
		s.set(func() { s.up, s.publish = nil, nil })
		cfg.Order = FIFO
		g = startGateway(t, dir, cfg, func(l *Link) { l.dial = s.dial })
		g.publish(t, "home/x", 1, 101, 150)
		time.Sleep(5 * time.Second)
		if st := g.link.Stats(); st.Backlog != 0 {
			t.Errorf("figures: %+v", st)
		}
		if got := s.payloads(); len(got) != 150 || !slices.IsSorted(got) {
			t.Errorf("%d came: %v", len(got), got)
		}
		for _, p := range s.sent() {
			if marked(&p) {
				t.Fatalf("message %s is marked", p.Payload)
			}
		}
		g.halt()
	})
}

// TestPoisonInTheBacklog: a message of the backlog that ends each connection is
// given up although new ones get through all the time.
func TestPoisonInTheBacklog(t *testing.T) {
	inEachVersion(t, func(t *testing.T, version int) {
		s := &script{version: version, keep: true, away: true}
		s.publish = func(p *packets.Publish, reply func(packets.Packet)) bool {
			if string(p.Payload) == "000040" {
				return false
			}
			acknowledge(p, 0, reply)
			return true
		}
		cfg := liveFirst(1)
		cfg.Window = 10
		underScript(t, s, cfg, func(t *testing.T, g *gateway) {
			g.publish(t, "home/x", 1, 1, 100)
			s.set(func() { s.away = false })
			const fresh = 1200
			for i := range fresh {
				g.publish(t, "home/x", 1, 101+i, 101+i)
				time.Sleep(100 * time.Millisecond)
			}
			time.Sleep(10 * time.Minute)
			st := g.link.Stats()
			if st.Backlog != 0 || st.DeadLettered != 1 || st.Forwarded != 99+fresh {
				t.Errorf("figures: %+v", st)
			}
			if st.Connects > strikesBare+4 {
				t.Errorf("it took %d connections", st.Connects)
			}
			if diff := cmp.Diff(map[string]uint64{"the upstream ended each connection on which it was sent": 1}, st.DroppedBy); diff != "" {
				t.Errorf("dropped by reason (-want +got):\n%s", diff)
			}
		})
	})
}

// TestLanesShareTheirBound: where too much waits in all lanes together, the
// oldest goes, wherever it is.
func TestLanesShareTheirBound(t *testing.T) {
	s := &script{away: true}
	s.publish = func(*packets.Publish, func(packets.Packet)) bool { return true }
	cfg := liveFirst(1)
	cfg.Window = 5
	cfg.Queue.MaxBytes = 256 << 10
	payload := strings.Repeat("x", 1000)
	underScript(t, s, cfg, func(t *testing.T, g *gateway) {
		fill := func(n int) {
			t.Helper()
			var all []error
			for i := range n {
				m := message("home/x", fmt.Sprint(i, payload), 1)
				all = append(all, g.broker.Publish(t.Context(), m))
			}
			if err := errors.Join(all...); err != nil {
				t.Fatal(err)
			}
		}
		fill(200)
		s.set(func() { s.away = false })
		time.Sleep(2 * time.Second)
		fill(200)
		time.Sleep(2 * limitEvery)
		st := g.link.Stats()
		if len(st.Lanes) != 2 || st.BacklogBytes > cfg.Queue.MaxBytes {
			t.Errorf("%d bytes wait where %d are allowed: %+v", st.BacklogBytes, cfg.Queue.MaxBytes, st.Lanes)
		}
		if st.Lanes[1].Backlog != 200 || st.Lanes[0].Backlog == 0 || st.Lanes[0].Backlog > 60 {
			t.Errorf("not the oldest were given up: %+v", st.Lanes)
		}
		if n := st.DroppedBy["quota"]; n != 200-st.Lanes[0].Backlog || len(slices.Collect(maps.Keys(st.DroppedBy))) != 1 {
			t.Errorf("dropped: %v", st.DroppedBy)
		}
	})
}
