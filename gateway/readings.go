package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice/adapters"
	"sluice/mqttcore"
)

const (
	// readingsLimit bounds the readings that wait for the broker. A stalled
	// disk then costs the oldest of them, never a poll.
	readingsLimit = 32768
	// publishWindow bounds the publishes that wait for the disk.
	publishWindow = 1024
	// drainLimit is how long the queue may take to empty at a stop.
	drainLimit = 2 * time.Second
)

// outlet is where the readings of one point go.
type outlet struct {
	topic      string
	quotedUnit string
	qos        byte
	retain     bool
}

// news is what waits in the queue: a reading, or a change of availability.
type news struct {
	reading adapters.Reading
	device  string // set for a change of availability
	online  bool
}

// readings is the adapters' sink: it queues what they read, and publishes it
// in order. It implements adapters.Sink and task.
type readings struct {
	broker  *mqttcore.Broker
	board   *board
	clock   *clock
	log     *slog.Logger
	bare    bool // payload = "value"
	outlets map[*adapters.Point]outlet
	// availability is the topic for each device's availability.
	availability map[string]string
	// onPresence is told whether a device answers; it must not block.
	onPresence map[string]func(online bool)
	// estimated are the readings that are retained with an estimated time.
	estimated map[*adapters.Point]adapters.Reading

	ready chan struct{}
	more  chan struct{} // holds one token while news waits
	mu    sync.Mutex
	queue []news

	window   chan struct{} // one token for each publish under way
	taken    atomic.Uint64
	accepted atomic.Uint64 // by the broker, durably where that is asked
	refused  atomic.Uint64 // by the broker: disk full or failed
	dropped  atomic.Uint64 // here: the broker was too slow
	broken   atomic.Bool   // the last publish was refused
}

func newReadings(b *mqttcore.Broker, board *board, clock *clock, bare bool, log *slog.Logger) *readings {
	return &readings{
		broker: b, board: board, clock: clock, log: log, bare: bare,
		outlets:      map[*adapters.Point]outlet{},
		availability: map[string]string{},
		onPresence:   map[string]func(bool){},
		estimated:    map[*adapters.Point]adapters.Reading{},
		ready:        make(chan struct{}),
		more:         make(chan struct{}, 1),
		window:       make(chan struct{}, publishWindow),
	}
}

// String names the task.
func (r *readings) String() string { return "readings" }

// Ready is closed when readings are published.
func (r *readings) Ready() <-chan struct{} { return r.ready }

// Put implements adapters.Sink.
func (r *readings) Put(rs []adapters.Reading) {
	r.taken.Add(uint64(len(rs)))
	r.mu.Lock()
	for _, reading := range rs {
		r.pushLocked(news{reading: reading})
	}
	r.mu.Unlock()
	poke(r.more)
}

// Availability implements adapters.Sink.
func (r *readings) Availability(device string, online bool, reason string) {
	r.board.present(device, online, reason, time.Now())
	r.mu.Lock()
	r.pushLocked(news{device: device, online: online})
	r.mu.Unlock()
	poke(r.more)
	if tell := r.onPresence[device]; tell != nil {
		tell(online)
	}
}

// pushLocked queues n; a full queue loses its oldest reading.
func (r *readings) pushLocked(n news) {
	if len(r.queue) >= readingsLimit {
		r.queue = r.queue[1:]
		if r.dropped.Add(1) == 1 {
			r.log.Error("readings dropped: the broker does not keep up", "limit", readingsLimit)
		}
	}
	r.queue = append(r.queue, n)
}

// Run publishes until ctx ends, then empties the queue within a bound.
func (r *readings) Run(ctx context.Context) error {
	close(r.ready)
	learned := r.clock.learned
	for {
		select {
		case <-r.more:
			r.publishAll(ctx)
		case <-learned:
			learned = nil
			r.correct(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainLimit)
			defer cancel()
			r.publishAll(last)
			return r.settle(last)
		}
	}
}

// publishAll publishes what waits now and what comes meanwhile.
func (r *readings) publishAll(ctx context.Context) {
	for {
		r.mu.Lock()
		batch := r.queue
		r.queue = nil
		r.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for i, n := range batch {
			if !r.publish(ctx, n) {
				r.mu.Lock()
				r.queue = append(batch[i:], r.queue...)
				r.mu.Unlock()
				poke(r.more)
				return
			}
		}
	}
}

// correct publishes what is retained with an estimated time again, with the
// right one. It comes before all that was read since.
func (r *readings) correct(ctx context.Context) {
	last := slices.SortedFunc(maps.Values(r.estimated), func(a, b adapters.Reading) int { return a.Time.Compare(b.Time) })
	for _, reading := range last {
		if !r.publish(ctx, news{reading: reading}) {
			return
		}
	}
	r.estimated = nil
}

// publish hands one piece of news to the broker. It reports false when ctx
// ended before there was room.
func (r *readings) publish(ctx context.Context, n news) bool {
	m, ok := r.message(n)
	if !ok {
		return true
	}
	select {
	case r.window <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	if err := r.broker.PublishAsync(m, r.published); err != nil {
		r.published(err)
	}
	return true
}

// published is told by the broker how a publish ended.
func (r *readings) published(err error) {
	<-r.window
	if err == nil {
		r.accepted.Add(1)
		if r.broken.CompareAndSwap(true, false) {
			r.log.Info("readings are accepted again", "refused", r.refused.Load())
		}
		return
	}
	r.refused.Add(1)
	if r.broken.CompareAndSwap(false, true) {
		r.log.Error("reading refused", "error", err)
	}
}

// message makes the MQTT message, or false where there is nothing to say.
func (r *readings) message(n news) (mqttcore.Message, bool) {
	if n.device != "" {
		payload := "offline"
		if n.online {
			payload = "online"
		}
		return mqttcore.Message{Topic: r.availability[n.device], Payload: []byte(payload), QoS: 1, Retain: true, Live: true}, true
	}
	r.board.update(n.reading)
	out, known := r.outlets[n.reading.Point]
	if !known {
		return mqttcore.Message{}, false
	}
	m := mqttcore.Message{Topic: out.topic, QoS: out.qos, Retain: out.retain, Live: true}
	if r.bare {
		if n.reading.Quality != adapters.Good {
			return mqttcore.Message{}, false
		}
		m.Payload = []byte(n.reading.Value.String())
	} else {
		r.stamp(&m, n.reading, out.quotedUnit)
	}
	return m, true
}

// stamp writes the payload with its time, and what is needed to correct that
// later where it is only estimated.
func (r *readings) stamp(m *mqttcore.Message, reading adapters.Reading, quotedUnit string) {
	_, known := r.clock.Wall()
	taken := reading.Time
	reading.Time = r.clock.at(taken)
	m.Payload = appendReading(make([]byte, 0, 128), reading, quotedUnit, !known)
	if known {
		delete(r.estimated, reading.Point)
		return
	}
	m.Properties.User = []mqttcore.UserProperty{{Key: takenProperty, Value: takenValue(r.clock.BootID(), r.clock.taken(taken))}}
	if m.Retain {
		reading.Time = taken
		r.estimated[reading.Point] = reading
	}
}

// settle waits until the broker has answered for every publish.
func (r *readings) settle(ctx context.Context) error {
	for free := range publishWindow {
		select {
		case r.window <- struct{}{}:
		case <-ctx.Done():
			r.mu.Lock()
			waiting := len(r.queue)
			r.mu.Unlock()
			return fmt.Errorf("%d readings were not accepted within %s of the stop", waiting+len(r.window)-free, drainLimit)
		}
	}
	return nil
}
