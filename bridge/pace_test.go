package bridge

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"pgregory.net/rapid"
)

// metered notes when how much of PUBLISH came.
type metered struct {
	mu   sync.Mutex
	came []arrived
}

type arrived struct {
	at      time.Time
	bytes   int
	payload string
}

func (m *metered) note(p *packets.Publish) {
	var b strings.Builder
	_, _ = p.WriteTo(&b) // a strings.Builder takes all
	m.mu.Lock()
	defer m.mu.Unlock()
	m.came = append(m.came, arrived{time.Now(), b.Len(), string(p.Payload)})
}

// most returns the most bytes and messages of any time so long.
func (m *metered) most(span time.Duration) (bytes, messages int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sum, first := 0, 0
	for i, a := range m.came {
		sum += a.bytes
		for a.at.Sub(m.came[first].at) >= span {
			sum -= m.came[first].bytes
			first++
		}
		bytes, messages = max(bytes, sum), max(messages, i-first+1)
	}
	return bytes, messages
}

func (m *metered) all() []arrived {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.came)
}

// TestBucketKeepsItsRate: whatever is spent whenever it lets something through,
// no span of time has more than the burst, the rate and one packet.
func TestBucketKeepsItsRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(10, 1e6).Draw(t, "rate")
		burst := time.Duration(rapid.IntRange(1, 2000).Draw(t, "burst")) * time.Millisecond
		largest := rapid.IntRange(1, 5000).Draw(t, "largest")
		b, now := newBucket(rate, burst), time.Unix(1, 0)
		start, spent := now, 0.0
		for range rapid.IntRange(1, 60).Draw(t, "packets") {
			now = now.Add(time.Duration(rapid.IntRange(0, 50).Draw(t, "pause")) * time.Millisecond)
			wait := b.wait(now)
			if wait > 0 {
				if now = now.Add(wait); b.wait(now) > 0 {
					t.Fatalf("nothing passes after the wait of %v", wait)
				}
			}
			size := float64(rapid.IntRange(1, largest).Draw(t, "size"))
			b.level -= size
			spent += size
			if most := rate*burst.Seconds() + rate*now.Sub(start).Seconds() + float64(largest) + 1; spent > most {
				t.Fatalf("%.0f passed in %v, at most %.0f may", spent, now.Sub(start), most)
			}
		}
	})
}

// TestRateIsKept: a backlog goes at the configured rate and no slower, a new
// message need not wait for it, and the line is kept alive meanwhile.
func TestRateIsKept(t *testing.T) {
	const rate, n = 4000, 400
	m := &metered{}
	s := &script{away: true}
	s.publish = func(p *packets.Publish, reply func(packets.Packet)) bool {
		m.note(p)
		acknowledge(p, 0, reply)
		return true
	}
	cfg := liveFirst(1)
	cfg.Rate = rate
	underScript(t, s, cfg, func(t *testing.T, g *gateway) {
		payload := strings.Repeat("x", 150)
		for i := range n {
			if err := g.broker.Publish(t.Context(), message("home/x", fmt.Sprintf("%06d%s", i, payload), 1)); err != nil {
				t.Fatal(err)
			}
		}
		s.set(func() { s.away = false })
		time.Sleep(3 * time.Second)
		if st := g.link.Stats(); !st.RateLimited || st.Backlog == 0 || st.RateWaited > time.Minute {
			t.Fatalf("under way: %+v", st)
		}
		for i := range 5 {
			want := fmt.Sprintf("new %d", i)
			if err := g.broker.Publish(t.Context(), message("home/x", want, 1)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * time.Millisecond)
			if got := m.all(); !slices.ContainsFunc(got, func(a arrived) bool { return a.payload == want }) {
				t.Errorf("%s did not go within the time of a few packets", want)
			}
		}
		time.Sleep(5 * time.Minute)
		st := g.link.Stats()
		if st.Backlog != 0 || st.Connects != 1 || st.RateLimited || st.RateWaited < 10*time.Second {
			t.Errorf("in the end: %+v", st)
		}
		if bytes, _ := m.most(time.Second); bytes > 2*rate+200 {
			t.Errorf("%d bytes went in a second", bytes)
		}
		all := m.all()
		sum := 0
		for _, a := range all {
			sum += a.bytes
		}
		took := all[len(all)-1].at.Sub(all[0].at)
		if got := float64(sum-rate) / took.Seconds(); got < 0.95*rate || got > 1.05*rate {
			t.Errorf("%d bytes took %v: %.0f a second", sum, took, got)
		}
	})
}

// TestSlowestRateKeepsTheConnection: messages that take minutes each at the
// rate end no connection.
func TestSlowestRateKeepsTheConnection(t *testing.T) {
	inEachVersion(t, func(t *testing.T, version int) {
		s := &script{version: version}
		cfg := scripted(1)
		cfg.Rate = 64
		underScript(t, s, cfg, func(t *testing.T, g *gateway) {
			payload := strings.Repeat("x", 10_000)
			for range 5 {
				if err := g.broker.Publish(t.Context(), message("home/x", payload, 1)); err != nil {
					t.Fatal(err)
				}
			}
			if err := g.broker.Publish(t.Context(), message("home/x", "live", 0)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(15 * time.Minute)
			if st := g.link.Stats(); st.Backlog != 0 || st.Connects != 1 || st.LiveSent != 1 {
				t.Errorf("figures: %+v", st)
			}
			if n := len(s.sent()); n != 6 {
				t.Errorf("%d came", n)
			}
		})
	})
}

// TestStopWhileRateLimited: an orderly stop does not wait for the rate.
func TestStopWhileRateLimited(t *testing.T) {
	s := &script{}
	cfg := scripted(1)
	cfg.Rate = 64
	synctest.Test(t, func(t *testing.T) {
		g := startGateway(t, t.TempDir(), cfg, func(l *Link) { l.dial = s.dial })
		for range 3 {
			if err := g.broker.Publish(t.Context(), message("home/x", strings.Repeat("x", 5000), 1)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		began := time.Now()
		g.halt()
		if took := time.Since(began); took > 2*drainLimit {
			t.Errorf("stopping took %v", took)
		}
	})
}
