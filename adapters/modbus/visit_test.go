package modbus

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
)

// A full door lets another master in where a client has been silent for long,
// strangers first, and tells of it once.
func TestDoorMakesRoom(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	f.add(1).registers[0] = 7
	d := share(t, f.rtu(), false, r)
	var log strings.Builder
	d.log = slog.New(slog.NewTextHandler(&log, nil)) // used under d.mu only while clients come and go
	var all []*caller
	come := func() *caller {
		c := call(t, d)
		all = append(all, c)
		return c
	}
	parted := func(c *caller) {
		t.Helper()
		_ = c.conn.SetReadDeadline(time.Now().Add(testPatience))
		if _, err := c.conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("the client is still there: %v", err)
		}
	}
	quiet := func(c *caller, since time.Duration) {
		t.Helper()
		d.mu.Lock()
		defer d.mu.Unlock()
		for conn, v := range d.clients {
			if conn.RemoteAddr().String() == c.conn.LocalAddr().String() {
				v.since = time.Now().Add(-since)
				return
			}
		}
		t.Fatal("the client is not there")
	}
	master := come()
	master.expect("03 02 00 07", 1, 3, 0, 0, 0, 1)
	for range doorClients - 1 {
		if _, err := io.WriteString(come().conn, "\x00\x01\x00"); err != nil { // a request that never ends
			t.Fatal(err)
		}
	}
	r.until("all being let in", func() bool { r.tell(); return d.Stats().Clients == doorClients })
	for _, c := range all {
		quiet(c, -time.Hour) // just come, however slow the machine
	}
	parted(come())
	quiet(master, 30*time.Second)
	quiet(all[3], 3*time.Second)
	quiet(all[4], 2*time.Second)
	come().expect("03 02 00 07", 1, 3, 0, 0, 0, 1)
	parted(all[3])
	come().expect("03 02 00 07", 1, 3, 0, 0, 0, 1)
	parted(all[4])
	master.expect("03 02 00 07", 1, 3, 0, 0, 0, 1)
	quiet(master, 2*time.Minute)
	come().expect("03 02 00 07", 1, 3, 0, 0, 0, 1)
	parted(master)
	if s := d.Stats(); s.TurnedAway != 1 || s.PushedOut != 3 || s.Clients != doorClients {
		t.Errorf("figures %+v", s)
	}
	for _, c := range all {
		_ = c.conn.Close()
	}
	r.until("all having left", func() bool { r.tell(); return d.Stats().Clients == 0 })
	d.mu.Lock()
	defer d.mu.Unlock()
	for text, want := range map[string]int{"door is full": 1, "room again": 1, "had_no_place=4": 1, "client=127.0.0.1:": 1} {
		if n := strings.Count(log.String(), text); n != want {
			t.Errorf("%q is told %d times:\n%s", text, n, log.String())
		}
	}
}
