package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/adapters"
	"sluice/adapters/line"
	"sluice/adapters/sim"
)

// share runs a poller, its line and a door until the test ends.
func share(t *testing.T, cfg line.Config, writes bool, sink adapters.Sink, devices ...DeviceConfig) *Door {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	l := line.New(cfg, log)
	p := NewPoller(l, devices, sink, log)
	d := NewDoor(p, DoorConfig{Listen: "127.0.0.1:0", Writes: writes})
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	for _, run := range []func(context.Context) error{l.Run, p.Run, d.Run} {
		group.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { cancel(); group.Wait() })
	<-d.Ready()
	return d
}

// caller is another master at a door.
type caller struct {
	t    *testing.T
	conn net.Conn
	n    uint16 // of transactions
}

func call(t *testing.T, d *Door) *caller {
	t.Helper()
	conn, err := net.Dial("tcp", d.Stats().Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &caller{t: t, conn: conn}
}

func (c *caller) send(unit byte, pdu ...byte) {
	c.t.Helper()
	c.n++
	frame := binary.BigEndian.AppendUint16(nil, c.n)
	frame = binary.BigEndian.AppendUint16(append(frame, 0, 0), uint16(1+len(pdu)))
	if _, err := c.conn.Write(append(append(frame, unit), pdu...)); err != nil {
		c.t.Fatal(err)
	}
}

// receive gives the answer to the request sent last, in hexadecimal digits.
func (c *caller) receive(unit byte) string {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(testPatience))
	var head [7]byte
	if _, err := io.ReadFull(c.conn, head[:]); err != nil {
		c.t.Fatal(err)
	}
	pdu := make([]byte, binary.BigEndian.Uint16(head[4:])-1)
	if _, err := io.ReadFull(c.conn, pdu); err != nil {
		c.t.Fatal(err)
	}
	if binary.BigEndian.Uint16(head[:]) != c.n || head[2] != 0 || head[3] != 0 || head[6] != unit {
		c.t.Fatalf("header % x of the answer to transaction %d, unit %d", head, c.n, unit)
	}
	return fmt.Sprintf("% x", pdu)
}

func (c *caller) ask(unit byte, pdu ...byte) string {
	c.t.Helper()
	c.send(unit, pdu...)
	return c.receive(unit)
}

func (c *caller) expect(want string, unit byte, pdu ...byte) {
	c.t.Helper()
	if got := c.ask(unit, pdu...); got != want {
		c.t.Errorf("unit %d answers % x with %s, want %s", unit, pdu, got, want)
	}
}

func word(n uint16) []byte { return []byte{byte(n >> 8), byte(n)} }

// mbpoll and the gateway use a line at the same time, and neither is kept
// from it nor given the other's answers.
func TestDoorForMbpollWhilePolling(t *testing.T) {
	t.Parallel()
	slaves, devices := meters(3, []uint16{0, 100}, 10, 0)
	f := simulate(t, sim.LineConfig{Name: "bus", Kind: "rtu", Baud: 115200, Slaves: slaves})
	sink := newTruth(devices, 60*20)
	cfg := (&field{}).rtu()
	cfg.Port, cfg.Timeout = f.Path("bus"), 500*ms
	d := share(t, cfg, false, sink, devices...)
	_, port, err := net.SplitHostPort(d.Stats().Address)
	if err != nil {
		t.Fatal(err)
	}
	values := func() []string {
		return mbpoll(t, 10, "-m", "tcp", "-p", port, "-t", "4", "-r", "100", "-a", "2", "127.0.0.1")
	}
	for range 5 {
		compare(t, "what the gateway polls as well", "2100 2101 2102 2103 2104 2105 2106 2107 2108 2109", values())
	}
	select {
	case <-sink.enough:
	case <-time.After(testPatience):
		t.Fatal("the polls do not go on beside mbpoll")
	}
	sink.mu.Lock()
	defer sink.mu.Unlock()
	for _, text := range sink.wrong {
		t.Error(text)
	}
	out, err := exec.Command(peer(t, "mbpoll"), "-m", "tcp", "-p", port, "-t", "4", "-0", "-r", "100", "-a", "2", "-1", "-q", "127.0.0.1", "7").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Illegal function") {
		t.Errorf("mbpoll writes through a door that is not for it: %v\n%s", err, out)
	}
	if s := d.Stats(); s.Answers < 5 || s.Refused != 1 || s.Busy+s.NoPath+s.Silent+s.Garbled != 0 {
		t.Errorf("figures %+v", s)
	}
}

