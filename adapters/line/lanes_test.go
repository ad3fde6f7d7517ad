package line

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestLanesTakeTurns(t *testing.T) {
	q := newLanes()
	var ran []string
	add := func(lane Lane, name string) {
		j := &job{fn: func(context.Context, *Conn) error { ran = append(ran, name); return nil }}
		if err := q.push(lane, j); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		add(Poll, fmt.Sprint("poll", i))
	}
	for i := range 3 {
		add(Commissioning, fmt.Sprint("tool", i))
	}
	for i := range 3 {
		add(Command, fmt.Sprint("command", i))
	}
	for j := q.next(); j != nil; j = q.next() {
		_ = j.fn(nil, nil)
	}
	want := []string{"command0", "tool0", "command1", "poll0", "command2", "tool1", "poll1", "tool2", "poll2"}
	if !slices.Equal(ran, want) {
		t.Errorf("got %v, want %v", ran, want)
	}
}

func TestLaneIsBounded(t *testing.T) {
	q := newLanes()
	for range laneDepth {
		if err := q.push(Poll, &job{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.push(Poll, &job{}); !errors.Is(err, ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
	if err := q.push(Command, &job{}); err != nil {
		t.Errorf("the other lane is full too: %v", err)
	}
	if _, rejected := q.lengths(); rejected != 1 {
		t.Errorf("rejected %d, want 1", rejected)
	}
}

func TestDoIsWithdrawn(t *testing.T) {
	b := newBench(t)
	l := New(rtuConfig(b.link), quiet())
	run(t, l)
	inside, leave := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		first <- l.Do(context.Background(), Poll, func(context.Context, *Conn) error {
			close(inside)
			<-leave
			return nil
		})
	}()
	wait(t, inside, "the first job")
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	err := l.Do(ctx, Command, func(context.Context, *Conn) error {
		t.Error("a job ran whose caller had left")
		return nil
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(leave)
	if err := wait(t, first, "the end of the first job"); err != nil {
		t.Error(err)
	}
}

func TestParseSerial(t *testing.T) {
	for _, text := range []string{"19200 8E1", "115200 8N1", "9600 7O2"} {
		s, err := ParseSerial(text)
		if err != nil || s.String() != text {
			t.Errorf("%s: got %v, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "8N1", "fast 8N1", "9600 8X1", "9600 9N1", "9600 8N3", "9600 8N1 x", "10 8N1"} {
		if s, err := ParseSerial(text); err == nil {
			t.Errorf("%q was taken for %v", text, s)
		}
	}
	slow, fast := Serial{9600, 8, 'N', 1}, Serial{115200, 8, 'N', 1}
	if got := slow.CharTime().Round(time.Microsecond); got != 1042*time.Microsecond {
		t.Errorf("a character at 9600 8N1 takes %v", got)
	}
	if got := fast.T35(); got != 1750*time.Microsecond {
		t.Errorf("the silence at 115200 is %v", got)
	}
}

func TestConfigNamesItsFaults(t *testing.T) {
	err := Config{Kind: RTU, Serial: Serial{9600, 8, 'X', 1}, Retries: -1}.Validate()
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("got %v", err)
	}
	var fields []string
	for _, e := range joined.Unwrap() {
		fields = append(fields, e.(interface{ Field() string }).Field())
	}
	if want := []string{"name", "port", "serial", "timeout", "retries"}; !slices.Equal(fields, want) {
		t.Errorf("got %v, want %v", fields, want)
	}
	good := []Config{
		{Name: "a", Kind: TCP, Port: "10.0.0.1", Timeout: time.Second},
		{Name: "a", Kind: TCP, Port: "[::1]:1502", Timeout: time.Second},
		{Name: "a", Kind: UART, Port: "/dev/ttyAMA0", Serial: Serial{9600, 8, 'N', 1}, Timeout: time.Second},
	}
	for _, c := range good {
		if err := c.Validate(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
