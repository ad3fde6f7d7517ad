package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice/adapters"
	"sluice/mqttcore"
)

const (
	// commandConsumer names the commands' own place in the durable log.
	commandConsumer = "commands"
	// maxCommandAge is how old a command may get before it is carried out:
	// a pump that starts minutes late is worse than one that doesn't.
	maxCommandAge = 30 * time.Second
	// liveLimit bounds the QoS 0 commands that wait to be taken; more are
	// dropped and logged, as nothing was promised for them.
	liveLimit = 64
	// commandWindow bounds the commands that are taken and not yet settled.
	commandWindow = 256
	// settleLimit bounds the wait for the last results at a stop.
	settleLimit = 2 * time.Second
)

// order is one command on its way to a device.
type order struct {
	seq    uint64 // in the log; acknowledged when the result is out
	target *target
	value  adapters.Value
	id     string
	at     time.Time           // when the broker took it, with a monotonic reading
	older  bool                // it was before that, and nobody knows when
	props  mqttcore.Properties // response topic and correlation data
}

// target is a point that takes commands.
type target struct {
	point  *adapters.Point
	result string // topic
	worker *worker
}

// commands carries out what is published to the set topics and answers on the
// result topics. It is a durable consumer of the broker: a command that was
// acknowledged is carried out or answered, across a restart too. Commands at
// QoS 0 come beside the log.
type commands struct {
	broker  *mqttcore.Broker
	clock   *clock
	log     *slog.Logger
	targets map[string]*target // by set topic
	devices []string           // topics of devices: what is sent below them is answered
	workers []*worker
	ready   chan struct{}
	settled chan uint64 // sequence numbers whose result is durable
	live    chan *mqttcore.Message
}

func newCommands(b *mqttcore.Broker, clock *clock, log *slog.Logger) *commands {
	return &commands{
		broker: b, clock: clock, log: log,
		targets: map[string]*target{},
		ready:   make(chan struct{}),
		settled: make(chan uint64, commandWindow),
		live:    make(chan *mqttcore.Message, liveLimit),
	}
}

// device makes a worker for one device. keep says whether a command for a
// device that is away waits for it.
func (c *commands) device(w adapters.Writer, keep bool) *worker {
	wk := &worker{commands: c, writer: w, keep: keep, more: make(chan struct{}, 1), back: make(chan struct{}, 1)}
	c.workers = append(c.workers, wk)
	return wk
}

// add makes a point take commands. It is called before Run.
func (c *commands) add(p *adapters.Point, set, result string, w *worker) {
	c.targets[set] = &target{point: p, result: result, worker: w}
}

// answerFor makes every command below a device's topic get an answer, also
// for points that it does not have or that take none.
func (c *commands) answerFor(deviceTopic string) { c.devices = append(c.devices, deviceTopic) }

