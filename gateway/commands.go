package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice/adapters"
	"sluice/mqttcore"
)

const (
	// commandConsumer names the commands' own place in the durable log.
	commandConsumer = "commands"
	// liveLimit bounds the QoS 0 commands that wait to be taken; more are
	// dropped and logged, as nothing was promised for them.
	liveLimit = 64
	// commandWindow bounds the commands that are taken and not yet settled,
	// beside the one that may wait for each point.
	commandWindow = 256
	// settleLimit bounds the wait for the last results at a stop.
	settleLimit = 2 * time.Second
)

// commands carries out what is published to the set topics and answers on the
// result topics. It is a durable consumer of the broker: a command that was
// acknowledged is carried out or answered, across a restart too. Commands at
// QoS 0 come beside the log.
type commands struct {
	broker  *mqttcore.Broker
	clock   *clock
	log     *slog.Logger
	targets map[string]*target // by set topic
	devices []served           // what is sent below them is answered
	workers []*worker
	guarded []*target // those with a safe value
	began   time.Time // when the gateway did: nothing of this life was taken before
	// resumed tells when an upstream that can bring commands to a set topic last
	// began to send what it held unacknowledged; the zero time is never.
	resumed func(set string) time.Time

	ready    chan struct{}
	live     chan *mqttcore.Message
	finished chan finished
	settled  chan uint64   // sequence numbers whose result is durable; made by Run
	returned chan struct{} // holds one token when a device came back

	// Of Run's goroutine.
	consumer  *mqttcore.Consumer // nil while there is no room for one
	unsettled int                // results that are not yet safe
	note      note
	changed   bool // the note, since it was kept last
}

// finished is an order that a worker is done with.
type finished struct {
	*order
	adapters.Result
}

func newCommands(b *mqttcore.Broker, clock *clock, log *slog.Logger) *commands {
	return &commands{
		broker: b, clock: clock, log: log,
		targets:  map[string]*target{},
		began:    time.Now(),
		resumed:  func(string) time.Time { return time.Time{} },
		ready:    make(chan struct{}),
		live:     make(chan *mqttcore.Message, liveLimit),
		finished: make(chan finished),
		returned: make(chan struct{}, 1),
	}
}

// device makes a worker for one device. keep says whether a command for a
// device that is away waits for it; none that is older than maxAge is carried
// out.
func (c *commands) device(w adapters.Writer, keep bool, maxAge time.Duration) *worker {
	wk := &worker{commands: c, writer: w, keep: keep, maxAge: maxAge, more: make(chan struct{}, 1), back: make(chan struct{}, 1)}
	c.workers = append(c.workers, wk)
	return wk
}

// add makes a point take commands. It is called before Run.
func (c *commands) add(p *adapters.Point, set, result string, w *worker) {
	c.targets[set] = &target{point: p, set: set, result: result, worker: w}
}

// served is where a device is among the topics.
type served struct{ device, topic string }

// answerFor makes every command below a device's topic get an answer, also
// for points that it does not have or that take none.
func (c *commands) answerFor(device, topic string) {
	c.devices = append(c.devices, served{device, topic})
}

// stranger is the point that a set topic below a device would belong to.
func (c *commands) stranger(set string) *adapters.Point {
	for _, d := range c.devices {
		if topicMatch(d.filter(), set) {
			return &adapters.Point{Device: d.device, Name: strings.TrimSuffix(strings.TrimPrefix(set, d.topic+"/"), "/set")}
		}
	}
	return &adapters.Point{Device: set}
}

// filter matches the set topics below the device.
func (s served) filter() string { return s.topic + "/+/set" }

// filters are the subscriptions that bring all commands, each once.
func (c *commands) filters() []string {
	var all []string
	for _, d := range c.devices {
		all = append(all, d.filter())
	}
	for set := range c.targets {
		if !slices.ContainsFunc(all, func(f string) bool { return topicMatch(f, set) }) {
			all = append(all, set)
		}
	}
	return all
}

// topicMatch tells whether the filter of a device, with one + before the last
// level, matches a topic.
func topicMatch(filter, topic string) bool {
	device := strings.TrimSuffix(filter, "+/set")
	rest, below := strings.CutPrefix(topic, device)
	point, isSet := strings.CutSuffix(rest, "/set")
	return below && isSet && point != "" && !strings.Contains(point, "/")
}

// String names the task.
func (c *commands) String() string { return "commands" }

// Ready is closed when commands are taken: those at QoS 0 alone where the disk
// keeps nothing.
func (c *commands) Ready() <-chan struct{} { return c.ready }

