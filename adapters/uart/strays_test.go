package uart

import (
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"sluice/adapters"
)

// What matches no device is counted once, however many devices there are, and
// the last of it is shown, without what would steer a terminal.
func TestStrays(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	other := DeviceConfig{Name: "o", Match: regexp.MustCompile(`^P=(?P<p>\d+)$`), Frame: Frame{Max: 40},
		Points: []PointConfig{{Point: &adapters.Point{Device: "o", Name: "p"}, From: "p", Mapping: adapters.Mapping{Decimals: -1}}}}
	u, r := start(t, b, greenhouse(0), other)
	b.say("\nT: 1.5\n\nP=3\nOK 7\nT:\x1b[0m 1.6\nP=4\n")
	r.next("o: online", "p=3", "p=4")
	if n, last := u.Strays(); n != 2 || last != `"T:\x1b[0m 1.6"` {
		t.Errorf("%d, the last %s", n, last)
	}
	b.say("\x01\xfe\x00\x80\nP=5\n")
	r.next("p=5")
	if n, last := u.Strays(); n != 3 || last != "01 fe 00 80" {
		t.Errorf("%d, the last %s", n, last)
	}
}

// A device whose answers are others than expected says so with what came.
func TestAnswerThatDoesNotMatch(t *testing.T) {
	t.Parallel()
	b := newBoard(t)
	asked := greenhouse(0)
	asked.Request, asked.Every = "MEAS?\n", 20*time.Millisecond
	also := asked
	also.Name, also.Request = "h", "HUM?\n"
	_, r := start(t, b, asked, also)
	go func() {
		for question := range b.heard {
			_, _ = io.WriteString(b.master, "ERR "+question+"\n")
		}
	}()
	for {
		got := <-r.ch
		if strings.HasPrefix(got, "h: no answer to its request") {
			if !strings.Contains(got, `the last that came is "ERR HUM?"`) {
				t.Errorf("%s", got)
			}
			return
		}
	}
}
