package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice/adapters/sim"
)

// actuators is a gateway on a simulated line with a board of actuators.
type actuators struct {
	*site
	field *sim.Field
	slave *sim.Slave
	port  int
}

func newActuators(t *testing.T, keys, heater string) *actuators {
	t.Helper()
	a := &actuators{port: freePort(t)}
	link := filepath.Join(t.TempDir(), "tty")
	hold := func(name, table string, address uint16) sim.PointConfig {
		return sim.PointConfig{Name: name, Table: table, Address: address, Writable: true, Wave: sim.Wave{Shape: sim.Const}}
	}
	a.field = simulate(t, sim.LineConfig{Name: "bus", Kind: "rtu", Link: link, Baud: 115200, Slaves: []sim.SlaveConfig{{
		Unit: 2, Points: []sim.PointConfig{hold("heater", "coil", 0), hold("fan", "coil", 1), hold("valve", "holding", 10), hold("mode", "holding", 11)},
	}}})
	a.slave = a.field.Slave("bus", 2)
	a.site = newSite(t, fmt.Sprintf(`
[gateway]
id = "edge"
[broker]
listen = ["tcp://127.0.0.1:%d"]
[web]
listen = ""
[[line]]
name = "bus"
kind = "rtu"
port = %q
serial = "115200 8N1"
timeout = "1s" # a busy machine is not what is tested
retries = 3
[[device]]
name = "board"
line = "bus"
unit = 2
every = "100ms"
%s
  [device.points]
  heater = { coil = 0, write = "verify"%s }
  fan    = { coil = 1, write = "plain", fc = 15 }
  valve  = { holding = 10, write = "verify", min = 0, max = 100, fc = 16 }
  mode   = { holding = 11, write = "verify", map = { 0 = "off", 1 = "Auto", 2 = "manual" }, safe = "off", safe_after = "1d" }
`, a.port, link, keys, heater))
	return a
}

// results listens to all results until the test ends.
func (a *actuators) results(args ...string) *process {
	a.t.Helper()
	t := a.t.(*testing.T)
	publish(t, a.port, "-t", "marker", "-m", "there", "-r")
	p := subscribe(t, a.port, append([]string{"-t", "board/+/result", "-t", "marker", "-q", "1"}, args...)...)
	p.awaitLine("marker", 20*time.Second)
	return p
}

// ask sends a command to a point as MQTT 5 means it, and gives the response.
func (a *actuators) ask(point, payload, response string) string {
	a.t.Helper()
	p := launch(a.t, nil, "mosquitto_rr", "-V", "5", "-q", "1", "-p", fmt.Sprint(a.port), "-t", "board/"+point+"/set", "-e", response,
		"-m", payload, "-D", "publish", "correlation-data", "c0ffee", "-F", "%t %D %p", "-W", "30")
	line := p.awaitLine(`"ok"`, 30*time.Second)
	p.wait(20 * time.Second)
	return line
}

// set publishes a command.
func (a *actuators) set(point, payload string, args ...string) {
	a.t.Helper()
	publish(a.t.(*testing.T), a.port, append([]string{"-t", "board/" + point + "/set", "-m", payload}, args...)...)
}

// result waits for the nth result of a point.
func (a *actuators) result(from *process, point string, nth int) (r resultPayload) {
	a.t.Helper()
	from.await(fmt.Sprintf("result %d of %s", nth, point), 40*time.Second, func(lines []string) bool {
		n := 0
		for _, m := range parseMessages(lines) {
			if m.topic != "board/"+point+"/result" {
				continue
			}
			if n++; n == nth {
				r = resultPayload{}
				if err := json.Unmarshal([]byte(m.payload), &r); err != nil {
					a.t.Fatalf("result %s: %v", m.payload, err)
				}
				return true
			}
		}
		return false
	})
	return r
}

// holds waits until a point of the device has a value.
func (a *actuators) holds(point string, want float64) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), 40*time.Second)
	defer cancel()
	if err := a.slave.Wait(ctx, func() bool { return a.slave.Value(point) == want }); err != nil {
		a.t.Fatalf("%s is %v, not %v", point, a.slave.Value(point), want)
	}
}