// pymodbus asks pymodbus through the door every function there is.
func TestDoorForPymodbus(t *testing.T) {
	t.Parallel()
	for kind, mode := range map[line.Kind]string{line.RTU: "rtu", line.ASCII: "ascii", line.TCP: "tcp"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			cfg := line.Config{
				Name: "bus", Kind: kind, Retries: 3, Timeout: 2 * time.Second,
				Serial: line.Serial{Baud: 115200, DataBits: 8, Parity: 'N', StopBits: 1},
			}
			where := strconv.Itoa(freePort(t))
			if cfg.Port = "127.0.0.1:" + where; kind.Serial() {
				cfg.Port, where = ptyPair(t)
			}
			spawn(t, python, slaveScript(t), mode, where)
			everyFunction(t, cfg)
		})
	}
}

func everyFunction(t *testing.T, cfg line.Config) {
	r := newRecord(t)
	once := DeviceConfig{Name: "d", Unit: 7, Every: time.Hour, Points: []PointConfig{
		on("d", "masked", Holding, 90, U16), on("d", "last", Holding, 93, U16), on("d", "coil", Coil, 4, Bool), on("d", "other", Coil, 19, Bool),
	}}
	d := share(t, cfg, true, r, once)
	r.reads("d/masked", "0")
	r.reads("d/coil", "false")
	_, port, err := net.SplitHostPort(d.Stats().Address)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(python, filepath.Join("testdata", "master.py"), "tcp", port).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const want = `coils: [True, False, False, True, False, False, True, False]
discrete: [True, False, False, True, False, False, True, False]
holding: [54321, 0]
input: [53191, 0]
write coil: 4 True
write register: 90 4660
write coils: 5 3
write registers: 91 3
mask write: 65280 85
read and write: [4693, 1, 2, 7]
identification: {0: b'vendor', 1: b'product', 2: b'1.0'}
missing: exception 2
nobody: exception 11
`
	if string(out) != want {
		t.Errorf("pymodbus was told\n%swant\n%s", out, want)
	}
	// What was written is read at once, not an hour later.
	r.reads("d/masked", "4693")
	r.reads("d/last", "7")
	r.reads("d/coil", "true")
	if s := d.Stats(); s.Answers != 12 || s.Silent != 1 || s.Connects != 1 {
		t.Errorf("figures %+v", s)
	}
}

// Whatever goes wrong on the bus, neither another master nor the gateway gets
// a value that is not in the register asked for.
func TestDoorTellsNoWrongValueUnderFaults(t *testing.T) {
	t.Parallel()
	slaves, devices := meters(2, []uint16{0, 100, 200}, 10, 0,
		sim.Fault{Kind: sim.Late, Probability: 0.05, Delay: 50 * ms},
		sim.Fault{Kind: sim.Late, Probability: 0.03, Delay: 120 * ms},
		sim.Fault{Kind: sim.BadCRC, Probability: 0.05},
		sim.Fault{Kind: sim.GarbageBefore, Probability: 0.05},
		sim.Fault{Kind: sim.WrongCount, Probability: 0.03})
	f := simulate(t, sim.LineConfig{Name: "bus", Kind: "rtu", Baud: 115200, Slaves: slaves})
	sink := newTruth(devices[:1], 300) // the door only asks the other one
	cfg := (&field{}).rtu()
	cfg.Port, cfg.Timeout = f.Path("bus"), 40*ms
	d := share(t, cfg, false, sink, devices[:1]...)
	var masters sync.WaitGroup
	for m := range 2 {
		c := call(t, d)
		masters.Go(func() {
			good := 0
			for i := 0; i < 40 || good < 15; i++ {
				unit, address := byte(1+(i+m)%2), uint16(i%3)*100
				c.send(unit, 3, byte(address>>8), byte(address), 0, 10)
				got := c.receive(unit)
				want := []byte{3, 20}
				for r := range uint16(10) {
					want = append(want, word(uint16(unit)*1000+address+r)...)
				}
				switch {
				case got == fmt.Sprintf("% x", want):
					good++
				case got != "83 0b" && got != "83 06":
					t.Errorf("unit %d, registers from %d: %s", unit, address, got)
				}
			}
		})
	}
	masters.Wait()
	select {
	case <-sink.enough:
	case <-time.After(testPatience):
		t.Fatal("the polls starve")
	}
	sink.mu.Lock()
	defer sink.mu.Unlock()
	for _, text := range sink.wrong {
		t.Error(text)
	}
	if s := d.Stats(); s.Silent == 0 {
		t.Errorf("no fault was met: %+v", s)
	}
}

