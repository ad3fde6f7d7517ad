package modbus

import (
	"net"
	"testing"
	"time"

	"sluice/adapters"
	"sluice/adapters/line"
)

// A device that answers only when it is asked again holds nobody up whose
// answers look like its own.
func TestHealthyBesideOneThatIsAskedTwice(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	f.add(1).registers[0] = 5
	f.add(2).registers[0] = 6
	n := 0
	f.mangle = func(request, answer []byte) []byte {
		if request[0] == 2 {
			if n++; n%2 == 1 {
				return nil
			}
		}
		return answer
	}
	cfg := f.rtu()
	cfg.Timeout, cfg.Retries = 50*ms, 1
	point := func(device string) DeviceConfig {
		d := DeviceConfig{Name: device, Unit: 1, Points: []PointConfig{on(device, "v", Holding, 0, U16)}}
		if device == "sick" {
			d.Unit = 2
		}
		return d
	}
	start(t, cfg, r, point("healthy"), point("sick"))
	readings := map[string]int{}
	r.until("10 readings of the sick", func() bool {
		clear(readings)
		for _, reading := range r.all {
			if reading.Quality == adapters.Good {
				readings[reading.Point.Device]++
			}
		}
		return readings["sick"] >= 10
	})
	if 2*readings["healthy"] < readings["sick"] {
		t.Errorf("readings %v", readings)
	}
}

// Two devices on one unit: what the second one says is no other register's.
func TestFault13SecondAnswerDiffers(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	s := f.add(1)
	s.registers[0], s.registers[50] = 5, 6
	f.mangle = func(request, answer []byte) []byte {
		_, _ = f.master.Write(answer)
		<-time.After(3 * ms) // the turnaround of the second device
		second := []byte{1, 3, 2 * request[5]}
		for range request[5] {
			second = append(second, 0, 99)
		}
		return frame(second)
	}
	_, l := start(t, f.rtu(), r, DeviceConfig{Name: "d", Unit: 1, MaxRegisters: 2, Points: []PointConfig{on("d", "v", Holding, 0, U16), on("d", "w", Holding, 50, U16)}})
	r.only(60, map[string]string{"d/v": "5", "d/w": "6"})
	if stats := l.Stats(); stats.Late == 0 {
		t.Errorf("figures %+v", stats)
	}
}

// A gateway may send a late answer behind those to later questions. Each
// answer bears its register and a count, so that none is like another.
func TestFault01LateOutOfOrder(t *testing.T) {
	t.Parallel()
	f, r := newField(t), newRecord(t)
	f.add(1)
	n := byte(0)
	f.mangle = func(request, _ []byte) []byte {
		n++
		answer := []byte{1, 3, 2 * request[5]}
		for range request[5] {
			answer = append(answer, request[3], n)
		}
		answer = frame(answer)
		if n%5 != 0 {
			return answer
		}
		master := f.master
		time.AfterFunc(time.Duration(70+n)*ms, func() { _, _ = master.Write(answer) })
		return nil
	}
	cfg := f.rtu()
	cfg.Timeout = 60 * ms
	start(t, cfg, r, DeviceConfig{Name: "d", Unit: 1, MaxRegisters: 2, Points: []PointConfig{on("d", "v", Holding, 1, U16), on("d", "w", Holding, 50, U16), on("d", "x", Holding, 100, U16)}})
	r.until("60 good readings", func() bool { return len(r.all) >= 60 })
	r.never(func(reading adapters.Reading) bool {
		number, _ := reading.Value.Number()
		return reading.Quality == adapters.Good && int(number)>>8 != map[string]int{"v": 1, "w": 50, "x": 100}[reading.Point.Name]
	})
}

// What a device owes behind a converter comes on the next connection.
func TestFault01LateOnTheNextConnection(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	answer := func(request []byte) []byte { return frame([]byte{1, 3, 2, request[3], request[3]}) }
	go func() {
		var owed []byte
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			request := make([]byte, 8)
			for n := 0; ; n++ {
				if _, err := conn.Read(request); err != nil {
					break
				}
				if request[5] != 1 {
					_, _ = conn.Write(frame([]byte{1, 3 | exceptionBit, 2}))
					continue
				}
				if owed == nil && n == 8 {
					owed = answer(request)
					break
				}
				if owed != nil && owed[3] != request[3] {
					_, _ = conn.Write(owed)
					owed = nil
				}
				_, _ = conn.Write(answer(request))
			}
			_ = conn.Close()
		}
	}()
	r := newRecord(t)
	cfg := line.Config{Name: "bus", Kind: line.RTUTCP, Port: listener.Addr().String(), Timeout: 300 * ms, Retries: 1, Gap: line.AutoGap}
	start(t, cfg, r, DeviceConfig{Name: "d", Unit: 1, MaxRegisters: 2, Points: []PointConfig{on("d", "v", Holding, 1, U16), on("d", "w", Holding, 50, U16)}})
	r.only(60, map[string]string{"d/v": "257", "d/w": "12850"})
}