// TestCommandForms sends every form of a command and looks at the device.
func TestCommandForms(t *testing.T) {
	a := newActuators(t, "", "")
	a.start("--quiet").awaitLine("device is online", 20*time.Second)
	sub := a.results()
	count := map[string]int{}
	for _, c := range []struct {
		point, payload, value, fault string
		holds                        float64
		args                         []string
	}{
		{"heater", "on", "true", "", 1, nil},
		{"heater", "0", "false", "", 0, []string{"-q", "1"}},
		{"heater", " TRUE\n", "true", "", 1, []string{"-q", "2"}},
		{"heater", `{"value": false, "id": "x"}`, "false", "", 0, nil},
		{"heater", `{"value": "on"}`, "true", "", 1, nil},
		{"heater", "2", "null", "neither on nor off", 1, nil},
		{"heater", `{"value": 1`, "null", "not valid JSON", 1, nil},
		{"heater", `{"id": "x2"}`, "null", `no \"value\"`, 1, nil},
		{"heater", "off", "null", "retained", 1, []string{"-r"}},
		{"heater", "off", "null", "retained", 1, []string{"-r", "-q", "1"}},
		{"fan", "1", "null", "", 1, nil}, // plain: nothing is read back
		{"valve", "21", "21", "", 21, nil},
		{"valve", "21.6", "22", "", 22, nil},
		{"valve", "400", "100", "", 100, nil},
		{"valve", "-1", "0", "", 0, nil},
		{"valve", "wide open", "null", "not a number", 0, nil},
		{"mode", "auto", `"Auto"`, "", 1, nil},
		{"mode", `{"value":"manual"}`, `"manual"`, "", 2, nil},
		{"mode", "off", `"off"`, "", 0, nil},
		{"mode", "sleep", "null", `words of the point: expected \"off\" (0), \"Auto\" (1) or \"manual\" (2)`, 0, nil},
		{"mode", "7", "null", "7 is not in the map of the point", 0, nil},
		{"nothing", "1", "null", "no point here", 0, nil},
	} {
		a.set(c.point, c.payload, c.args...)
		count[c.point]++
		r := a.result(sub, c.point, count[c.point])
		if r.OK != (c.fault == "") || string(r.Value) != c.value || !strings.Contains(strings.ReplaceAll(r.Error, `"`, `\"`), c.fault) {
			t.Errorf("%s = %q: %s", c.point, c.payload, r.encode())
		}
		if c.point != "nothing" && a.slave.Value(c.point) != c.holds {
			t.Errorf("%s = %q: the device holds %v", c.point, c.payload, a.slave.Value(c.point))
		}
	}
	// To clear what was left retained, as the error asks for, is no command.
	publish(t, a.port, "-t", "board/heater/set", "-n", "-r")
	publish(t, a.port, "-t", "board/heater/set", "-n", "-r", "-q", "1")
	a.set("heater", "off")
	if r := a.result(sub, "heater", count["heater"]+1); !r.OK {
		t.Errorf("after clearing: %s", r.encode())
	}
}

// TestCommandsInTheLog looks for what was asked, what was sent, and what was read
// back, and for whom a command was that no point takes.
func TestCommandsInTheLog(t *testing.T) {
	a := newActuators(t, `topic = "plant/board"`, "")
	g := a.start("--quiet")
	g.awaitLine("device is online", 20*time.Second)
	for _, c := range []struct{ point, payload, done, want string }{
		{"fan", "on", "done", "device=board point=fan asked=true written=true took="},
		{"valve", "400", "done", "device=board point=valve asked=400 written=100 value=100 took="},
		{"mode", "auto", "done", "device=board point=mode asked=Auto written=Auto value=Auto took="},
		{"mode", "9", "failed", "device=board point=mode asked=9 error="},
		{"raw0", "5", "failed", "device=board point=raw0 asked=5 error="},
		{"heater", "on", "failed", `device=board point=heater asked=true clear="mosquitto_pub -r -n -t 'plant/board/heater/set'" error=`},
	} {
		args := []string{"-t", "plant/board/" + c.point + "/set", "-m", c.payload, "-q", "1"}
		if c.point == "heater" {
			args = append(args, "-r")
		}
		publish(t, a.port, args...)
		if line := g.awaitLine(c.want, 20*time.Second); !strings.Contains(line, "command "+c.done) {
			t.Errorf("%s = %s: %s, want it %s", c.point, c.payload, line, c.done)
		}
	}
}

