package modbus

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"testing"
	"time"
)

// usage is what a program may lose bit by bit.
type usage struct {
	goroutines, descriptors int
	heap                    int64 // bytes in use after a collection
}

func measure(t testing.TB) usage {
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	heap := int64(math.MaxInt64)
	for range 5 { // the lines go on: the least has the least of what they just use
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		heap = min(heap, int64(m.HeapAlloc))
	}
	return usage{runtime.NumGoroutine(), len(descriptors), heap}
}

func (u usage) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d KiB", u.goroutines, u.descriptors, u.heap>>10)
}

// Lines with faults that are unplugged again and again, for as long as
// MODBUS_SOAK says, leave nothing behind. Other tests must not run meanwhile.
func TestNothingGrows(t *testing.T) {
	s := startSoak(t, soakLines...)
	round := func() {
		for _, l := range soakLines {
			if err := s.field.Unplug(l.name); err != nil {
				t.Fatal(err)
			}
			s.wait(500) // of the others
			if err := s.field.Replug(l.name); err != nil {
				t.Fatal(err)
			}
		}
		s.each(soakLines) // all are open
	}
	round()
	round()
	before, begin := measure(t), time.Now()
	told := begin
	t.Logf("at first: %v", before)
	for n := 0; n < 3 || time.Since(begin) < soakLength(t); n++ {
		round()
		if time.Since(told) > time.Minute {
			told = time.Now()
			t.Logf("after %v: %v", told.Sub(begin).Round(time.Second), measure(t))
		}
	}
	after := measure(t)
	t.Logf("after %v: %v", time.Since(begin).Round(time.Second), after)
	// A connection that is just being renewed has two of each for a moment.
	if after.goroutines > before.goroutines+6 || after.descriptors > before.descriptors+6 || after.heap > before.heap+1<<20 {
		t.Errorf("it grew from %v to %v", before, after)
	}
	s.report()
}
