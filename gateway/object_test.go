package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/adapters"
	"sluice/gateway/config"
	"sluice/mqttcore"
	"sluice/mqttcore/store"
)

// outflow is what readings make of what a device tells, without a broker.
type outflow struct {
	t      testing.TB
	r      *readings
	points map[string]*adapters.Point
	began  time.Time
}

// newOutflow takes the devices of a configuration with one line, "a".
func newOutflow(t testing.TB, known bool, devices string) *outflow {
	t.Helper()
	cfg, err := config.Parse("test", []byte("[[line]]\nname = \"a\"\nkind = \"rtu\"\nport = \"sim\"\n"+devices))
	if err != nil {
		t.Fatal(err)
	}
	m := newToyMachine()
	by := map[bool]string{true: "ntp"}[known]
	m.set(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), by, known)
	c := newClock(m, known, quiet)
	c.recall(store.Known{})
	g := &gateway{cfg: cfg, readings: newReadings(nil, newBoard(), c, false, quiet), commands: newCommands(nil, c, quiet)}
	g.board = g.readings.board
	f := &outflow{t: t, r: g.readings, points: map[string]*adapters.Point{}, began: time.Now()}
	for i := range cfg.Devices {
		if err := g.addDevice(&cfg.Devices[i]); err != nil {
			t.Fatal(err)
		}
		for _, p := range cfg.Devices[i].Points {
			f.points[p.Name] = p.Point
		}
	}
	return f
}

// tell takes in the readings of one answer, such as "temp=21.4 hum=stale", after
// so many milliseconds, and gives what is published as TOPIC PAYLOAD. What ends
// with ! was read aside; "online" is no reading.
func (f *outflow) tell(after int, answer string) (out []string) {
	f.t.Helper()
	said := strings.Fields(answer)
	for i, one := range said {
		if one == "online" {
			f.r.take(news{device: "d", online: true})
			f.r.outgoing = nil
			continue
		}
		one, aside := strings.CutSuffix(one, "!")
		name, text, _ := strings.Cut(one, "=")
		r := adapters.Reading{Point: f.points[name], Aside: aside, Time: f.began.Add(time.Duration(after) * time.Millisecond)}
		for q := adapters.Good; q <= adapters.Invalid; q++ {
			if q.String() == text {
				r.Quality = q
			}
		}
		if r.Quality == adapters.Good {
			r.Value = r.Point.Parse(text)
		}
		f.r.take(news{reading: r, last: i == len(said)-1})
	}
	return f.taken()
}

func (f *outflow) taken() (out []string) {
	for _, m := range f.r.outgoing {
		out = append(out, m.Topic+" "+string(m.Payload))
	}
	f.r.outgoing = nil
	return out
}

// expect compares what is published without the times in it.
func (f *outflow) expect(after int, answer string, want ...string) {
	f.t.Helper()
	var got []string
	for _, line := range f.tell(after, answer) {
		topic, payload, _ := strings.Cut(line, " ")
		var all map[string]any
		if err := json.Unmarshal([]byte(payload), &all); err != nil {
			f.t.Fatalf("%s: %v", line, err)
		}
		if topic != "d" {
			got = append(got, fmt.Sprintf("%s=%v/%v", topic, all["value"], all["quality"]))
			continue
		}
		delete(all, "time")
		rest, _ := json.Marshal(all)
		got = append(got, "d="+string(rest))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		f.t.Errorf("after %d ms, %s:\ngot  %v\nwant %v", after, answer, got, want)
	}
}

const head = "[[device]]\nname = \"d\"\nline = \"a\"\nunit = 1\n"

