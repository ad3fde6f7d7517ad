package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/adapters"
	"sluice/mqttcore"
	"sluice/mqttcore/store"
)

// plant is a device whose clock is that of the test.
type plant struct {
	mu     sync.Mutex
	away   bool
	writes []string
}

func (p *plant) Write(_ context.Context, c adapters.Command) adapters.Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.away {
		return adapters.Result{Time: time.Now(), Err: adapters.Mark(fmt.Errorf("no answer"), adapters.ErrOffline)}
	}
	p.writes = append(p.writes, c.Point+"="+c.Value.String())
	return adapters.Result{Value: c.Value, Time: time.Now()}
}

// absent takes the device away or brings it back, which the gateway notices.
func (p *plant) absent(away bool, w *worker) {
	p.mu.Lock()
	p.away = away
	p.mu.Unlock()
	w.presence(!away)
}

// control is commands in a bubble of synctest, over a log on a real disk.
type control struct {
	t     *testing.T
	store *store.Store
	plant plant
	*commands
	worker *worker
	stop   func()
	mu     sync.Mutex
	told   []resultPayload
}

// results gives all results so far.
func (c *control) results() []resultPayload {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.told)
}

// newControl runs commands for the points heater, whose safe value is false
// after five minutes, and fan, which has none.
func newControl(t *testing.T, dir string, keep bool, upstreams ...func() time.Time) *control {
	t.Helper()
	c := &control{t: t}
	log := slog.New(slog.DiscardHandler)
	var err error
	m := newToyMachine()
	m.began = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // when a bubble begins: it outlives the gateway
	clock := newClock(m, true, log)
	if c.store, err = store.Open(store.Options{Dir: dir, Log: log, Clock: clock}); err != nil {
		t.Fatal(err)
	}
	clock.recall(c.store.Known())
	b := mqttcore.New(mqttcore.Config{}, c.store, log)
	c.commands = newCommands(b, clock, log)
	c.answerFor("d", "d")
	c.worker = c.device(&c.plant, keep, 30*time.Second)
	for _, name := range []string{"heater", "fan"} {
		c.add(&adapters.Point{Device: "d", Name: name}, "d/"+name+"/set", "d/"+name+"/result", c.worker)
	}
	c.guard("d/heater/set", adapters.Bool(false), 5*time.Minute, upstreams)
	b.Subscribe("d/+/result", func(m *mqttcore.Message) {
		var p resultPayload
		if err := json.Unmarshal(m.Payload, &p); err != nil {
			t.Error(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.told = append(c.told, p)
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	over, end := context.WithCancel(context.Background())
	var storing sync.WaitGroup
	storing.Go(func() {
		if err := c.store.Run(over); err != nil {
			t.Error(err)
		}
	})
	running.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	c.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		end()
		storing.Wait()
		if err := c.store.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(c.stop)
	synctest.Wait()
	return c
}

// send publishes a command.
func (c *control) send(point, payload string) {
	c.t.Helper()
	if err := c.broker.Publish(c.t.Context(), mqttcore.Message{Topic: "d/" + point + "/set", Payload: []byte(payload), QoS: 1}); err != nil {
		c.t.Fatal(err)
	}
	synctest.Wait()
}

// pass lets time pass.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// wrote checks all that was ever written to the device.
func (c *control) wrote(when string, want ...string) {
	c.t.Helper()
	c.plant.mu.Lock()
	defer c.plant.mu.Unlock()
	if !slices.Equal(c.plant.writes, want) {
		c.t.Errorf("%s: written %v, want %v", when, c.plant.writes, want)
	}
}

// writes gives all that was ever written to the device.
func (c *control) writes() []string {
	c.plant.mu.Lock()
	defer c.plant.mu.Unlock()
	return slices.Clone(c.plant.writes)
}

// said checks the last result.
func (c *control) said(when string, ok bool, parts ...string) {
	c.t.Helper()
	all := c.results()
	if len(all) == 0 {
		c.t.Errorf("%s: no result", when)
		return
	}
	last := all[len(all)-1]
	text := string(last.encode())
	if last.OK != ok || slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(text, p) }) {
		c.t.Errorf("%s: result %s, want ok=%v and %q", when, text, ok, parts)
	}
}

// The safe value comes when the commander has been silent for so long, once,
// and the next command ends it.
func TestSafeValueWithoutUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newControl(t, t.TempDir(), true)
		pass(5*time.Minute - time.Second)
		c.wrote("before it is due")
		pass(time.Second)
		c.wrote("when it is due", "heater=false")
		c.said("when it is due", true, `"value":false`, `"reason":"safe value: no command for 5m0s"`)
		pass(24 * time.Hour)
		c.wrote("long after", "heater=false")
		c.send("heater", "on")
		c.wrote("a command", "heater=false", "heater=true")
		pass(4 * time.Minute)
		c.send("fan", "on") // another point's commander
		pass(59 * time.Second)
		c.wrote("before it is due again", "heater=false", "heater=true", "fan=true")
		pass(time.Second)
		c.wrote("when it is due again", "heater=false", "heater=true", "fan=true", "heater=false")
		c.send("heater", "nonsense{")
		c.send("heater", "on")
		if n := len(c.results()); n != 5+1 {
			t.Errorf("%d results", n)
		}
	})
}