// TestCommandRequestResponse asks as MQTT 5 means it, with mosquitto_rr.
func TestCommandRequestResponse(t *testing.T) {
	a := newActuators(t, "", "")
	a.start("--quiet").awaitLine("device is online", 20*time.Second)
	sub := a.results()
	for _, response := range []string{"answers/me", "board/valve/result"} {
		line := a.ask("valve", `{"value":42,"id":"r"}`, response)
		if !strings.HasPrefix(line, response+" c0ffee ") || !strings.Contains(line, `"ok":true`) || !strings.Contains(line, `"value":42`) {
			t.Errorf("response on %s: %s", response, line)
		}
	}
	// A result must not be a command itself.
	publish(t, a.port, "-V", "5", "-t", "board/valve/set", "-m", "7", "-D", "publish", "response-topic", "board/heater/set")
	if r := a.result(sub, "valve", 3); !r.OK {
		t.Errorf("got %s", r.encode())
	}
	a.set("heater", "on")
	if r := a.result(sub, "heater", 1); !r.OK {
		t.Errorf("got %s", r.encode())
	}
}

// TestCommandWhileTheLineIsClosed sends commands while the adapter is unplugged.
func TestCommandWhileTheLineIsClosed(t *testing.T) {
	for _, policy := range []string{"keep", "reject"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			a := newActuators(t, "on_offline = \""+policy+"\"\nmax_command_age = \"10m\"", "")
			g := a.start("--quiet")
			g.awaitLine("device is online", 20*time.Second)
			sub := a.results()
			if err := a.field.Unplug("bus"); err != nil {
				t.Fatal(err)
			}
			g.awaitLine("device is offline", 20*time.Second)
			a.set("heater", `{"value":"on","id":"first"}`, "-q", "1")
			if policy == "reject" {
				if r := a.result(sub, "heater", 1); r.OK || r.ID != "first" || r.Error == "" {
					t.Errorf("got %s", r.encode())
				}
			}
			a.set("heater", `{"value":"off","id":"second"}`, "-q", "1")
			if r := a.result(sub, "heater", 1); r.OK || r.ID != "first" {
				t.Errorf("got %s", r.encode())
			}
			if err := a.slave.SetValue("heater", 1); err != nil {
				t.Fatal(err)
			}
			if err := a.field.Replug("bus"); err != nil {
				t.Fatal(err)
			}
			if r := a.result(sub, "heater", 2); r.ID != "second" || r.OK != (policy == "keep") {
				t.Errorf("got %s", r.encode())
			}
			if policy == "keep" {
				a.holds("heater", 0)
			}
		})
	}
}

// TestCommandOverAStop stops the gateway while a command is under way.
func TestCommandOverAStop(t *testing.T) {
	a := newActuators(t, `max_command_age = "10m"`, "")
	g := a.start("--quiet")
	g.awaitLine("device is online", 20*time.Second)
	sub := a.results("-c", "-i", "keeper")
	if err := a.slave.SetFault(sim.Fault{Kind: sim.Dead}); err != nil {
		t.Fatal(err)
	}
	asked := a.slave.Stats().Faults[sim.Dead]
	a.set("heater", `{"value":"on","id":"stop"}`, "-q", "1")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := a.slave.Wait(ctx, func() bool { return a.slave.Stats().Faults[sim.Dead] > asked }); err != nil {
		t.Fatal(err)
	}
	if code := g.terminate(10 * time.Second); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if lines, _ := sub.output(); len(parseMessages(lines)) != 1 {
		t.Errorf("answered although nothing is known: %q", lines)
	}
	if err := a.slave.SetFault(); err != nil {
		t.Fatal(err)
	}
	a.start("--quiet")
	if r := a.result(sub, "heater", 1); !r.OK || r.ID != "stop" {
		t.Errorf("got %s", r.encode())
	}
	a.holds("heater", 1)
}

