package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sluice/adapters/sim"
)

// A point that the device does not have must not end the round of the others.
func TestFormulaBesideMissingPoints(t *testing.T) {
	f := newOutflow(t, true, head+`publish = "both"
every = "5s"
[device.points]
a = { holding = 30 }
gone = { holding = 300 }
none = { input = 300 }
b = { holding = 500 }
diff = { expr = "a - b" }
`)
	f.expect(0, "a=0", "d/a=0/good")
	f.expect(1, "gone=bad_register", "d/gone=<nil>/bad_register")
	f.expect(2, "b=0", "d/b=0/good", "d/diff=0/good")
	f.expect(3, "none=bad_register", "d/none=<nil>/bad_register", `d={"a":0,"b":0,"bad":{"gone":"bad_register","none":"bad_register"},"diff":0}`)
	for i := 1; i < 4; i++ {
		f.expect(5000*i, fmt.Sprintf("a=%d", 50*i), fmt.Sprintf("d/a=%d/good", 50*i))
		f.expect(5000*i+1, fmt.Sprintf("b=%d", 50*i), fmt.Sprintf("d/b=%d/good", 50*i), "d/diff=0/good",
			fmt.Sprintf(`d={"a":%[1]d,"b":%[1]d,"bad":{"gone":"bad_register","none":"bad_register"},"diff":0}`, 50*i))
	}
	// Without an answer to one the round is left out, whichever comes first then.
	f.expect(20001, "b=200", "d/b=200/good")
	f.expect(25000, "a=250", "d/a=250/good")
	f.expect(25001, "b=250", "d/b=250/good", "d/diff=0/good", `d={"a":250,"b":250,"bad":{"gone":"bad_register","none":"bad_register"},"diff":0}`)
	// What comes late in its round is of it still.
	f.expect(30000, "a=300", "d/a=300/good")
	f.expect(32000, "b=300", "d/b=300/good", "d/diff=0/good", `d={"a":300,"b":300,"bad":{"gone":"bad_register","none":"bad_register"},"diff":0}`)
	f.expect(35000, "a=350", "d/a=350/good")
	f.expect(37600, "b=376", "d/b=376/good")
}

// What is made of a point that was read back after a command follows at once,
// and nothing else does.
func TestFormulaAfterCommand(t *testing.T) {
	f := newOutflow(t, true, head+`publish = "both"
every = "10m"
[device.points]
w = { holding = 10, write = "verify" }
x = { holding = 300 }
y = { holding = 600 }
twice = { expr = "w * 2" }
sum = { expr = "twice + w + x" }
other = { expr = "x + y" }
`)
	f.expect(0, "w=1", "d/w=1/good", "d/twice=2/good")
	f.expect(1, "x=10", "d/x=10/good", "d/sum=13/good")
	f.expect(2, "y=20", "d/y=20/good", "d/other=30/good", `d={"other":30,"sum":13,"twice":2,"w":1,"x":10,"y":20}`)
	f.expect(3, "w=5!", "d/w=5/good", "d/twice=10/good", "d/sum=25/good", `d={"other":30,"sum":25,"twice":10,"w":5,"x":10,"y":20}`)
	// In the midst of a round the last one is told with the new value, and the
	// object waits for the new round.
	f.expect(600_000, "x=11", "d/x=11/good")
	f.expect(600_001, "w=6!", "d/w=6/good", "d/twice=12/good", "d/sum=28/good")
	f.expect(600_002, "w=6", "d/w=6/good", "d/twice=12/good", "d/sum=29/good")
	f.expect(600_003, "y=21", "d/y=21/good", "d/other=32/good", `d={"other":32,"sum":29,"twice":12,"w":6,"x":11,"y":21}`)
	// Beside an input that is not good there is nothing to tell.
	f.expect(1_200_000, "w=7 x=stale", "d/w=7/good", "d/x=<nil>/stale", "d/twice=14/good", "d/sum=<nil>/stale", "d/other=<nil>/stale")
	f.expect(1_200_001, "w=8!", "d/w=8/good", "d/twice=16/good")
	f.expect(1_200_002, "y=22", "d/y=22/good", `d={"bad":{"other":"stale","sum":"stale","x":"stale"},"twice":16,"w":8,"y":22}`)
	f.expect(1_200_003, "w=9!", "d/w=9/good", "d/twice=18/good", `d={"bad":{"other":"stale","sum":"stale","x":"stale"},"twice":18,"w":9,"y":22}`)
	f.expect(1_200_004, "w=invalid!", "d/w=<nil>/invalid", "d/twice=<nil>/invalid", "d/sum=<nil>/invalid",
		`d={"bad":{"other":"stale","sum":"invalid","twice":"invalid","w":"invalid","x":"stale"},"y":22}`)
	f.expect(1_200_005, "w=9!", "d/w=9/good", "d/twice=18/good", "d/sum=<nil>/stale",
		`d={"bad":{"other":"stale","sum":"stale","x":"stale"},"twice":18,"w":9,"y":22}`)
}

