package main

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// An id that is used for all commands swallows none of them: what comes again is
// a repetition only as long as it asks for what was asked last.
func TestOneIDForAllCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newControl(t, t.TempDir(), true)
		c.send("fan", `{"value":true,"id":"panel"}`)
		c.send("fan", `{"value":"on","id":"panel"}`)
		c.said("the same", true, `"id":"panel"`, `"value":true`)
		c.wrote("the same", "fan=true")
		c.send("fan", `{"value":false,"id":"panel"}`)
		c.said("another value", true, `"id":"panel"`, `"value":false`)
		c.wrote("another value", "fan=true", "fan=false")
		c.send("fan", `{"value":true,"id":"panel"}`)
		c.said("the first value", true, `"id":"panel"`, `"value":true`)
		c.wrote("the first value", "fan=true", "fan=false", "fan=true")
		c.send("fan", "off") // another commander
		c.send("fan", `{"value":true,"id":"panel"}`)
		c.wrote("after another commander", "fan=true", "fan=false", "fan=true", "fan=false", "fan=true")
		pass(repeatLimit - time.Second)
		c.send("fan", `{"value":true,"id":"panel"}`)
		c.wrote("soon after", "fan=true", "fan=false", "fan=true", "fan=false", "fan=true")
		pass(time.Second)
		c.send("fan", `{"value":true,"id":"panel"}`) // somebody may have switched it by hand
		c.wrote("long after", "fan=true", "fan=false", "fan=true", "fan=false", "fan=true", "fan=true")
	})
}

// The first of an id waits for the device: another value replaces it, the same
// waits for its result.
func TestOneIDForCommandsThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := newControl(t, dir, true)
		c.plant.absent(true, c.worker)
		c.send("fan", `{"value":true,"id":"panel"}`)
		c.send("fan", `{"value":true,"id":"panel"}`)
		pass(time.Second)
		c.send("fan", `{"value":false,"id":"panel"}`)
		if all := c.results(); len(all) != 2 || all[0].OK || all[1].OK {
			t.Errorf("of the replaced ones: %+v", all)
		}
		c.plant.absent(false, c.worker)
		pass(0)
		c.wrote("when it is back", "fan=false")
		c.said("when it is back", true, `"id":"panel"`, `"value":false`)
		c.stop()
		c = newControl(t, dir, true)
		c.send("fan", `{"value":false,"id":"panel"}`)
		c.wrote("after the start")
		c.said("after the start", true, `"id":"panel"`, `"value":false`)
	})
}

// The safe value is another order: what is commanded then is no repetition. And
// repetitions are signs of life of who commands.
func TestRepetitionAndSafeValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newControl(t, t.TempDir(), true)
		for range 100 {
			c.send("heater", `{"value":true,"id":"rule"}`)
			pass(10 * time.Second)
		}
		for _, w := range c.writes() {
			if w != "heater=true" {
				t.Fatal("the safe value came while commands did")
			}
		}
		pass(5 * time.Minute)
		last := len(c.writes())
		c.send("heater", `{"value":true,"id":"rule"}`)
		if got := fmt.Sprint(c.writes()[last-1:]); got != "[heater=false heater=true]" {
			t.Errorf("at the end: %s", got)
		}
	})
}

// After a start, and after an upstream resumed its session, publishers send again
// what nobody acknowledged to them: the last command is carried out once, and an
// older one does not undo it.
func TestCommandsThatAreSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := newControl(t, dir, true)
		again := func(when string) {
			t.Helper()
			before := len(c.writes())
			c.send("fan", `{"value":true,"id":"first"}`)
			c.said(when, false, `"id":"first"`, "came again after a newer command")
			c.send("fan", `{"value":false,"id":"second"}`)
			c.said(when, true, `"id":"second"`, `"value":false`)
			if got := c.writes()[before:]; len(got) > 0 {
				t.Errorf("%s: written %v", when, got)
			}
		}
		var resumed time.Time
		c.resumed = func(string) time.Time { return resumed }
		c.send("fan", `{"value":true,"id":"first"}`)
		c.send("fan", `{"value":false,"id":"second"}`)
		pass(time.Minute)
		resumed = time.Now()
		again("after the upstream is back")
		c.stop()
		c = newControl(t, dir, true)
		again("after a start")
		pass(repeatLimit)
		c.send("fan", `{"value":true,"id":"first"}`)
		c.wrote("long after a start", "fan=true")
	})
}

// A command that is in the log unanswered is carried out after the start, though
// an earlier one had its id and value.
func TestOneIDOverAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := newControl(t, dir, true)
		c.send("fan", `{"value":true,"id":"panel"}`)
		pass(time.Minute)
		c.plant.absent(true, c.worker)
		c.send("fan", `{"value":true,"id":"panel"}`)
		pass(time.Second)
		c.stop()
		pass(time.Second)
		c = newControl(t, dir, true)
		c.wrote("after the start", "fan=true")
		if n := len(c.results()); n != 1 {
			t.Errorf("%d results", n)
		}
	})
}

// What comes twice while the first waits gets its result, too; no more of it
// waits than there is room for.
func TestTwinsOfACommandThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newControl(t, t.TempDir(), true)
		c.plant.absent(true, c.worker)
		for range 1 + twinsLimit {
			c.send("fan", `{"value":"on","id":"twin"}`)
		}
		if n := len(c.results()); n != 0 {
			t.Errorf("%d results while it waits", n)
		}
		c.send("fan", `{"value":"on","id":"twin"}`)
		c.said("one too many", false, "too many wait for its result")
		c.plant.absent(false, c.worker)
		pass(time.Second)
		c.wrote("when it is back", "fan=true")
		if n := len(c.results()); n != 1+1+twinsLimit {
			t.Errorf("%d results", n)
		}
		c.said("when it is back", true, `"id":"twin"`)
	})
}

// Ids are forgotten in order, and what is kept of them stays small.
func TestIDsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := newControl(t, dir, true)
		long := strings.Repeat("x", 1000)
		for i := range 100 {
			c.send("fan", fmt.Sprintf(`{"value":%d,"id":"%s%d"}`, i, long, i))
		}
		last := len(c.writes())
		c.send("fan", `{"value":99,"id":"`+long+`99"}`)
		c.said("the last id", true, `"value":99`)
		if n := len(c.writes()); n != last {
			t.Errorf("the last id was carried out again")
		}
		c.stop()
		if n, kept := len(c.targets["d/fan/set"].ids), len(c.note.encode()); n > idsLimit || kept > noteLimit || len(c.note.Seqs) > seqsLimit {
			t.Errorf("%d ids, %d bytes, %d commands are remembered", n, kept, len(c.note.Seqs))
		}
		c = newControl(t, dir, true)
		c.send("fan", `{"value":99,"id":"`+long+`99"}`)
		c.said("the last id after a start", true, `"value":99`)
		if n := len(c.writes()); n != 0 {
			t.Errorf("the last id was carried out again after a start")
		}
	})
}