func TestOnChange(t *testing.T) {
	f := newOutflow(t, true, head+`
[device.points]
always = { input = 0 }
change = { input = 1, deadband = 0 }
band   = { input = 2, scale = 0.1, deadband = 0.2 }
beat   = { input = 3, deadband = 0, heartbeat = "5s" }
alone  = { input = 4, heartbeat = "5s" }
`)
	f.expect(0, "always=1 change=1 band=21.4 beat=1 alone=1", "d/always=1/good", "d/change=1/good", "d/band=21.4/good", "d/beat=1/good", "d/alone=1/good")
	f.expect(1000, "always=1 change=1 band=21.5 beat=1 alone=1", "d/always=1/good")
	f.expect(2000, "always=1 change=2 band=21.6 beat=1 alone=2", "d/always=1/good", "d/change=2/good", "d/band=21.6/good", "d/alone=2/good")
	f.expect(3000, "band=21.5") // slow steps count from what was published
	f.expect(3500, "band=21.4", "d/band=21.4/good")
	f.expect(4990, "beat=1", "d/beat=1/good") // polls are not to the millisecond
	f.expect(6000, "beat=1 alone=2")
	f.expect(7000, "alone=2", "d/alone=2/good")
	// A change of quality is told at once, and so is its end.
	f.expect(7001, "change=stale", "d/change=<nil>/stale")
	f.expect(7002, "change=stale")
	f.expect(7003, "change=invalid", "d/change=<nil>/invalid")
	f.expect(7004, "change=2", "d/change=2/good")
	f.expect(7005, "change=2")
	// What the broker has refused may be with nobody.
	f.r.refused.Add(1)
	f.expect(7006, "change=2", "d/change=2/good")
}

func TestFormulas(t *testing.T) {
	f := newOutflow(t, true, head+`
[device.points]
cost = { expr = "power * 0.3", unit = "ct" }
power = { expr = "u * i", range = [0, 1000] }
u = { input = 0 }
i = { input = 100 }
ratio = { expr = "u / slow" }
slow = { input = 200, every = "10s" }
hot = { expr = "u > 230", map = { 0 = "no", 1 = "yes" } }
`)
	f.expect(0, "u=230", "d/u=230/good", "d/hot=no/good") // the inputs of the others were never read
	f.expect(1, "slow=2", "d/slow=2/good", "d/ratio=115/good")
	f.expect(2, "i=2", "d/i=2/good", "d/power=460/good", "d/cost=138/good")
	f.expect(1000, "u=231", "d/u=231/good", "d/ratio=115.5/good", "d/hot=yes/good")
	f.expect(1001, "i=1", "d/i=1/good", "d/power=231/good", "d/cost=69.3/good")
	f.expect(2000, "i=5", "d/i=5/good")
	f.expect(2001, "u=230", "d/u=230/good", "d/power=<nil>/out_of_range", "d/cost=<nil>/out_of_range", "d/ratio=115/good", "d/hot=no/good")
	f.expect(2500, "slow=0", "d/slow=0/good")
	f.expect(3000, "u=230", "d/u=230/good", "d/ratio=<nil>/invalid", "d/hot=no/good")
	f.expect(3001, "i=stale", "d/i=<nil>/stale", "d/power=<nil>/stale", "d/cost=<nil>/stale")
	// What is not good is not waited for.
	f.expect(4000, "u=230", "d/u=230/good", "d/power=<nil>/stale", "d/cost=<nil>/stale", "d/ratio=<nil>/invalid", "d/hot=no/good")
	// When all are good again, so is what is made of them in this round.
	f.expect(4001, "i=2", "d/i=2/good", "d/power=460/good", "d/cost=138/good")
	f.expect(5000, "u=offline i=offline slow=offline", "d/u=<nil>/offline", "d/i=<nil>/offline", "d/slow=<nil>/offline",
		"d/power=<nil>/offline", "d/cost=<nil>/offline", "d/ratio=<nil>/offline", "d/hot=<nil>/offline")
}

