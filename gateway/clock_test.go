package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice/mqttcore/store"
)

// toyMachine is a computer whose clock the test sets.
type toyMachine struct {
	began time.Time // with a monotonic reading
	mu    sync.Mutex
	id    string
	up    time.Duration // at began
	ahead time.Duration // of the time of day, of the real one
	by    string
	sure  bool
}

func newToyMachine() *toyMachine { return &toyMachine{began: time.Now(), id: "toy", up: time.Minute} }

func (m *toyMachine) Boot() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.up + time.Since(m.began)
}

func (m *toyMachine) BootID() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.id
}

func (m *toyMachine) Wall() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Add(m.ahead).Round(0)
}

func (m *toyMachine) Since(t time.Time) time.Duration { return time.Since(t) }

func (m *toyMachine) Set() (string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.by, m.sure
}

// set sets the time of day to now.
func (m *toyMachine) set(now time.Time, by string, sure bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ahead, m.by, m.sure = time.Until(now), by, sure
}

// reboot begins another boot, just now, at a time of day that nobody set.
func (m *toyMachine) reboot(id string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.id, m.by, m.ahead = id, "", time.Until(now)
	m.up = 5*time.Second - time.Since(m.began)
}

// kernel is what the kernel says of its clock.
type kernel struct {
	store.Clock
	synced bool
}

func (k kernel) Wall() (time.Time, bool) { return time.Now(), k.synced }

var quiet = slog.New(slog.DiscardHandler)

func TestWhoKnowsTheTime(t *testing.T) {
	for _, c := range []struct {
		name   string
		files  map[string]string
		synced bool
		by     string
		sure   bool
	}{
		{"a Raspberry Pi just started", map[string]string{"proc/cpuinfo": "Features\t: fp asimd\n", "proc/device-tree/compatible": "raspberrypi,4-model-b\x00"}, false, "", false},
		{"a synchronised kernel", nil, true, "the kernel, which is synchronised", true},
		{"timesyncd was there in this boot", map[string]string{"run/systemd/timesync/synchronized": ""}, false, "systemd-timesyncd", true},
		{"a clock with a battery", map[string]string{"sys/class/rtc/rtc0/hctosys": "0\n", "sys/class/rtc/rtc1/hctosys": "1\n"}, false, "the hardware clock", false},
		{"a clock that nobody read", map[string]string{"sys/class/rtc/rtc0/hctosys": "0\n"}, false, "", false},
		{"a virtual PC", map[string]string{"proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu sse hypervisor lahf_lm\n"}, false, "the host of this virtual machine", false},
		{"a real PC", map[string]string{"proc/cpuinfo": "processor\t: 0\nflags\t\t: fpu sse lahf_lm\n"}, false, "", false},
		{"a virtual machine on Xen", map[string]string{"sys/hypervisor/type": "xen\n"}, false, "the host of this virtual machine", false},
		{"a virtual ARM", map[string]string{"proc/device-tree/compatible": "linux,dummy-virt\x00"}, false, "the host of this virtual machine", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range c.files {
				file := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			by, sure := host{kernel{store.SystemClock(), c.synced}, root}.Set()
			if by != c.by || sure != c.sure {
				t.Errorf("%q, %v; want %q, %v", by, sure, c.by, c.sure)
			}
		})
	}
}

func TestClockIsKnown(t *testing.T) {
	lately := builtAt().AddDate(1, 0, 0)
	for _, c := range []struct {
		name    string
		wall    time.Time
		by      string
		sure    bool
		trusted bool
		was     store.Known
		known   bool
	}{
		{"nothing says so", lately, "", false, false, store.Known{}, false},
		{"an odd machine, trusted", lately, "", false, true, store.Known{}, true},
		{"the hardware clock", lately, "rtc", false, false, store.Known{}, true},
		{"the hardware clock with an empty battery", time.Unix(0, 0), "rtc", false, false, store.Known{}, false},
		{"the hardware clock is behind the log", lately, "rtc", false, false, store.Known{Wall: lately.Add(time.Hour)}, false},
		{"the kernel is sure, and the log was wrong", lately, "ntp", true, false, store.Known{Wall: lately.Add(time.Hour)}, true},
		{"a restart in a boot that knew", lately, "", false, false, store.Known{Wall: lately, Boot: true}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newToyMachine()
			m.set(c.wall, c.by, c.sure)
			clock := newClock(m, c.trusted, quiet)
			clock.recall(c.was)
			wall, known := clock.Wall()
			if known != c.known {
				t.Errorf("known: %v", known)
			}
			if !known && (wall.Before(c.was.Wall) || wall.Before(builtAt())) {
				t.Errorf("estimated %v, before what it must have been", wall)
			}
			select {
			case <-clock.learned:
			default:
				if known {
					t.Error("nobody is told")
				}
			}
		})
	}
}

// The clock is set years ahead while the gateway runs, and then back.
func TestClockIsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newToyMachine()
		m.set(time.Unix(0, 0), "", false)
		clock := newClock(m, false, quiet)
		clock.recall(store.Known{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- clock.Run(ctx) }()
		before := time.Now()
		estimate, _ := clock.Wall()
		time.Sleep(time.Hour)
		if now, _ := clock.Wall(); now.Sub(estimate) != time.Hour {
			t.Errorf("after an hour it is %v later", now.Sub(estimate))
		}
		noon := time.Date(2031, 6, 1, 12, 0, 0, 0, time.UTC)
		m.set(noon, "ntp", true)
		<-clock.learned
		if got := clock.at(before); !got.Equal(noon.Add(-time.Hour)) {
			t.Errorf("an hour before noon was %v", got)
		}
		if got := clock.taken(before); got != time.Minute {
			t.Errorf("taken %v after the start of the machine", got)
		}
		m.set(noon.AddDate(-20, 0, 0), "", false)
		if wall, known := clock.Wall(); !known || wall.Year() != 2011 {
			t.Errorf("set back: %v, known %v", wall, known)
		}
		if !clock.at(time.Time{}).IsZero() {
			t.Error("never is a time")
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
