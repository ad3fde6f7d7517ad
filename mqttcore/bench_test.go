package mqttcore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"

	"sluice/mqttcore/packet"
)

// cpu is the processor time that this process has used, in nanoseconds.
func cpu() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkPublishInProcess is from Broker.Publish to an in-process subscriber.
func BenchmarkPublishInProcess(b *testing.B) {
	r := start(b, Config{SysInterval: -1})
	n := 0
	r.Subscribe("bench/+", func(*Message) { n++ })
	m := Message{Topic: "bench/x", Payload: make([]byte, 100)}
	b.ReportAllocs()
	for b.Loop() {
		if err := r.PublishAsync(m, func(error) {}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPublishDurable is Broker.PublishAsync for a durable consumer, until
// all is on disk.
func BenchmarkPublishDurable(b *testing.B) {
	r := start(b, Config{SysInterval: -1})
	ctx := context.Background()
	if _, err := r.Consumer(ctx, "c", []Filter{{Topic: "bench/+", QoS: 1}}); err != nil {
		b.Fatal(err)
	}
	m := Message{Topic: "bench/x", Payload: make([]byte, 100), QoS: 1}
	window := make(chan error, 1000)
	done := func(err error) { window <- err }
	sent, came := 0, 0
	wait := func() {
		if err := <-window; err != nil {
			b.Fatal(err)
		}
		came++
	}
	b.ReportAllocs()
	for b.Loop() {
		for sent-came >= 1000 {
			wait()
		}
		if err := r.PublishAsync(m, done); err != nil {
			b.Fatal(err)
		}
		sent++
	}
	for came < sent {
		wait()
	}
}

// BenchmarkRoute is the way of a QoS 0 message through the broker without any
// socket: decode, match, encode, hand over.
func BenchmarkRoute(b *testing.B) {
	for _, fan := range []int{1, 20} {
		b.Run(fmt.Sprint("fan-out ", fan), func(b *testing.B) {
			r := start(b, Config{SysInterval: -1})
			var subs []*conn
			for i := range fan {
				c := &conn{b: r.Broker, version: packet.V311, maxPacket: packet.MaxRemaining}
				s := &session{}
				s.member.sess, s.member.id = s, r.memberID()
				s.conn.Store(c)
				r.tree.Set("bench/+", &s.member, grant{})
				subs = append(subs, c)
				_ = i
			}
			raw := message("bench/x", string(make([]byte, 100)), 0, 0).Append(nil, packet.V311)
			h, n, _ := packet.ParseHeader(raw)
			c := &conn{b: r.Broker, version: packet.V311, sess: &session{}}
			rt := r.takeRouter()
			b.ReportAllocs()
			for b.Loop() {
				if err := c.handle(rt, h, raw[n:]); err != nil {
					b.Fatal(err)
				}
				for _, s := range subs {
					s.out.pending.b, s.out.dirty = s.out.pending.b[:0], false
				}
				rt.dirty = rt.dirty[:0]
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*fan), "ns/delivery")
		})
	}
}

// BenchmarkLoopback is one publisher and some subscribers over TCP, in this
// process, with a window of undelivered messages. cpu-ns/delivery is for
// broker and clients together; the clients' part is small.
func BenchmarkLoopback(b *testing.B) {
	for _, k := range []struct {
		name string
		qos  byte
		subs int
	}{{"QoS 0, 1 subscriber", 0, 1}, {"QoS 0, 20 subscribers", 0, 20}, {"QoS 1, 1 subscriber", 1, 1}} {
		b.Run(k.name, func(b *testing.B) {
			r := start(b, Config{SysInterval: -1})
			got := make(chan int, 1024)
			for i := range k.subs {
				c, _ := r.connect(packet.V311, fmt.Sprint("sub", i))
				c.subscribe(k.qos, "bench/x")
				go drainPublishes(c.nc, k.qos, got)
			}
			pub, _ := r.connect(packet.V311, "pub")
			if k.qos > 0 {
				go func() { _, _ = io.Copy(io.Discard, pub.nc) }()
			}
			const batch = 100
			payload := string(make([]byte, 100))
			sent, came, pid := 0, 0, uint16(0)
			var buf []byte
			before := cpu()
			for b.Loop() {
				if sent%batch == 0 {
					buf = buf[:0]
				}
				pid = pid%60000 + 1
				sent++
				buf = message("bench/x", payload, k.qos, pid).Append(buf, packet.V311)
				if sent%batch != 0 {
					continue
				}
				pub.write(buf)
				for came < (sent-800)*k.subs {
					came += <-got
				}
			}
			if sent%batch != 0 {
				pub.write(buf)
			}
			for came < sent*k.subs {
				came += <-got
			}
			b.ReportMetric(float64(cpu()-before)/float64(came), "cpu-ns/delivery")
			b.ReportMetric(float64(came)/b.Elapsed().Seconds(), "deliveries/s")
		})
	}
}

// drainPublishes counts the packets of one size that come, and acknowledges
// them in QoS 1.
func drainPublishes(nc net.Conn, qos byte, got chan<- int) {
	size := len(message("bench/x", string(make([]byte, 100)), qos, 1).Append(nil, packet.V311))
	buf := make([]byte, 0, 64<<10)
	var acks []byte
	for {
		n, err := nc.Read(buf[len(buf):cap(buf)])
		if err != nil {
			return
		}
		buf = buf[:len(buf)+n]
		whole := len(buf) / size
		acks = acks[:0]
		for i := range whole {
			if qos > 0 {
				pid := buf[i*size+2+2+len("bench/x"):]
				acks = append(acks, 0x40, 2, pid[0], pid[1])
			}
		}
		if len(acks) > 0 {
			if _, err := nc.Write(acks); err != nil {
				return
			}
		}
		buf = buf[:copy(buf, buf[whole*size:])]
		if whole > 0 {
			got <- whole
		}
	}
}

// BenchmarkIdleConnections reports what a connection with one subscription
// costs the broker while nothing happens.
func BenchmarkIdleConnections(b *testing.B) {
	const n = 5000
	raiseFiles(b)
	for b.Loop() {
		r := start(b, Config{SysInterval: -1, MaxConnections: n + 10})
		before := memory()
		var ids []net.Conn
		for i := range n {
			nc, err := net.Dial("tcp", r.addr())
			if err != nil {
				b.Fatal(err)
			}
			p := &packet.Connect{Version: packet.V311, CleanStart: true, ClientID: fmt.Sprint("client-", i)}
			s := &packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: []byte(fmt.Sprint("idle/", i)), QoS: 1}}}
			if _, err := nc.Write(s.Append(p.Append(nil, packet.V311), packet.V311)); err != nil {
				b.Fatal(err)
			}
			ids = append(ids, nc)
		}
		want := []byte{0x20, 2, 0, 0, 0x90, 3, 0, 1, 1}
		buf := make([]byte, len(want))
		for _, nc := range ids {
			if _, err := io.ReadFull(nc, buf); err != nil || !bytes.Equal(buf, want) {
				b.Fatal(err, buf)
			}
		}
		after := memory()
		b.ReportMetric(float64(after-before)/n, "B/connection")
		for _, nc := range ids {
			_ = nc.Close()
		}
		r.stop()
	}
}

// memory is what the heap, the stacks and the runtime hold after a collection.
// Of a connection's two ends in this process, the client's is a bare net.Conn.
func memory() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse + m.MSpanInuse + m.MCacheInuse + m.OtherSys
}

func raiseFiles(b *testing.B) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		b.Fatal(err)
	}
	l.Cur = l.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil || l.Cur < 11_000 {
		b.Fatalf("needs 11,000 open files, allowed are %d: %v", l.Cur, err)
	}
}