// Run takes commands until ctx ends, then lets those under way end.
func (c *commands) Run(ctx context.Context) error {
	var filters []mqttcore.Filter
	for _, f := range c.filters() {
		filters = append(filters, mqttcore.Filter{Topic: f, QoS: 1})
	}
	for _, f := range filters {
		defer c.broker.Subscribe(f.Topic, c.listen)()
	}
	window := commandWindow + len(c.targets)
	c.settled = make(chan uint64, window)
	for _, t := range c.guarded {
		t.vigil.heard = time.Now()
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var working sync.WaitGroup
	for _, w := range c.workers {
		working.Go(func() { w.run(ctx) })
	}
	promised := make(chan opened, 1)
	working.Go(func() { promised <- c.open(ctx, filters) })
	var wake <-chan struct{} // of consumer
	due := time.NewTimer(0)
	defer due.Stop()
	defer func() {
		if c.consumer != nil {
			c.consumer.Close()
		}
	}()

	open := 0     // commands taken and not settled
	fresh := true // safe values of before the start were not seen to
	for ctx.Err() == nil {
		for c.consumer != nil && open < window {
			var d mqttcore.Delivery
			more, err := c.consumer.Next(&d)
			if err != nil {
				c.log.Error("commands cannot be read, those at QoS 0 are carried out", "error", err)
				c.consumer.Close()
				c.consumer, wake = nil, nil
				break
			}
			if !more {
				break
			}
			if c.take(&d) {
				open++
			}
		}
		if c.consumer != nil && fresh {
			fresh = false // what waits in the log has ended the safe state of its points
			c.restored()
		}
		if next := c.watch(); !next.IsZero() {
			due.Reset(time.Until(next))
		}
		c.keepNote()
		select {
		case <-ctx.Done():
		case <-due.C:
		case <-c.returned:
			c.cameBack()
		case o := <-promised:
			if o.err != nil && ctx.Err() == nil {
				stop()
				c.drain(&working)
				return o.err
			}
			if c.consumer = o.consumer; c.consumer != nil {
				wake = c.consumer.Wake()
				c.recall()
			}
		case <-wake:
		case m := <-c.live:
			c.carry(&order{at: time.Now(), props: m.Properties}, m.Topic, m.Payload, m.Retained)
		case f := <-c.finished:
			c.report(f.order, f.Result)
		case seq := <-c.settled:
			c.acknowledge(seq)
			open--
		}
	}
	c.drain(&working)
	c.keepNote()
	late := time.NewTimer(settleLimit)
	defer late.Stop()
	for c.unsettled > 0 {
		select {
		case seq := <-c.settled:
			c.acknowledge(seq)
		case <-late.C:
			return nil // what is not settled comes again after the start
		}
	}
	return nil
}

// opened is how opening the durable consumer ended.
type opened struct {
	consumer *mqttcore.Consumer
	err      error
}

// open opens the durable consumer. A full disk keeps commands from being
// promised, not the gateway from starting: those at QoS 0 come all the same.
func (c *commands) open(ctx context.Context, filters []mqttcore.Filter) opened {
	began := sync.OnceFunc(func() { close(c.ready) })
	consumer, err := c.broker.AwaitConsumer(ctx, commandConsumer, filters, func(why error) {
		c.log.Error("commands at QoS 1 and 2 wait for room in the store", "why", why)
		began()
	})
	if err != nil && c.broker.DiskFault() != nil {
		c.log.Error("commands at QoS 1 and 2 are refused, those at QoS 0 are carried out", "why", err)
		began()
		return opened{}
	}
	if err == nil {
		consumer.Prompt()
		began()
	}
	return opened{consumer, err}
}

// drain takes what the workers are done with until all have ended. What waits
// then is in the log and comes again, but for commands at QoS 0.
func (c *commands) drain(working *sync.WaitGroup) {
	ended := make(chan struct{})
	go func() {
		working.Wait()
		close(ended)
	}()
	for {
		select {
		case f := <-c.finished:
			c.report(f.order, f.Result)
			continue
		case <-ended:
		}
		break
	}
	for _, w := range c.workers {
		for o := w.pop(); o != nil; o = w.pop() {
			if o.seq == 0 && o.safe == "" {
				c.refuse(o, adapters.ErrStopping)
			}
		}
	}
}

// recall takes up what was kept for this start.
func (c *commands) recall() {
	kept := c.consumer.Note()
	if kept == "" {
		return
	}
	if err := json.Unmarshal([]byte(kept), &c.note); err != nil {
		c.log.Error("what is known of earlier commands cannot be read: what comes twice may be carried out twice", "error", err)
		c.note = note{}
		return
	}
	c.note.Seqs = slices.DeleteFunc(c.note.Seqs, func(seq uint64) bool { return seq <= c.consumer.Base() })
	for i := range c.note.Done {
		d := &c.note.Done[i]
		if t := c.targets[d.Set]; t != nil {
			ended, _ := time.Parse(timeLayout, d.Result.Time) // of an unknown form: long ago
			t.ids.add(&remembered{key: d.Key, asked: d.Asked, past: d.Past, result: &d.Result, wall: ended})
		}
	}
	for _, t := range c.guarded {
		t.vigil.safe = t.vigil.safe || slices.Contains(c.note.Safe, t.set)
	}
}

// keepNote keeps the note for the next start, if it has changed.
func (c *commands) keepNote() {
	if !c.changed || c.consumer == nil {
		return
	}
	c.changed = false
	c.note.Safe = nil
	for _, t := range c.guarded {
		if t.vigil.safe {
			c.note.Safe = append(c.note.Safe, t.set)
		}
	}
	c.consumer.SetNote(c.note.encode(), func(err error) {
		if err != nil {
			c.log.Error("what became of commands is not kept for the next start", "error", err)
		}
	})
}
