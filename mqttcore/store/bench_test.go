package store

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
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

// BenchmarkOpen opens a store with a million messages queued, after a clean stop
// and after a kill, and shows what they take on the disk and in memory.
func BenchmarkOpen(b *testing.B) {
	const messages = 1_000_000
	dir, killed := b.TempDir(), b.TempDir()
	r := start(b, Options{Dir: dir})
	sid := r.session("bench")
	m := &Message{Topic: "home/floor1/meter/voltage", Payload: payload100, QoS: 1, Routes: []Route{{Session: sid, QoS: 1}}}
	flood(b, r, m, messages)
	size := r.Stats().Bytes
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		b.Fatal(err)
	}
	r.stop()
	for name, dir := range map[string]string{"stopped": dir, "killed": killed} {
		b.Run(name, func(b *testing.B) {
			heap := uint64(0)
			for b.Loop() {
				b.StopTimer()
				before := heapInUse()
				b.StartTimer()
				s, err := Open(Options{Dir: dir})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if after := heapInUse(); after > before {
					heap = max(heap, after-before)
				}
				if n, _ := s.Backlog(sid); n != messages {
					b.Fatalf("%d messages", n)
				}
				s.Close()
				b.StartTimer()
			}
			b.ReportMetric(float64(size)/messages, "disk-B/msg")
			b.ReportMetric(float64(heap)/messages, "heap-B/msg")
		})
	}
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}