// Each formula has a reading for each round of its own inputs.
func TestFormulaPeriods(t *testing.T) {
	f := newOutflow(t, true, head+`
[device.points]
fast = { holding = 0 }
s1 = { holding = 300, every = "5s" }
s2 = { holding = 600, every = "5s" }
id = { holding = 900, every = "once" }
both = { expr = "fast + s1" }
slow = { expr = "s1 + s2" }
label = { expr = "id + 1", deadband = 0 }
`)
	f.expect(0, "fast=1", "d/fast=1/good")
	f.expect(10, "s1=10", "d/s1=10/good", "d/both=11/good")
	f.expect(20, "s2=20", "d/s2=20/good", "d/slow=30/good")
	f.expect(30, "id=7", "d/id=7/good", "d/label=8/good")
	f.expect(1000, "fast=2", "d/fast=2/good", "d/both=12/good")
	f.expect(5000, "fast=3", "d/fast=3/good", "d/both=13/good")
	f.expect(5010, "s1=11", "d/s1=11/good")
	f.expect(5020, "s2=21", "d/s2=21/good", "d/slow=32/good")
	f.expect(6000, "fast=4", "d/fast=4/good", "d/both=15/good")
	f.expect(6500, "id=7", "d/id=7/good") // it came online again: nothing is new
}

// What is not good is told when that begins, and then once a round.
func TestFormulaOfBadInputs(t *testing.T) {
	f := newOutflow(t, true, head+`
[device.points]
a = { holding = 0 }
b = { holding = 300, range = [0, 5] }
sum = { expr = "a + b" }
`)
	f.expect(0, "a=1", "d/a=1/good")
	f.expect(1, "b=1", "d/b=1/good", "d/sum=2/good")
	f.expect(1000, "b=out_of_range", "d/b=<nil>/out_of_range", "d/sum=<nil>/out_of_range")
	f.expect(1001, "a=2", "d/a=2/good")
	f.expect(2000, "b=out_of_range", "d/b=<nil>/out_of_range")
	f.expect(2001, "a=2", "d/a=2/good", "d/sum=<nil>/out_of_range")
	f.expect(3000, "a=invalid", "d/a=<nil>/invalid", "d/sum=<nil>/invalid")
	f.expect(3001, "b=out_of_range", "d/b=<nil>/out_of_range")
	f.expect(4000, "a=3", "d/a=3/good", "d/sum=<nil>/out_of_range")
	f.expect(4001, "b=4", "d/b=4/good", "d/sum=7/good")
	// Away, and back: nothing is offline that only was not read yet.
	f.expect(4500, "a=offline b=offline", "d/a=<nil>/offline", "d/b=<nil>/offline", "d/sum=<nil>/offline")
	f.expect(9000, "online a=4", "d/a=4/good")
	f.expect(9001, "b=4", "d/b=4/good", "d/sum=8/good")
}

// Lines on which others say what is read, or devices speak by themselves.
const unasked = `
[[line]]
name = "b"
kind = "rtu"
port = "/dev/ttyUSB0"
listen = true
[[device]]
name = "d"
line = "b"
unit = 1
`

