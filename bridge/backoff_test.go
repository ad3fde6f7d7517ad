package bridge

import (
	"testing"
	"time"
)

// worst makes every random wait the longest that may be drawn.
func worst(d time.Duration) time.Duration { return d }

func TestBackoffGrowsWhileTheServerDropsUs(t *testing.T) {
	b := &backoff{random: worst}
	last := time.Duration(0)
	for range 20 {
		d := b.next(rejected)
		if d < last || d > backoffMax {
			t.Fatalf("wait %v after %v", d, last)
		}
		last = d
	}
	if last != backoffMax {
		t.Errorf("after 20 rejections the wait may be %v, want %v", last, backoffMax)
	}
	if d := b.next(unreached); d > refusedMax {
		t.Errorf("with nobody there the wait is %v, want at most %v", d, refusedMax)
	}
	if d := b.next(rejected); d != backoffMax {
		t.Errorf("an outage in between made it forget: %v", d)
	}
	if d := b.next(stable); d > backoffFirst {
		t.Errorf("after a good connection the wait is %v, want at most %v", d, backoffFirst)
	}
	if d := b.next(rejected); d > 2*backoffFirst {
		t.Errorf("the first rejection after a good connection costs %v", d)
	}
}

func TestBackoffKeepsGoingOnABadLine(t *testing.T) {
	b := &backoff{random: worst}
	for range 6 {
		b.next(rejected)
	}
	for range 10 {
		if d := b.next(productive); d > productiveMax {
			t.Fatalf("a cut line that still carries messages waits %v", d)
		}
	}
	if b.failures != 0 {
		t.Errorf("%d failures are still counted", b.failures)
	}
}

func TestBackoffJitterStaysInBounds(t *testing.T) {
	b := newBackoff(0)
	for range 1000 {
		if d := b.next(unreached); d < refusedMax/2 || d > refusedMax {
			t.Fatalf("wait %v when nobody answers", d)
		}
		if d := b.next(rejected); d < backoffFloor || d > backoffMax {
			t.Fatalf("wait %v after a rejection", d)
		}
	}
}

// TestConnectsAreRare: however good or bad a connection was, the next CONNECT
// comes no sooner than a second after its own; who was not reached is tried
// again sooner.
func TestConnectsAreRare(t *testing.T) {
	b := newBackoff(0)
	now := time.Now()
	if d := b.until(unreached, now); d > refusedMax {
		t.Errorf("where none was sent yet the wait is %v", d)
	}
	for _, o := range []outcome{rejected, productive, stable, throttled} {
		b.connecting(now)
		end := now.Add(100 * time.Millisecond)
		if d := b.until(o, end); end.Add(d).Sub(now) < connectEvery {
			t.Errorf("after outcome %d the next comes %v after the last", o, end.Add(d).Sub(now))
		}
	}
	if d := b.until(unreached, now.Add(time.Minute)); d > refusedMax {
		t.Errorf("a minute after the last the wait is %v", d)
	}
	if d := newBackoff(3 * time.Second).every; d != 3*time.Second {
		t.Errorf("a profile's 3s became %v", d)
	}
}

func TestRetryWaits(t *testing.T) {
	for tries, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 4: 8 * time.Second, 7: retryMax, 255: retryMax} {
		if got := retryAfter(tries); got != want {
			t.Errorf("wait after refusal %d is %v, want %v", tries, got, want)
		}
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		reason byte
		tries  int
		want   verdict
	}{
		{0x00, 1, accepted}, {0x10, 1, accepted},
		{0x97, 1, retryLater}, {0x97, 250, retryLater},
		{0x80, 1, retryLater}, {0x83, maxTries - 1, retryLater}, {0x83, maxTries, giveUp}, {0x91, 2, retryLater},
		{0x87, 1, giveUp}, {0x90, 1, giveUp}, {0x95, 1, giveUp}, {0x99, 1, giveUp},
	} {
		if got := judge(c.reason, c.tries); got != c.want {
			t.Errorf("reason 0x%02X, try %d: verdict %d, want %d", c.reason, c.tries, got, c.want)
		}
	}
}

func TestSuspicionFindsWhatEndsEveryConnection(t *testing.T) {
	told := ending{head: 7, told: reasonMalformed}
	bare := ending{head: 7, bare: true, afterSend: 10 * time.Millisecond}
	for _, c := range []struct {
		name string
		ends []ending
		drop []uint64
	}{
		{"the server says so three times", []ending{told, told, told}, []uint64{0, 0, 7}},
		{"bare closes take five", []ending{bare, bare, bare, bare, bare}, []uint64{0, 0, 0, 0, 7}},
		{"mixed", []ending{bare, told, bare, told, told}, []uint64{0, 0, 0, 0, 7}},
		{"another message starts anew", []ending{told, told, {head: 8, told: reasonMalformed}, told, told, told}, []uint64{0, 0, 0, 0, 0, 7}},
		{"progress clears it", []ending{told, told, {head: 7, told: reasonMalformed, progress: true}, told, told, told}, []uint64{0, 0, 0, 0, 0, 7}},
		{"a cut long after the send is the line's", []ending{
			{head: 7, bare: true, afterSend: 2 * time.Second}, {head: 7, bare: true, afterSend: 2 * time.Second},
			{head: 7, bare: true, afterSend: 2 * time.Second}, {head: 7, bare: true, afterSend: 2 * time.Second},
			{head: 7, bare: true, afterSend: 2 * time.Second}, {head: 7, bare: true, afterSend: 2 * time.Second}}, []uint64{0, 0, 0, 0, 0, 0}},
		{"a takeover is nobody's fault", []ending{{head: 7, told: 0x8E}, {head: 7, told: 0x8E}, {head: 7, told: 0x8E}, {head: 7, told: 0x8E}}, []uint64{0, 0, 0, 0}},
		{"nothing in flight", []ending{{told: reasonMalformed}, {told: reasonMalformed}, {told: reasonMalformed}}, []uint64{0, 0, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s suspicion
			for i, e := range c.ends {
				if got := s.lost(e); got != c.drop[i] {
					t.Fatalf("connection %d: gives up %d, want %d", i+1, got, c.drop[i])
				}
			}
		})
	}
}

func TestSuspectTravelsAlone(t *testing.T) {
	calm, other := &lane{}, &lane{}
	lanes := []*lane{calm, other}
	if suspected(lanes) != nil || calm.suspect.quiet() != 0 {
		t.Error("without a suspect a lane is held up")
	}
	calm.suspect.lost(ending{head: 3, bare: true})
	if suspected(lanes) != calm {
		t.Error("the suspect does not travel alone")
	}
	other.suspect.lost(ending{head: 7, bare: true})
	other.suspect.lost(ending{head: 7, bare: true})
	if suspected(lanes) != other {
		t.Error("the graver suspicion does not go first")
	}
	if other.suspect.quiet() != probeQuiet {
		t.Errorf("a connection closed without a word is proven only for %v", other.suspect.quiet())
	}
	other.suspect.settled(7)
	if suspected(lanes) != calm {
		t.Error("it got through and is still suspected")
	}
}
