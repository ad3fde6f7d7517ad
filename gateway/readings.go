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
	point      *adapters.Point
	topic      string // "" if they go into the device's object only
	quotedUnit string
	quotedName string
	qos        byte
	retain     bool
	change     change

	object  *object          // of its device; nil: nothing else is made of it
	roles   []role           // what it is in rounds
	polled  bool             // the gateway says when it is read
	spoken  bool             // the device does; else another master
	every   time.Duration    // the period of that; 0: as often as the line allows
	now     adapters.Reading // the newest
	waiting bool             // for the first, or the first since the device is online
	from    time.Time        // when the oldest and the newest were read that it is made of
	to      time.Time
	good    time.Time // of the last good one that was not read aside; the zero time after one that was not good
	spans             // between two of them
}

// spans is what lies between two readings of a point, if nobody says.
type spans struct {
	usual   time.Duration // the shortest of late, but for what comes twice at once; 0: not known yet
	longest time.Duration // of late
	first   time.Duration // the first
}

// add takes note of another.
func (s *spans) add(span time.Duration) {
	s.longest = max(span, s.longest-(s.longest-span)/8)
	switch {
	case span < s.longest/4:
	case s.first < s.longest/4:
		s.first = span
	case s.usual < s.longest/4:
		s.usual = min(span, s.first)
	default:
		s.usual = min(span, s.usual+(span-s.usual)/32)
	}
}

// learn takes note of how often the point comes.
func (out *outlet) learn(r adapters.Reading) {
	if r.Quality != adapters.Good {
		out.good = time.Time{}
		return
	}
	if span := r.Time.Sub(out.good); !out.good.IsZero() && span > 0 {
		out.spans.add(span)
	}
	out.good = r.Time
}

// news is what waits in the queue: a reading, or a change of availability.
type news struct {
	reading adapters.Reading
	last    bool   // of those that came together
	device  string // set for a change of availability
	online  bool
}

// guess is what is retained with an estimated time.
type guess struct {
	message mqttcore.Message
	taken   time.Time
}