func TestFormulaOnListenedLine(t *testing.T) {
	f := newOutflow(t, true, unasked+`publish = "both"
[device.points]
a = { holding = 30 }
b = { holding = 500 }
gone = { holding = 300 }
diff = { expr = "a - b" }
`)
	// It is not known yet how often they are read, nor whether a or b was missed.
	f.expect(4999, "b=1", "d/b=1/good")
	f.expect(9900, "a=2", "d/a=2/good")
	f.expect(10000, "b=2", "d/b=2/good")
	f.expect(14900, "a=3", "d/a=3/good")
	f.expect(15000, "b=3", "d/b=3/good")
	for i := 4; i < 40; i++ {
		at := 5000 * i
		if i%5 > 0 {
			f.expect(at-100, fmt.Sprintf("a=%d", i), fmt.Sprintf("d/a=%d/good", i))
		}
		if i%5 == 0 {
			f.expect(at, fmt.Sprintf("b=%d", i), fmt.Sprintf("d/b=%d/good", i))
		} else if i%7 > 0 {
			f.expect(at, fmt.Sprintf("b=%d", i), fmt.Sprintf("d/b=%d/good", i), "d/diff=0/good", fmt.Sprintf(`d={"a":%[1]d,"b":%[1]d,"diff":0}`, i))
		}
	}
}

// The other master reads one point more often than another: both are followed
// when that is clear.
func TestFormulaOfListenedPeriods(t *testing.T) {
	f := newOutflow(t, true, unasked+`
[device.points]
sp = { holding = 10 }
temp = { input = 0 }
sum = { expr = "sp + temp" }
same = { holding = 11 }
double = { expr = "sp * 2 + same" }
`)
	f.expect(0, "temp=20", "d/temp=20/good")
	f.expect(10, "sp=10 same=0", "d/sp=10/good", "d/same=0/good", "d/double=20/good")
	last := ""
	for i := 1; i < 12; i++ {
		all := f.tell(10+1000*i, fmt.Sprintf("sp=%d same=0", 10+i))
		if got := len(all); got < 3 {
			t.Fatalf("%v", all)
		}
		if len(all) == 4 {
			last = all[2]
		}
	}
	if !strings.HasPrefix(last, `d/sum {"value":41,`) {
		t.Errorf("in the end the sum is %s", last)
	}
}

// A master that spreads its reads evenly leaves no round that is shorter than
// the others.
func TestFormulaOfReadsFarApart(t *testing.T) {
	f := newOutflow(t, true, unasked+`
[device.points]
a = { holding = 0 }
b = { holding = 300 }
c = { holding = 600 }
sum = { expr = "a + b + c" }
`)
	sums := 0
	for i := range 40 {
		for j, name := range []string{"a", "b", "c"} {
			sums += len(f.tell(3000*i+1000*j, fmt.Sprintf("%s=%d", name, i))) - 1
		}
	}
	if sums < 20 || sums > 40 {
		t.Errorf("%d sums of 40 rounds", sums)
	}
}