// TestCommandOverAKill kills the gateway between the write and the result: the
// command comes again. Once it was answered, it does not.
func TestCommandOverAKill(t *testing.T) {
	a := newActuators(t, `max_command_age = "10m"`, "")
	g := a.start("--quiet")
	g.awaitLine("device is online", 20*time.Second)
	sub := a.results("-c", "-i", "keeper")
	// The write is carried out, and its answer comes too late for the result.
	if err := a.slave.SetFault(sim.Fault{Kind: sim.Late, Delay: 800 * time.Millisecond, Functions: []byte{5}}); err != nil {
		t.Fatal(err)
	}
	a.set("heater", `{"value":"on","id":"kill"}`, "-q", "1")
	a.holds("heater", 1)
	g.kill()
	if lines, _ := sub.output(); len(parseMessages(lines)) != 1 {
		t.Fatalf("answered before the kill: %q", lines)
	}
	if err := a.slave.SetFault(); err != nil {
		t.Fatal(err)
	}
	if err := a.slave.SetValue("heater", 0); err != nil {
		t.Fatal(err)
	}
	g = a.start("--quiet")
	if r := a.result(sub, "heater", 1); !r.OK || r.ID != "kill" {
		t.Errorf("got %s", r.encode())
	}
	if v := a.slave.Value("heater"); v != 1 {
		t.Errorf("the heater is %v", v)
	}
	for n := range 3 {
		if err := a.slave.SetValue("heater", 0); err != nil {
			t.Fatal(err)
		}
		if n > 0 { // what the kill brings back comes before this
			g.kill()
			g = a.start("--quiet")
		}
		line := a.ask("heater", `{"value":"on","id":"kill"}`, fmt.Sprint("answers/", n))
		if !strings.Contains(line, `"id":"kill","ok":true,"value":true`) {
			t.Errorf("after %d more kills: %s", n, line)
		}
		if v := a.slave.Value("heater"); v != 0 {
			t.Errorf("after %d more kills: carried out again", n)
		}
	}
}

// TestSafeValueOfTheProgram is the safe value on the wire, over a kill and
// over the absence of the device.
func TestSafeValueOfTheProgram(t *testing.T) {
	a := newActuators(t, "", `, safe = true, safe_after = "2s"`)
	g := a.start("--quiet")
	sub := a.results("-c", "-i", "keeper")
	a.holds("heater", 1)
	if r := a.result(sub, "heater", 1); !r.OK || string(r.Value) != "true" || r.ID != "" || !strings.HasPrefix(r.Reason, "safe value: no command for 2s") {
		t.Errorf("got %s", r.encode())
	}
	if said := g.awaitLine(`msg="safe value"`, 20*time.Second); strings.Count(said, "safe value") > 1 {
		t.Errorf("logged: %s", said)
	}
	g.kill()
	a.slave.Reset()
	g = a.start("--quiet")
	a.holds("heater", 1)
	sub.awaitLine(`again after the start of the gateway"`, 20*time.Second)
	g.awaitLine("device is online", 20*time.Second)
	if err := a.field.Unplug("bus"); err != nil {
		t.Fatal(err)
	}
	g.awaitLine("device is offline", 20*time.Second)
	a.slave.Reset()
	if err := a.field.Replug("bus"); err != nil {
		t.Fatal(err)
	}
	a.holds("heater", 1)
	g.awaitLine("again after the return of the device", 20*time.Second)
}

// TestResponseGoesUp commands from above, where the response is wanted,
// and then takes the upstream away.
func TestResponseGoesUp(t *testing.T) {
	above := freePort(t)
	cloud := mosquitto(t, t.TempDir(), above)
	a := newActuators(t, "", `, safe = true, safe_after = "3s"`)
	config, err := os.ReadFile(a.file)
	if err != nil {
		t.Fatal(err)
	}
	config = fmt.Appendf(config, `
[[upstream]]
name = "cloud"
url = "mqtt://127.0.0.1:%d"
out = ["board/+/result", "answers/#"]
in = ["board/+/set"]
prefix = "site7/"
keepalive = "2s"
`, above)
	if err := os.WriteFile(a.file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	g := a.start("--quiet")
	g.awaitLine("device is online", 20*time.Second)
	g.awaitLine("upstream connected", 20*time.Second)
	sub := a.results()
	p := launch(t, nil, "mosquitto_rr", "-V", "5", "-q", "1", "-p", fmt.Sprint(above), "-t", "site7/board/valve/set", "-e", "site7/answers/me",
		"-m", "42", "-D", "publish", "correlation-data", "c0ffee", "-F", "%t %D %p", "-W", "30")
	if line := p.awaitLine(`"ok"`, 30*time.Second); !strings.HasPrefix(line, "site7/answers/me c0ffee ") || !strings.Contains(line, `"value":42`) {
		t.Errorf("response: %s", line)
	}
	a.set("heater", "off")
	a.result(sub, "heater", 1)
	cloud.kill()
	a.holds("heater", 1)
	if r := a.result(sub, "heater", 2); !r.OK || r.Reason != "safe value: no command for 3s, and no upstream" {
		t.Errorf("got %s", r.encode())
	}
}