func TestDeviceObject(t *testing.T) {
	f := newOutflow(t, true, head+`publish = "device"
[device.points]
u = { input = 0, deadband = 0 }
i = { input = 100, deadband = 0 }
p = { expr = "u * i", deadband = 0 }
slow = { input = 200, every = "10s", deadband = 0 }
`)
	f.expect(0, "slow=7")
	f.expect(0, "u=230")
	f.expect(1, "i=2", `d={"i":2,"p":460,"slow":7,"u":230}`)
	f.expect(1000, "u=230")
	f.expect(1001, "i=2") // nothing is new
	f.expect(2000, "u=230")
	f.expect(2001, "i=3", `d={"i":3,"p":690,"slow":7,"u":230}`)
	f.expect(3000, "i=bad_register")
	f.expect(3001, "u=230", `d={"bad":{"i":"bad_register","p":"bad_register"},"slow":7,"u":230}`)
	f.expect(4000, "u=231", `d={"bad":{"i":"bad_register","p":"bad_register"},"slow":7,"u":231}`)
	f.expect(4001, "i=1")
	f.expect(5000, "u=232")
	f.expect(5001, "i=1", `d={"i":1,"p":232,"slow":7,"u":232}`)
	// An old value never goes with new ones: a read without an answer keeps the
	// others back until it is clear what has become of it.
	f.expect(6000, "u=233")
	f.expect(6400, "i=1", `d={"i":1,"p":233,"slow":7,"u":233}`)
	f.expect(7000, "u=234")
	f.expect(8000, "u=235")
	f.expect(8300, "i=stale", `d={"bad":{"i":"stale","p":"stale"},"slow":7,"u":235}`)
	f.expect(9000, "u=offline i=offline slow=offline", `d={"bad":{"i":"offline","p":"offline","slow":"offline","u":"offline"}}`)
}

func TestObjectBesidePoints(t *testing.T) {
	f := newOutflow(t, true, head+`publish = "both"
points.u = { input = 0 }
points.v = { input = 1 }
`)
	f.expect(0, "u=1 v=2", "d/u=1/good", "d/v=2/good", `d={"u":1,"v":2}`)
	f.expect(1000, "u=1 v=2", "d/u=1/good", "d/v=2/good", `d={"u":1,"v":2}`)
	f.r.bare = true
	if got := f.tell(2000, "u=1 v=stale"); len(got) != 2 || got[0] != "d/u 1" || !strings.HasPrefix(got[1], `d {"time":"2026-`) {
		t.Errorf("with bare values: %v", got)
	}
}

// A device's object is corrected as a reading is: when the clock is set, and on
// its way up.
func TestObjectWithAnEstimatedTime(t *testing.T) {
	f := newOutflow(t, false, head+`publish = "device"
points.u = { input = 0 }
points.s = { input = 1, type = "string", length = 4 }
`)
	f.points["s"].Text = true
	got := f.tell(0, `u=1 s="time":"x","clock":"estimated"`)
	if len(got) != 1 || !strings.HasSuffix(got[0], `,"clock":"estimated"}`) {
		t.Fatalf("%v", got)
	}
	_, payload, _ := strings.Cut(got[0], " ")
	g := f.r.estimated["d"]
	if len(g.message.Properties.User) != 1 || g.message.Properties.User[0].Key != takenProperty {
		t.Fatalf("%+v", g.message.Properties)
	}
	const want = `{"time":"2026-05-31T12:00:00.000Z","u":1,"s":"\"time\":\"x\",\"clock\":\"estimated\""}`
	noon := time.Date(2026, 5, 31, 12, 0, 0, 0, time.UTC)
	c := corrector{f.r.clock, func(string, time.Duration) (time.Time, bool) { return noon, true }}
	d := mqttcore.Delivery{Payload: []byte(payload), Props: mqttcore.AppendProperties(nil, &g.message.Properties)}
	if c.correct(&d); string(d.Payload) != want {
		t.Errorf("on its way up: %s\nwant %s", d.Payload, want)
	}
	if fixed, ok := rewriteTime(g.message.Payload, noon); !ok || string(fixed) != want {
		t.Errorf("retained: %s", fixed)
	}
}