// TestFormulaRounds plays rounds of a device in which reads come in any order,
// late, not at all or not good, with commands between them. The points of one
// period all hold the number of their round: what is computed of them is never
// of two rounds, once for each that is whole, and never told twice.
func TestFormulaRounds(t *testing.T) {
	for _, kind := range []struct{ name, head string }{{"polled", head}, {"listened", unasked}} {
		t.Run(kind.name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				polled := kind.name == "polled"
				f := newOutflow(t, true, kind.head+`publish = "both"
[device.points]
a = { holding = 0 }
b = { holding = 300 }
c = { holding = 600 }
w = { holding = 900`+map[bool]string{true: `, write = "verify"`}[polled]+` }
s = { holding = 1200, every = "3s" }
t = { holding = 1500, every = "3s" }
diff = { expr = "a - b" }
three = { expr = "(a - b) * 10 + (b - c) + 0 * w" }
nested = { expr = "diff + a - c" }
twice = { expr = "w * 2" }
slow = { expr = "s - t" }
mixed = { expr = "a - b + 0 * s + 0 * t" }
`)
				zero := []string{"diff", "three", "nested", "slow", "mixed"}
				inputs := map[string]string{"diff": "ab", "three": "abcw", "nested": "abc", "twice": "w", "slow": "st", "mixed": "ab"}
				told := map[string]time.Time{}
				count := map[string]int{}
				w := 0.0
				take := func(at int, answer string) {
					for _, line := range f.tell(at, answer) {
						topic, payload, _ := strings.Cut(line, " ")
						if topic == "d" {
							var o map[string]any
							if err := json.Unmarshal([]byte(payload), &o); err != nil {
								rt.Fatal(err)
							}
							a, isA := o["a"]
							for _, other := range []string{"b", "c"} {
								if v, is := o[other]; isA && is && v != a {
									rt.Fatalf("%s at %d: object %s", answer, at, payload)
								}
							}
							continue
						}
						name := strings.TrimPrefix(topic, "d/")
						var r struct {
							Value   *float64
							Quality string
							Time    time.Time
						}
						if err := json.Unmarshal([]byte(payload), &r); err != nil {
							rt.Fatal(err)
						}
						if name == "w" && r.Value != nil {
							w = *r.Value
						}
						if inputs[name] == "" {
							continue
						}
						if !r.Time.After(told[name]) {
							rt.Fatalf("%s at %d: %s is told again: %s", answer, at, name, payload)
						}
						told[name] = r.Time
						switch {
						case r.Quality != "good":
							continue
						case slices.Contains(zero, name) && *r.Value != 0:
							rt.Fatalf("%s at %d: %s is of two rounds: %s", answer, at, name, payload)
						case name == "twice" && *r.Value != 2*w:
							rt.Fatalf("%s at %d: twice is %v where w is %v", answer, at, *r.Value, w)
						}
						if !strings.HasSuffix(answer, "!") {
							count[name]++
						}
					}
				}
				lost := map[string]int{}
				whole := map[string]int{} // rounds without a gap so far
				good := map[string]bool{}
				for round := range rapid.IntRange(3, 30).Draw(rt, "rounds") {
					type arrival struct {
						at     int
						answer string
					}
					var all []arrival
					came := map[string]bool{}
					var last []string // in a batch with the next
					for _, name := range rapid.Permutation([]string{"a", "b", "c", "w", "s", "t"}).Draw(rt, "order") {
						isSlow := name == "s" || name == "t"
						if isSlow && round%3 != 0 {
							continue
						}
						value := fmt.Sprint(round)
						switch fate := rapid.IntRange(0, 9).Draw(rt, name); {
						case fate == 0 && lost[name] < 2 && (polled || round > 11):
							lost[name]++
							continue
						case fate == 1 && polled:
							value = rapid.SampledFrom([]string{"stale", "invalid", "bad_register", "out_of_range"}).Draw(rt, "quality")
						}
						lost[name] = 0
						came[name] = true
						good[name] = value == fmt.Sprint(round)
						last = append(last, name+"="+value)
						if rapid.Bool().Draw(rt, "more") {
							continue
						}
						all = append(all, arrival{0, strings.Join(last, " ")})
						last = nil
					}
					if last != nil {
						all = append(all, arrival{0, strings.Join(last, " ")})
					}
					at := round * 1000
					if polled && rapid.IntRange(0, 4).Draw(rt, "command") == 0 {
						i := rapid.IntRange(0, len(all)).Draw(rt, "when")
						all = slices.Insert(all, i, arrival{0, fmt.Sprintf("w=%d!", 100+round)})
					}
					clear(count)
					for _, one := range all {
						at += rapid.IntRange(1, 240/(len(all)+1)).Draw(rt, "pause")
						take(at, one.answer)
					}
					for name, of := range inputs {
						if name == "slow" && round%3 != 0 {
							continue
						}
						is := true
						for _, in := range of {
							is = is && came[string(in)] && good[string(in)]
						}
						if name == "mixed" {
							is = is && good["s"] && good["t"]
						}
						if !is {
							whole[name] = 0
						} else {
							whole[name]++
						}
						enough := whole[name] > 0 && polled || whole[name] > 0 && round > 2 && name != "mixed" && name != "slow"
						most := 1
						if name == "mixed" && round%3 == 0 {
							most = 2 // a slow one that is good again makes it good before the fast ones come
						}
						if enough && count[name] == 0 || count[name] > most {
							rt.Fatalf("round %d, %v: %s has %d readings", round, all, name, count[name])
						}
					}
				}
			})
		})
	}
}

