package store_test

import (
	"sync"
	"testing"
	"time"

	"sluice/mqttcore/store"
	"sluice/mqttcore/store/simfs"
)

// hands is a clock that the test sets.
type hands struct {
	mu     sync.Mutex
	boot   time.Duration
	wall   time.Time
	synced bool
	id     string
}

func (h *hands) Boot() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.boot
}

func (h *hands) Wall() (time.Time, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.wall, h.synced
}

func (h *hands) BootID() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.id
}

func (h *hands) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.boot += d
	h.wall = h.wall.Add(d)
}

func (h *hands) set(wall time.Time, synced bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wall, h.synced = wall, synced
}

func (h *hands) reboot(id string, wall time.Time, synced bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.boot, h.wall, h.synced, h.id = 5*time.Second, wall, synced, id
}

func expiring(sid store.SID, seconds uint32) *store.Message {
	m := message(sid, "m")
	m.HasExpiry, m.Expiry = true, seconds
	return m
}

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func TestExpiry(t *testing.T) {
	clock := &hands{wall: noon, synced: true, id: "one", boot: time.Hour}
	o := options(simfs.New())
	o.Clock = clock
	r := start(t, o)
	sid := r.session("a")
	r.must(func(done func(error)) { r.Append(expiring(sid, 100), done) })
	r.must(func(done func(error)) { r.Append(expiring(sid, 10), done) })
	r.must(func(done func(error)) { r.Append(expiring(sid, 100), done) })
	clock.pass(20 * time.Second)
	q := r.OpenQueue(sid, nil)
	var d store.Delivery
	for _, seq := range []uint64{1, 3} {
		if ok, err := q.Next(&d); !ok || err != nil {
			t.Fatal(ok, err)
		}
		equal(t, "seq", d.Seq, seq)
		if d.Expiry < 79 || d.Expiry > 80 {
			t.Errorf("%d s remain", d.Expiry)
		}
		equal(t, "at", d.At.Round(time.Second).Equal(noon), true)
		equal(t, "age", d.Age.Round(time.Second), 20*time.Second)
	}
	equal(t, "expired", r.Stats().Dropped[store.ReasonExpired], 1)
	equal(t, "oldest", q.Oldest().Round(time.Second), 20*time.Second)
	balance(t, r.Store)
	// What is on its way is finished, even where its time is over.
	clock.pass(200 * time.Second)
	q.Rewind()
	equal(t, "on its way", drain(t, q), "1:m 3:m")
}

// A clock that is set forward must not expire anything: only time that passed
// counts, and time between two boots where both clocks could be trusted.
func TestClockJumps(t *testing.T) {
	cases := []struct {
		name   string
		happen func(*hands)
		left   uint32 // of 1000 s
		synced bool
		older  bool
	}{
		{"wall clock set a year ahead", func(h *hands) { h.set(noon.AddDate(1, 0, 0), true) }, 1000, false, false},
		{"wall clock set back", func(h *hands) { h.set(noon.AddDate(-30, 0, 0), true) }, 1000, true, false},
		{"restart of the program", func(h *hands) { h.pass(100 * time.Second) }, 900, true, false},
		{"reboot, both clocks known", func(h *hands) { h.reboot("two", noon.Add(300*time.Second), true) }, 700, true, false},
		{"reboot without a clock", func(h *hands) { h.reboot("two", noon.AddDate(1, 0, 0), false) }, 1000, true, true},
		{"reboot into the past", func(h *hands) { h.reboot("two", noon.AddDate(-1, 0, 0), true) }, 1000, true, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			clock := &hands{wall: noon, synced: c.synced, id: "one", boot: time.Hour}
			o := options(simfs.New())
			o.Clock = clock
			r := start(t, o)
			sid := r.session("a")
			r.must(func(done func(error)) { r.Append(expiring(sid, 1000), done) })
			r.stop()
			c.happen(clock)
			r = start(t, o)
			var d store.Delivery
			if ok, err := r.OpenQueue(sid, nil).Next(&d); !ok || err != nil {
				t.Fatal(ok, err)
			}
			if d.Expiry > c.left || d.Expiry+2 < c.left {
				t.Errorf("%d s remain, wanted %d", d.Expiry, c.left)
			}
			equal(t, "older than its age", d.Older, c.older)
			r.must(func(done func(error)) { r.Append(expiring(sid, 1000), done) })
			r.stop()
			r = start(t, o) // it is known for good, and only of what was before
			q := r.OpenQueue(sid, nil)
			for _, older := range []bool{c.older, false} {
				if ok, err := q.Next(&d); !ok || err != nil {
					t.Fatal(ok, err)
				}
				equal(t, "older after a restart", d.Older, older)
			}
		})
	}
}