// An upstream that is there keeps the safe value away, and its loss counts from
// the loss.
func TestSafeValueWithUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lost atomic.Pointer[time.Time] // nil: it is there
		c := newControl(t, t.TempDir(), true, func() time.Time {
			if at := lost.Load(); at != nil {
				return *at
			}
			return time.Now()
		})
		c.send("heater", "on")
		pass(time.Hour + time.Minute)
		c.wrote("while it is there", "heater=true")
		now := time.Now()
		lost.Store(&now)
		pass(5*time.Minute - time.Second)
		c.wrote("before it is due", "heater=true")
		pass(time.Second)
		c.wrote("when it is due", "heater=true", "heater=false")
		c.said("when it is due", true, "and no upstream")
		lost.Store(nil)
		pass(time.Hour)
		c.wrote("the upstream is back", "heater=true", "heater=false") // a command ends it
		c.send("heater", "on")
		c.wrote("a command", "heater=true", "heater=false", "heater=true")
	})
}

// A device that is away gets the safe value when it is back, whenever that is,
// and again each time it comes back.
func TestSafeValueAndDeviceAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newControl(t, t.TempDir(), false)
		c.plant.absent(true, c.worker)
		pass(5*time.Minute + time.Second)
		c.said("while it is away", false, "no answer", `"reason"`)
		told := len(c.results())
		pass(time.Hour)
		if len(c.results()) != told {
			t.Errorf("the failure was told %d times", len(c.results()))
		}
		c.wrote("while it is away")
		c.plant.absent(false, c.worker)
		pass(time.Second)
		c.wrote("when it is back", "heater=false")
		c.plant.absent(true, c.worker)
		pass(time.Minute)
		c.plant.absent(false, c.worker)
		pass(time.Second)
		c.wrote("when it is back again", "heater=false", "heater=false")
		c.said("when it is back again", true, "again after the return of the device")
		c.send("heater", "on")
		c.plant.absent(true, c.worker)
		pass(time.Minute)
		c.plant.absent(false, c.worker)
		pass(time.Second)
		c.wrote("after a command", "heater=false", "heater=false", "heater=true")
	})
}

// The state outlives the gateway, and so does its end.
func TestSafeValueAndRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := newControl(t, dir, true)
		pass(5*time.Minute + time.Second)
		c.wrote("when it is due", "heater=false")
		c.stop()
		c = newControl(t, dir, true)
		c.wrote("after the start", "heater=false")
		c.said("after the start", true, "again after the start of the gateway")
		c.send("heater", "on")
		c.stop()
		c = newControl(t, dir, true)
		pass(time.Minute)
		c.wrote("after a command and the next start")
	})
}

// The newest command waits for a device that is away, for as long as it may.
func TestNewestCommandIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newControl(t, t.TempDir(), true)
		c.plant.absent(true, c.worker)
		c.send("heater", `{"value":"on","id":1}`)
		pass(time.Second)
		c.send("heater", `{"value":"off","id":2}`)
		pass(5 * time.Second)
		c.said("replaced", false, `"id":"1"`, "replaced by a newer command")
		c.send("fan", "on")
		pass(10 * time.Second)
		if len(c.results()) != 1 {
			t.Errorf("%d results", len(c.results()))
		}
		c.plant.absent(false, c.worker)
		pass(0)
		slices.Sort(c.plant.writes)
		c.wrote("when it is back", "fan=true", "heater=false")
		c.plant.absent(true, c.worker)
		began := time.Now()
		c.send("fan", `{"value":0,"id":"late"}`)
		told := len(c.results())
		for len(c.results()) == told {
			pass(time.Second)
		}
		if age := time.Since(began); age < 30*time.Second || age > 31*time.Second {
			t.Errorf("given up after %s", age)
		}
		c.said("too old", false, `"id":"late"`, "given up after 30s: no answer")
	})
}

// A publisher may have its command given up earlier (MQTT 5.0, 3.3.2.3.3).
func TestCommandExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newControl(t, t.TempDir(), true)
		c.plant.absent(true, c.worker)
		for qos := range byte(2) {
			began, told := time.Now(), len(c.results())
			m := mqttcore.Message{Topic: "d/fan/set", Payload: []byte("1"), QoS: qos, Properties: mqttcore.Properties{HasExpiry: true, Expiry: 7}}
			if err := c.broker.Publish(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			for synctest.Wait(); len(c.results()) == told; {
				pass(time.Second)
			}
			if age := time.Since(began); age < 7*time.Second || age > 8*time.Second {
				t.Errorf("QoS %d: given up after %s", qos, age)
			}
		}
		c.said("at the end", false, "given up after 7s: no answer")
	})
}

// What is under way or waits at a stop is for the next start; what was answered
// is not carried out again.
func TestCommandsOverAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := newControl(t, dir, true)
		c.send("heater", `{"value":"on","id":"a"}`)
		c.plant.absent(true, c.worker)
		c.send("fan", `{"value":"on","id":"b"}`)
		c.stop()
		if len(c.results()) != 1 {
			t.Errorf("results before the stop: %+v", c.results())
		}
		c = newControl(t, dir, true)
		pass(time.Second)
		c.wrote("after the start", "fan=true")
		c.said("after the start", true, `"id":"b"`)
		c.send("heater", `{"value":"on","id":"a"}`)
		c.said("an id of before", true, `"id":"a"`, `"value":true`)
		c.wrote("an id of before", "fan=true")
	})
}

// A command that grew too old while the gateway was off is not carried out.
func TestCommandTooOldAfterAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := newControl(t, dir, true)
		c.plant.absent(true, c.worker)
		c.send("fan", `{"value":"on","id":"old"}`)
		pass(5 * time.Second)
		c.stop()
		pass(time.Minute)
		c = newControl(t, dir, true)
		c.said("after the start", false, `"id":"old"`, "command is 1m5s old, over the limit of 30s")
		c.wrote("after the start")
	})
}