func TestDoorExceptions(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	s := f.add(1)
	s.registers[0] = 0x1234
	d := share(t, f.rtu(), false, r, DeviceConfig{Name: "a", Unit: 1, Every: 20 * ms, Points: []PointConfig{on("a", "v", Holding, 0, U16)}})
	r.reads("a/v", "4660")
	c := call(t, d)
	c.expect("03 02 12 34", 1, 3, 0, 0, 0, 1)
	c.expect("83 02", 1, 3, 0, 9, 0, 1)                       // the device's own
	c.expect("83 0b", 5, 3, 0, 0, 0, 1)                       // nobody there
	c.expect("83 0a", 0, 3, 0, 0, 0, 1)                       // nobody can be there
	c.expect("83 03", 1, 3, 0, 0, 0, 126)                     // more than an answer holds
	c.expect("90 03", 1, 16, 0, 0, 0, 2, 2, 0, 0)             // lengths that contradict each other
	c.expect("88 01", 1, 8, 0, 0, 0, 0)                       // a function that is not handed on
	c.expect("86 01", 1, 6, 0, 0, 0, 1)                       // writing is not allowed
	c.expect("97 01", 1, 23, 0, 0, 0, 1, 0, 0, 0, 1, 2, 0, 0) // nor is it in disguise
	if got := s.registers[0]; got != 0x1234 {
		t.Errorf("the register was written: %#x", got)
	}
	f.unplug()
	r.offline("a")
	c.expect("83 0a", 1, 3, 0, 0, 0, 1)
	f.plug()
	r.online("a")
	c.expect("03 02 12 34", 1, 3, 0, 0, 0, 1)
}

// A door has room for so many clients and so many requests; what is beyond
// is refused at once, and the polls go on.
func TestDoorIsBounded(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	f.add(1).registers[0] = 7
	cfg := f.rtu()
	cfg.Timeout = 200 * ms
	d := share(t, cfg, false, r, DeviceConfig{Name: "a", Unit: 1, Points: []PointConfig{on("a", "v", Holding, 0, U16)}})
	r.reads("a/v", "7")
	var callers []*caller
	for range doorClients {
		c := call(t, d)
		c.expect("03 02 00 07", 1, 3, 0, 0, 0, 1)
		callers = append(callers, c)
	}
	over := call(t, d)
	_ = over.conn.SetReadDeadline(time.Now().Add(testPatience))
	if _, err := over.conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a client too many: %v", err)
	}
	for _, c := range callers {
		c.send(5, 3, 0, 0, 0, 1) // nobody there
	}
	count := map[string]int{}
	for _, c := range callers {
		count[c.receive(5)]++
	}
	if count["83 06"] == 0 || count["83 0b"] == 0 || count["83 06"]+count["83 0b"] != doorClients {
		t.Errorf("%d requests at once were answered with %v", doorClients, count)
	}
	var asked int
	f.with(func() { asked = f.asked[1] })
	if asked < count["83 0b"] {
		t.Errorf("%d polls beside %d requests that met silence", asked, count["83 0b"])
	}
	if s := d.Stats(); s.TurnedAway != 1 || int(s.Busy) != count["83 06"] || s.Clients != doorClients {
		t.Errorf("figures %+v", s)
	}
}

