package mqttcore

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"sluice/mqttcore/packet"
)

// holding is what a process holds while nothing happens.
type holding struct {
	heap                    uint64
	goroutines, descriptors int
}

func held(t testing.TB) holding {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return holding{liveHeap(), runtime.NumGoroutine(), len(fds)}
}

// visit is one client that comes, subscribes, publishes and goes: some say
// goodbye, some have wills, some leave sessions behind that they take up again
// in the next round.
func (r *rig) visit(n int) error {
	nc, err := net.DialTimeout("tcp", r.addr(), patience)
	if err != nil {
		return err
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(patience))
	v := packet.V311
	if n%2 == 0 {
		v = packet.V5
	}
	p := &packet.Connect{Version: v, CleanStart: true, ClientID: fmt.Sprint("visitor-", n), KeepAlive: 30}
	if n%10 == 0 {
		keep(p)
	}
	if n%3 == 0 {
		p.Will = &packet.Will{Topic: "wills", Payload: []byte("gone")}
	}
	filter := fmt.Sprint("visit/", n)
	b := p.Append(nil, v)
	b = (&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: []byte(filter), QoS: 0}}}).Append(b, v)
	b = message(filter, "self", 0, 0).Append(b, v)
	b = (&packet.Ping{Type: packet.PINGREQ}).Append(b, v)
	if n%4 != 0 {
		b = (&packet.Disconnect{}).Append(b, v)
	}
	if _, err := nc.Write(b); err != nil {
		return err
	}
	got, last := 0, [2]byte{}
	for buf := make([]byte, 256); last != [2]byte{0xd0, 0}; { // PINGRESP is the last it gets
		k, err := nc.Read(buf)
		for _, x := range buf[:k] {
			last = [2]byte{last[1], x}
		}
		if got += k; err != nil && (err != io.EOF || last != [2]byte{0xd0, 0}) {
			return fmt.Errorf("visitor %d after %d bytes: %w", n, got, err)
		}
	}
	return nil
}

// churn lets clients in and out, rounds times, and tells what that left
// behind after the first of them.
func churn(t testing.TB, clients, rounds int) (before, after holding) {
	t.Helper()
	r := start(t, Config{MaxConnections: clients + 10, SysInterval: -1})
	others := steady(r)
	for round := range rounds {
		var all sync.WaitGroup
		errs := make(chan error, clients)
		lane := make(chan int)
		for range 50 {
			all.Go(func() {
				for n := range lane {
					if err := r.visit(n); err != nil {
						errs <- err
					}
				}
			})
		}
		for n := range clients {
			lane <- n
		}
		close(lane)
		all.Wait()
		close(errs)
		for err := range errs {
			t.Fatalf("round %d: %v", round, err)
		}
		others.flows(1)
		await(t, "all visitors have gone", func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return len(r.conns) == 2
		})
		if round == 0 || round == rounds-1 {
			before, after = after, held(t)
		}
	}
	others.finish()
	if s := r.Stats(); s.Connects != uint64(clients*rounds+2) || s.Sessions != 2+(clients+9)/10 || s.ProtocolErrors > 0 {
		t.Errorf("%d connects, %d sessions, %d errors", s.Connects, s.Sessions, s.ProtocolErrors)
	}
	r.idle()
	r.stop()
	return before, after
}

// TestChurn: clients come and go for long, and nothing of them stays.
func TestChurn(t *testing.T) {
	const clients, rounds = 300, 10
	before, after := churn(t, clients, rounds)
	growth := int64(after.heap - before.heap)
	t.Logf("%d connections: %+d bytes, %+d goroutines, %+d descriptors", clients*(rounds-1), growth,
		after.goroutines-before.goroutines, after.descriptors-before.descriptors)
	// What the log keeps of its end in memory (1 MiB) fills meanwhile; a
	// connection that stays, or only its buffer, is more than 1 KiB.
	if growth > 1<<20+clients*(rounds-1)*512 {
		t.Errorf("the heap grew by %d bytes", growth)
	}
	// A worker of the pair's or the runtime's may be up at the moment.
	if after.goroutines > before.goroutines+3 || after.descriptors > before.descriptors+2 {
		t.Errorf("%d goroutines and %d descriptors, before %d and %d",
			after.goroutines, after.descriptors, before.goroutines, before.descriptors)
	}
}

// BenchmarkChurn lets 1,000 clients in and out 100 times.
func BenchmarkChurn(b *testing.B) {
	const clients, rounds = 1000, 100
	raiseFiles(b)
	for b.Loop() {
		before, after := churn(b, clients, rounds)
		b.ReportMetric(float64(int64(after.heap-before.heap))/(clients*(rounds-1)), "B/connect")
		b.ReportMetric(float64(after.goroutines-before.goroutines), "goroutines")
		b.ReportMetric(float64(after.descriptors-before.descriptors), "descriptors")
	}
	b.ReportMetric(float64(b.N)*clients*rounds/b.Elapsed().Seconds(), "connects/s")
}