// filters are the subscriptions that bring all commands, each once.
func (c *commands) filters() []string {
	var all []string
	for _, d := range c.devices {
		all = append(all, d+"/+/set")
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

// unknown answers a command for a point that takes none.
func (c *commands) unknown(o *order, setTopic string) {
	o.target = &target{point: &adapters.Point{Device: setTopic}, result: strings.TrimSuffix(setTopic, "/set") + "/result"}
	c.refuse(o, errors.New("no point here takes commands: it is not in the configuration, or has no write"))
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
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for _, w := range c.workers {
		wg.Go(func() { w.run(ctx) })
	}
	var consumer *mqttcore.Consumer // nil while there is no room for one
	var wake <-chan struct{}
	promised := make(chan opened, 1)
	wg.Go(func() { promised <- c.open(ctx, filters) })
	defer func() {
		if consumer != nil {
			consumer.Close()
		}
	}()

	open := 0 // commands taken and not settled
	for ctx.Err() == nil {
		for consumer != nil && open < commandWindow {
			var d mqttcore.Delivery
			more, err := consumer.Next(&d)
			if err != nil {
				c.log.Error("commands cannot be read, those at QoS 0 are carried out", "error", err)
				consumer.Close()
				consumer, wake = nil, nil
				break
			}
			if !more {
				break
			}
			open++
			c.take(&d)
		}
		select {
		case <-ctx.Done():
		case o := <-promised:
			if o.err != nil && ctx.Err() == nil {
				return o.err
			}
			if consumer = o.consumer; consumer != nil {
				wake = consumer.Wake()
			}
		case <-wake:
		case m := <-c.live:
			o := &order{target: c.targets[m.Topic], at: time.Now(), props: m.Properties}
			if o.target == nil {
				c.unknown(o, m.Topic)
				continue
			}
			c.carry(o, m.Payload)
		case seq := <-c.settled:
			if consumer != nil {
				consumer.Ack(seq)
			}
			open--
		}
	}
	wg.Wait()
	late := time.NewTimer(settleLimit)
	defer late.Stop()
	for ; open > 0; open-- {
		select {
		case seq := <-c.settled:
			if consumer != nil {
				consumer.Ack(seq)
			}
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

// listen takes a QoS 0 command from the publisher's goroutine. A retained one
// from before the start is nobody's present wish.
func (c *commands) listen(m *mqttcore.Message) {
	if m.QoS != 0 || m.Retain {
		return
	}
	select {
	case c.live <- m:
	default:
		c.log.Warn("command dropped: too many at once", "topic", m.Topic, "limit", liveLimit)
	}
}

// take reads one command from the log.
func (c *commands) take(d *mqttcore.Delivery) {
	o := &order{seq: d.Seq, target: c.targets[string(d.Topic)], at: time.Now().Add(-d.Age), older: d.Older}
	if o.target == nil {
		c.unknown(o, string(d.Topic))
		return
	}
	var err error
	if o.props, err = mqttcore.ParseProperties(d.Props); err != nil {
		c.log.Warn("command with damaged properties", "topic", string(d.Topic), "error", err)
	}
	if d.Retain {
		c.refuse(o, errors.New("a retained command is not carried out: publish without retain"))
		return
	}
	c.carry(o, d.Payload)
}

// carry hands a command to its device's worker.
func (c *commands) carry(o *order, payload []byte) {
	var err error
	if o.value, o.id, err = parseCommand(payload, o.target.point); err != nil {
		c.refuse(o, err)
		return
	}
	if o.older {
		c.refuse(o, errors.New("command is too old, or may be: the machine was off since, and has no clock that tells for how long"))
		return
	}
	o.target.worker.push(o)
}

// refuse answers a command with an error.
func (c *commands) refuse(o *order, err error) {
	c.answer(o, adapters.Result{Err: err, Elapsed: time.Since(o.at), Time: time.Now()})
}

// settle tells the consumer's owner that o is done with. The channel holds as
// many as may be open, so it never blocks.
func (c *commands) settle(o *order) {
	if o.seq != 0 {
		c.settled <- o.seq
	}
}

// answer publishes the result of a command; the command is settled when the
// result is safe.
func (c *commands) answer(o *order, res adapters.Result) {
	payload := resultPayload{
		ID: o.id, OK: res.Err == nil, Value: res.Value,
		Ms: res.Elapsed.Milliseconds(), Time: stamp(c.clock.at(res.Time)),
	}
	if res.Err != nil {
		payload.Error = res.Err.Error()
		c.log.Warn("command failed", "device", o.target.point.Device, "point", o.target.point.Name, "value", o.value, "error", res.Err)
	} else {
		c.log.Info("command done", "device", o.target.point.Device, "point", o.target.point.Name, "value", res.Value, "took", res.Elapsed.Round(time.Millisecond))
	}
	body := payload.encode()
	done := func(err error) {
		if err != nil {
			c.log.Error("result not published", "topic", o.target.result, "error", err)
		}
		c.settle(o)
	}
	if o.props.ResponseTopic != "" {
		m := mqttcore.Message{Topic: o.props.ResponseTopic, Payload: body, QoS: 1,
			Properties: mqttcore.Properties{Correlation: o.props.Correlation}}
		if err := c.broker.PublishAsync(m, func(error) {}); err != nil {
			c.log.Warn("response not published", "topic", o.props.ResponseTopic, "error", err)
		}
	}
	if err := c.broker.PublishAsync(mqttcore.Message{Topic: o.target.result, Payload: body, QoS: 1}, done); err != nil {
		done(err)
	}
}

// parseCommand reads a command's payload: bare text, or an object with a
// value and an id.
func parseCommand(payload []byte, p *adapters.Point) (v adapters.Value, id string, err error) {
	text := strings.TrimSpace(string(payload))
	if strings.HasPrefix(text, "{") {
		var body struct {
			Value json.RawMessage `json:"value"`
			ID    json.RawMessage `json:"id"`
		}
		if err := json.Unmarshal([]byte(text), &body); err != nil {
			return v, "", fmt.Errorf(`payload is not valid JSON (%w): expected {"value": 21.5, "id": "any"}`, err)
		}
		if json.Unmarshal(body.ID, &id) != nil {
			id = string(body.ID) // a number as id comes back as it was
		}
		if len(body.Value) == 0 || string(body.Value) == "null" {
			return v, id, errors.New(`payload has no "value"`)
		}
		text = string(body.Value)
		if text[0] == '"' {
			if err := json.Unmarshal(body.Value, &text); err != nil {
				return v, id, err
			}
		}
	}
	if text == "" {
		return v, id, errors.New("payload is empty: expected a value")
	}
	return parseValue(text, p), id, nil
}

// parseValue reads a word as the point's names, a switch word, a number, or
// else as text. Whether the point can be set to it is the adapter's to say.
func parseValue(text string, p *adapters.Point) adapters.Value {
	for n, name := range p.Names {
		if strings.EqualFold(name, text) {
			return adapters.Int(n)
		}
	}
	switch strings.ToLower(text) {
	case "on", "true":
		return adapters.Bool(true)
	case "off", "false":
		return adapters.Bool(false)
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return adapters.Int(n)
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil && !adapters.Float(f).IsNone() {
		return adapters.Float(f)
	}
	return adapters.String(text)
}