// However long the devices take that another master asks, one request after
// the other, the polls that wait have their time too: many for each request.
func TestDoorTakesHalfTheTime(t *testing.T) {
	t.Parallel()
	const every = 20 * ms
	for _, test := range []struct {
		name string
		unit byte // asked by the other master
		want string
	}{
		{"slow device", 2, "03 02 00 05"},
		{"dead unit", 9, "83 0b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			value := func(n float64) []sim.PointConfig {
				return []sim.PointConfig{{Name: "v", Table: "holding", Wave: sim.Wave{Base: n}}}
			}
			f := simulate(t, sim.LineConfig{Name: "bus", Kind: "rtu", Baud: 115200, Slaves: []sim.SlaveConfig{
				{Unit: 1, Turnaround: ms, Points: value(7)}, {Unit: 2, Turnaround: 150 * ms, Points: value(5)}}})
			r, cfg := newRecord(t), (&field{}).rtu()
			cfg.Port, cfg.Timeout = f.Path("bus"), 250*ms
			d := share(t, cfg, false, r, DeviceConfig{Name: "a", Unit: 1, Every: every, Points: []PointConfig{on("a", "v", Holding, 0, U16)}})
			polls := func() (n int) {
				r.holds(func() bool { n = len(r.all); return true })
				return n
			}
			r.until("learning how fast the device is", func() bool { return len(r.all) > 2*learnFrom })
			c := call(t, d)
			const requests = 12
			before := polls()
			for range requests {
				c.expect(test.want, test.unit, 3, 0, 0, 0, 1)
			}
			if made := polls() - before; made < 2*requests {
				t.Errorf("%d polls beside %d requests", made, requests)
			}
		})
	}
}

// A device that is known to be away is asked for another master once a
// second; what comes sooner is answered without the line.
func TestDoorSparesTheLineOfTheDead(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	f.add(1).registers[0] = 7
	f.add(2).dead = true
	d := share(t, f.rtu(), false, r,
		DeviceConfig{Name: "a", Unit: 1, Every: 10 * ms, Points: []PointConfig{on("a", "v", Holding, 0, U16)}},
		DeviceConfig{Name: "b", Unit: 2, Every: time.Hour, Points: []PointConfig{on("b", "v", Input, 0, U16)}})
	r.offline("b")
	c := call(t, d)
	const most = 200
	for range most {
		c.expect("83 0b", 2, 3, 0, 0, 0, 1)
	}
	var asked int
	f.with(func() { asked = f.asked[2] })
	if s := d.Stats(); s.Silent != most || asked > most/2 {
		t.Errorf("asked %d times; figures %+v", asked, s)
	}
	f.with(func() { s := f.slaves[2]; s.dead = false; s.registers[0] = 9 })
	r.online("b")
	c.expect("03 02 00 09", 2, 3, 0, 0, 0, 1)
}

// Who speaks something else is parted from.
func TestDoorForStrangers(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	f.add(1).registers[0] = 7
	d := share(t, f.rtu(), false, r)
	c := call(t, d)
	if _, err := io.WriteString(c.conn, "GET / HTTP/1.1\r\nHost: sluice\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(testPatience))
	if n, err := c.conn.Read(make([]byte, 1)); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes, %v", n, err)
	}
	call(t, d).expect("03 02 00 07", 1, 3, 0, 0, 0, 1) // others are not concerned, nor need devices be configured
	if s := d.Stats(); s.Garbled != 1 {
		t.Errorf("figures %+v", s)
	}
}

func TestDoorAddressTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	log := slog.New(slog.DiscardHandler)
	l := line.New((&field{}).rtu(), log)
	d := NewDoor(NewPoller(l, nil, newRecord(t), log), DoorConfig{Listen: taken.Addr().String()})
	if err := d.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "give another address as share") {
		t.Errorf("error %v", err)
	}
}

// An answer with texts in it has its length from the texts.
func TestIdentificationLength(t *testing.T) {
	t.Parallel()
	request := []byte{43, 14, 1, 0}
	answer := []byte{43, 14, 1, 1, 0, 0, 2, 0, 3, 'a', 'b', 'c', 1, 1, 'x'}
	for n := 1; n < len(answer); n++ {
		if size, ok := check(request, answer[:n], false); !ok || size <= n || size > len(answer) {
			t.Errorf("after %d bytes: size %d, %v", n, size, ok)
		}
	}
	if size, ok := check(request, answer, false); !ok || size != len(answer) {
		t.Errorf("size %d of %d, %v", size, len(answer), ok)
	}
	if _, ok := check([]byte{43, 14, 2, 0}, answer, false); ok {
		t.Error("the answer to another request was taken")
	}
}