// readings is the adapters' sink: it queues what they read, and publishes it
// in order. It implements adapters.Sink and task.
type readings struct {
	broker  *mqttcore.Broker
	board   *board
	clock   *clock
	log     *slog.Logger
	bare    bool // payload = "value"
	outlets map[*adapters.Point]*outlet
	objects map[string]*object // by device
	// availability is the topic for each device's availability.
	availability map[string]string
	// onPresence is told whether a device answers; it must not block.
	onPresence map[string]func(online bool)
	// estimated is what is retained with an estimated time, by topic.
	estimated map[string]guess
	outgoing  []mqttcore.Message // made and not yet with the broker
	forgotten uint64             // refusals after which all was taken for news again

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
		outlets:      map[*adapters.Point]*outlet{},
		objects:      map[string]*object{},
		availability: map[string]string{},
		onPresence:   map[string]func(bool){},
		estimated:    map[string]guess{},
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
	for i, reading := range rs {
		r.pushLocked(news{reading: reading, last: i == len(rs)-1})
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
	for r.send(ctx) {
		r.mu.Lock()
		batch := r.queue
		r.queue = nil
		r.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for i, n := range batch {
			r.take(n)
			if !r.send(ctx) {
				r.mu.Lock()
				r.queue = append(batch[i+1:], r.queue...)
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
	byTime := func(a, b guess) int { return a.taken.Compare(b.taken) }
	for _, g := range slices.SortedFunc(maps.Values(r.estimated), byTime) {
		m := g.message
		m.Properties.User = nil
		if payload, ok := rewriteTime(m.Payload, r.clock.at(g.taken)); ok {
			m.Payload = payload
			r.outgoing = append(r.outgoing, m)
		}
	}
	r.estimated = nil
	r.send(ctx)
}

// send hands what is outgoing to the broker. It reports false when ctx ended
// before there was room; the rest then is outgoing still.
func (r *readings) send(ctx context.Context) bool {
	for i, m := range r.outgoing {
		select {
		case r.window <- struct{}{}:
		case <-ctx.Done():
			r.outgoing = r.outgoing[i:]
			return false
		}
		if err := r.broker.PublishAsync(m, r.published); err != nil {
			r.published(err)
		}
	}
	clear(r.outgoing)
	r.outgoing = r.outgoing[:0]
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

// take makes of one piece of news what is to be published.
func (r *readings) take(n news) {
	if n.device != "" {
		payload := "offline"
		if n.online {
			payload = "online"
			if o := r.objects[n.device]; o != nil {
				o.online()
			}
		}
		r.outgoing = append(r.outgoing, mqttcore.Message{
			Topic: r.availability[n.device], Payload: []byte(payload), QoS: 1, Retain: true, Live: true})
		return
	}
	out := r.outlets[n.reading.Point]
	if out == nil {
		r.board.update(n.reading)
		return
	}
	if refused := r.refused.Load(); refused != r.forgotten {
		r.forgotten = refused // nobody may have what was published last
		for _, o := range r.outlets {
			o.change.known = false
		}
	}
	r.reading(out, n.reading)
	if n.last && out.object != nil {
		r.together(out.object)
	}
}

// reading takes in the reading of a point, read or computed.
func (r *readings) reading(out *outlet, reading adapters.Reading) {
	r.board.update(reading)
	news := out.change.passes(reading)
	if out.object != nil {
		out.object.note(out, reading, news)
	}
	if !news || out.topic == "" {
		return
	}
	m := mqttcore.Message{Topic: out.topic, QoS: out.qos, Retain: out.retain, Live: true}
	if !r.bare {
		r.stamp(m, reading.Time, func(at time.Time, estimated bool) []byte {
			reading.Time = at
			return appendReading(make([]byte, 0, 128), reading, out.quotedUnit, estimated)
		})
	} else if reading.Quality == adapters.Good {
		m.Payload = []byte(reading.Value.String())
		r.outgoing = append(r.outgoing, m)
	}
}

// together makes of a device as a whole what an answer brings: what is computed,
// and its object.
func (r *readings) together(o *object) {
	for _, c := range o.formulas {
		if reading, ok := c.reading(); ok {
			r.reading(c.out, reading)
			c.told()
		}
	}
	if o.ends() {
		m := mqttcore.Message{Topic: o.topic, QoS: 1, Retain: true, Live: true}
		r.stamp(m, o.newest(), func(at time.Time, estimated bool) []byte {
			return o.appendObject(make([]byte, 0, 32*len(o.points)), at, estimated)
		})
	}
	o.settle()
}

// stamp publishes m with the payload that is written with the time of what was
// taken then, and with what is needed to correct that later where it is only
// estimated.
func (r *readings) stamp(m mqttcore.Message, taken time.Time, write func(at time.Time, estimated bool) []byte) {
	_, known := r.clock.Wall()
	m.Payload = write(r.clock.at(taken), !known)
	if known {
		delete(r.estimated, m.Topic)
	} else {
		m.Properties.User = []mqttcore.UserProperty{{Key: takenProperty, Value: takenValue(r.clock.BootID(), r.clock.taken(taken))}}
		if m.Retain {
			r.estimated[m.Topic] = guess{m, taken}
		}
	}
	r.outgoing = append(r.outgoing, m)
}

// settle waits until the broker has answered for every publish.
func (r *readings) settle(ctx context.Context) error {
	for free := range publishWindow {
		select {
		case r.window <- struct{}{}:
		case <-ctx.Done():
			r.mu.Lock()
			waiting := len(r.queue) + len(r.outgoing)
			r.mu.Unlock()
			return fmt.Errorf("%d readings were not accepted within %s of the stop", waiting+len(r.window)-free, drainLimit)
		}
	}
	return nil
}