// TestFormulaOfTheProgram reads a counter that stands in two registers too far
// apart for one read, beside points that the device does not have. The device
// comes late and is busy now and then. What is computed follows commands too.
func TestFormulaOfTheProgram(t *testing.T) {
	counter := sim.Wave{Shape: sim.Ramp, Swing: 10, Period: time.Second}
	field := simulate(t, sim.LineConfig{Name: "bus", Kind: "rtu", Baud: 115200, Slaves: []sim.SlaveConfig{{
		Unit: 1, Seed: 7, Faults: []sim.Fault{{Kind: sim.Dead}},
		Points: []sim.PointConfig{
			{Name: "a", Table: "holding", Address: 30, Type: "u32", Wave: counter},
			{Name: "b", Table: "holding", Address: 500, Type: "u32", Wave: counter},
			{Name: "w", Table: "holding", Address: 900, Writable: true},
		},
	}}})
	port := freePort(t)
	newSite(t, fmt.Sprintf(`
[broker]
listen = ["tcp://127.0.0.1:%d"]
[web]
listen = ""
[[line]]
name = "bus"
kind = "rtu"
port = %q
serial = "115200 8N1"
gap = 0
timeout = "300ms"
[[device]]
name = "d"
line = "bus"
unit = 1
every = "1s"
publish = "both"
  [device.points]
  a = { holding = 30, type = "u32" }
  gone = { holding = 300 }
  none = { input = 300 }
  b = { holding = 500, type = "u32" }
  w = { holding = 900, every = "10m", write = "verify" }
  diff = { expr = "a - b" }
  twice = { expr = "w * 2" }
`, port, field.Path("bus"))).start("--quiet")
	sub := subscribe(t, port, "-t", "d/+", "-t", "d", "-q", "1")
	sub.awaitLine("d/diff\t{\"value\":null", 30*time.Second)
	if err := field.Slave("bus", 1).SetFault(sim.Fault{Kind: sim.Exception, Code: 6, Probability: 0.1, Functions: []byte{3, 4}}); err != nil {
		t.Fatal(err)
	}
	sub.awaitLine("d/twice\t{\"value\":0,", 30*time.Second)
	publish(t, port, "-t", "d/w/set", "-m", "21", "-q", "1")
	sub.awaitLine("d/twice\t{\"value\":42,", 30*time.Second)
	sub.awaitLine(`"w":21,`, 30*time.Second)
	good := func(lines []string, topic string) (all []string) {
		for _, m := range parseMessages(lines) {
			if m.topic == topic && !strings.Contains(m.payload, "null") {
				all = append(all, m.payload)
			}
		}
		return all
	}
	sub.await("six rounds", 60*time.Second, func(lines []string) bool { return len(good(lines, "d/diff")) >= 6 })
	lines, _ := sub.output()
	for _, payload := range good(lines, "d/diff") {
		var r reading
		var diff float64
		if err := json.Unmarshal([]byte(payload), &r); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(r.Value, &diff); err != nil || diff < -5 || diff > 5 {
			t.Errorf("%s: a - b of two rounds (%v)", payload, err)
		}
	}
	for _, payload := range good(lines, "d") {
		var o struct{ A, B *float64 }
		if err := json.Unmarshal([]byte(payload), &o); err != nil {
			t.Fatal(err)
		}
		if o.A != nil && o.B != nil && (*o.A-*o.B < -5 || *o.A-*o.B > 5) {
			t.Errorf("%s: of two rounds", payload)
		}
	}
}

const spoken = `
[[line]]
name = "c"
kind = "uart"
port = "/dev/ttyAMA0"
serial = "115200 8N1"
[[device]]
name = "d"
line = "c"
match = '^(A=(?P<a>\d+))?,?(B=(?P<b>\d+))?$'
`