// What was stored before the clock was set gets its right time afterwards.
func TestTimeIsCorrectedLater(t *testing.T) {
	clock := &hands{wall: time.Unix(1000, 0), id: "one", boot: 10 * time.Second}
	o := options(simfs.New())
	o.Clock = clock
	r := start(t, o)
	sid := r.session("a")
	r.publish(sid, "before")
	r.stop()
	clock.pass(time.Minute)
	clock.set(noon, true)
	r = start(t, o)
	var d store.Delivery
	if ok, err := r.OpenQueue(sid, nil).Next(&d); !ok || err != nil {
		t.Fatal(ok, err)
	}
	equal(t, "at", d.At.UTC().Round(time.Second), noon.Add(-time.Minute))
}

// The time of day of a moment is known for boots in which the clock was set, also
// afterwards, and for no other.
func TestWallOf(t *testing.T) {
	clock := &hands{wall: time.Unix(1000, 0), id: "never set", boot: time.Minute}
	o := options(simfs.New())
	o.Clock = clock
	r := start(t, o)
	equal(t, "on record", r.Known(), store.Known{})
	r.session("a")
	r.stop()
	clock.reboot("set later", time.Unix(500, 0), false)
	r = start(t, o)
	equal(t, "known in this boot", r.Known().Boot, false)
	r.session("b")
	r.stop()
	clock.set(noon, true)
	r = start(t, o)
	r.session("c")
	r.stop()
	r = start(t, o)
	equal(t, "known in this boot", r.Known().Boot, true)
	r.stop()
	clock.reboot("third", time.Unix(0, 0), false)
	r = start(t, o)
	equal(t, "known in this boot", r.Known().Boot, false)
	equal(t, "newest", r.Known().Wall.Round(time.Minute).UTC(), noon)
	for _, c := range []struct {
		boot string
		want time.Time
	}{{"never set", time.Time{}}, {"third", time.Time{}}, {"", time.Time{}}, {"set later", noon.Add(-4 * time.Second)}} {
		got, known := r.WallOf(c.boot, time.Second) // it was set 5 s after its start
		equal(t, c.boot, got.UTC(), c.want)
		equal(t, c.boot, known, !c.want.IsZero())
	}
}

func TestAwayCountsAcrossReopen(t *testing.T) {
	clock := &hands{wall: noon, synced: true, id: "one", boot: time.Hour}
	o := options(simfs.New())
	o.Clock = clock
	r := start(t, o)
	left, stayed := r.session("left"), r.session("stayed")
	r.must(func(done func(error)) { r.LeaveSession(left, done) })
	clock.pass(30 * time.Second)
	r.must(func(done func(error)) { r.UpdateSession(stayed, 9, nil, done) })
	r.stop()
	clock.pass(10 * time.Second)
	r = start(t, o)
	all := r.Sessions()
	equal(t, "left", all[0].Away.Round(time.Second), 40*time.Second)
	equal(t, "stayed", all[1].Away, 10*time.Second)
	r.must(func(done func(error)) { r.UpdateSession(left, 9, nil, done) })
	equal(t, "back", r.Sessions()[0].Away, 0)
}

func TestSystemClock(t *testing.T) {
	c := store.SystemClock()
	if c.BootID() == "" || c.Boot() <= 0 {
		t.Errorf("boot %q, %v", c.BootID(), c.Boot())
	}
	if wall, _ := c.Wall(); time.Since(wall).Abs() > time.Minute {
		t.Errorf("wall clock %v", wall)
	}
}
