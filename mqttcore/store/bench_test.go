package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

var payload100 = make([]byte, 100)

func benchStore(b *testing.B, o Options) (*running, SID) {
	o.Dir = b.TempDir()
	r := start(b, o)
	return r, r.session("bench")
}

// BenchmarkPublish is durable publishes by so many publishers that each wait
// for one to be durable before the next.
func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{1, 64, 1024} {
		b.Run(fmt.Sprint("publishers=", n), func(b *testing.B) {
			r, sid := benchStore(b, Options{})
			topic := "home/floor1/meter/voltage"
			before := r.Stats()
			b.ReportAllocs()
			b.ResetTimer()
			var left sync.WaitGroup
			work := make(chan struct{}, n)
			for range n {
				left.Go(func() {
					m := &Message{Topic: topic, Payload: payload100, QoS: 1, Routes: []Route{{Session: sid, QoS: 1}}}
					c := make(chan error, 1)
					done := func(err error) { c <- err }
					for range work {
						r.Append(m, done)
						if err := <-c; err != nil {
							b.Error(err)
						}
					}
				})
			}
			for range b.N {
				work <- struct{}{}
			}
			close(work)
			left.Wait()
			b.StopTimer()
			report(b, before, r.Stats())
		})
	}
}

// BenchmarkPipeline is one publisher that never waits but for room.
func BenchmarkPipeline(b *testing.B) {
	r, sid := benchStore(b, Options{})
	m := &Message{Topic: "home/floor1/meter/voltage", Payload: payload100, QoS: 1, Routes: []Route{{Session: sid, QoS: 1}}}
	before := r.Stats()
	b.ReportAllocs()
	b.ResetTimer()
	flood(b, r, m, b.N)
	b.StopTimer()
	report(b, before, r.Stats())
}

func flood(b testing.TB, r *running, m *Message, n int) {
	var left sync.WaitGroup
	left.Add(n)
	done := func(err error) {
		if err != nil {
			b.Error(err)
		}
		left.Done()
	}
	for i := range n {
		if i%64 == 0 {
			if err := r.WaitRoom(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
		r.Append(m, done)
	}
	left.Wait()
}

func report(b *testing.B, before, after Stats) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	commits := after.Commits - before.Commits
	b.ReportMetric(float64(commits)/b.Elapsed().Seconds(), "commits/s")
	b.ReportMetric(float64(after.BytesWritten-before.BytesWritten)/float64(b.N), "disk-B/msg")
}

// BenchmarkDrain reads and acknowledges a backlog from the disk.
func BenchmarkDrain(b *testing.B) {
	r, sid := benchStore(b, Options{})
	m := &Message{Topic: "home/floor1/meter/voltage", Payload: payload100, QoS: 1, Routes: []Route{{Session: sid, QoS: 1}}}
	flood(b, r, m, b.N)
	q := r.open(sid)
	b.ReportAllocs()
	b.ResetTimer()
	var d Delivery
	for range b.N {
		if ok, err := q.Next(&d); !ok || err != nil {
			b.Fatal(ok, err)
		}
		q.Ack(d.Seq)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkFollow is one publisher and one queue that keeps up, from Append to
// Next.
func BenchmarkFollow(b *testing.B) {
	r, sid := benchStore(b, Options{})
	woken := make(chan struct{}, 1)
	q := r.OpenQueue(sid, func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	})
	m := &Message{Topic: "home/floor1/meter/voltage", Payload: payload100, QoS: 1, Routes: []Route{{Session: sid, QoS: 1}}}
	b.ReportAllocs()
	b.ResetTimer()
	var d Delivery
	for range b.N {
		r.Append(m, nil)
		<-woken
		if ok, err := q.Next(&d); !ok || err != nil {
			b.Fatal(ok, err)
		}
		q.Ack(d.Seq)
	}
}

// BenchmarkBacklog fills queues, opens what a kill would leave, drains one of them
// and then the others, and shows what that takes on the disk and in memory. A
// message is one round: -benchtime 1000000x and 10000000x.
func BenchmarkBacklog(b *testing.B) {
	for _, sessions := range []int{1, 10} {
		b.Run(fmt.Sprint("sessions=", sessions), func(b *testing.B) { backlog(b, sessions) })
	}
}

func backlog(b *testing.B, sessions int) {
	dir, killed := b.TempDir(), b.TempDir()
	r := start(b, Options{Dir: dir})
	idle := heapInUse()
	m := &Message{Topic: "home/floor1/meter/voltage", Payload: payload100, QoS: 1}
	for i := range sessions {
		m.Routes = append(m.Routes, Route{Session: r.session(fmt.Sprint(i)), QoS: 1})
	}
	b.ResetTimer()
	flood(b, r, m, b.N)
	filled := b.Elapsed()
	b.ReportMetric(float64(b.N)/filled.Seconds(), "msg/s")
	st := r.Stats()
	b.ReportMetric(float64(st.BytesWritten)/float64(b.N*(len(payload100)+len(m.Topic))), "written/B")
	b.ReportMetric(float64(st.Bytes)/float64(b.N), "disk-B/msg")
	b.ReportMetric(float64(int64(heapInUse())-int64(idle))/(1<<20), "heap-MiB")

	files, err := os.ReadDir(dir)
	for _, f := range files {
		if err != nil || f.IsDir() {
			continue
		}
		if err = os.Link(filepath.Join(dir, f.Name()), filepath.Join(killed, f.Name())); errors.Is(err, fs.ErrNotExist) {
			err = nil // an old snapshot
		}
	}
	if err == nil {
		err = os.Remove(filepath.Join(killed, "LOCK"))
	}
	if err != nil {
		b.Fatal(err)
	}
	before := time.Now()
	s, err := Open(Options{Dir: killed})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(before).Seconds(), "s/open")
	if n, _ := s.Backlog(m.Routes[0].Session); n != uint64(b.N) {
		b.Fatalf("%d messages", n)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}

	var drained time.Duration
	var d Delivery
	for i := range m.Routes {
		q := r.open(m.Routes[i].Session)
		before := time.Now()
		for range b.N {
			if ok, err := q.Next(&d); !ok || err != nil {
				b.Fatal(ok, err)
			}
			q.Ack(d.Seq)
		}
		drained += time.Since(before)
	}
	b.ReportMetric(float64(b.N*sessions)/drained.Seconds(), "drained/s")
	// Two snapshots must have been made before all can be recycled.
	for late := time.Now().Add(30 * time.Second); r.Stats().Bytes > 2*defSegmentSize && time.Now().Before(late); {
		time.Sleep(100 * time.Millisecond)
	}
	b.ReportMetric(float64(r.Stats().Bytes)/(1<<20), "left-MiB")
}

// BenchmarkTrickle commits each message alone, for a session that is away: what
// that takes on the disk once it is packed, and what packing writes beside.
func BenchmarkTrickle(b *testing.B) {
	r, sid := benchStore(b, Options{MaxBytes: 256 << 20})
	m := &Message{Topic: "home/floor1/meter/voltage", Payload: payload100, QoS: 1, Routes: []Route{{Session: sid, QoS: 1}}}
	before := r.Stats()
	b.ResetTimer()
	for range b.N {
		if err := r.AppendSync(b.Context(), m); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	st := r.Stats()
	report(b, before, st)
	b.ReportMetric(float64(st.Bytes)/(1<<20), "disk-MiB")
	b.ReportMetric(float64(st.Repacked), "packed")
	b.ReportMetric(float64(st.Dropped[ReasonQuota]), "dropped")
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}
