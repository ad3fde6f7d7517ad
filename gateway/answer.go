package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice/adapters"
	"sluice/mqttcore"
)

var (
	errRetained = errors.New("a retained command is not carried out: publish without retain")
	errUnknown  = errors.New("no point here takes commands: it is not in the configuration, or has no write")
	errOlder    = errors.New("command is too old, or may be: the machine was off since, and has no clock that tells for how long")
	errTwins    = errors.New("a command of this id is being carried out, and too many wait for its result")
)

// take reads one command from the log; false: it is settled already.
func (c *commands) take(d *mqttcore.Delivery) bool {
	if slices.Contains(c.note.Seqs, d.Seq) || d.Retain && len(d.Payload) == 0 {
		c.consumer.Ack(d.Seq)
		return false
	}
	o := &order{seq: d.Seq, at: time.Now().Add(-d.Age), wall: d.At, older: d.Older}
	var err error
	if o.props, err = mqttcore.ParseProperties(d.Props); err != nil {
		c.log.Warn("command with damaged properties", "topic", string(d.Topic), "error", err)
	}
	o.props.HasExpiry, o.props.Expiry = d.HasExpiry, d.Expiry
	c.carry(o, string(d.Topic), d.Payload, d.Retain)
	return true
}

// listen takes a QoS 0 command from the publisher's goroutine. A retained one
// from before the start is nobody's present wish.
func (c *commands) listen(m *mqttcore.Message) {
	if m.QoS != 0 || m.Retain || m.Retained && len(m.Payload) == 0 {
		return
	}
	select {
	case c.live <- m:
	default:
		c.log.Warn("command dropped: too many at once", "topic", m.Topic, "limit", liveLimit)
	}
}

// carry hands a command to its device's worker, or answers it where that must
// not be.
func (c *commands) carry(o *order, set string, payload []byte, retained bool) {
	if o.target = c.targets[set]; o.target == nil {
		o.target = &target{point: c.stranger(set), set: set, result: strings.TrimSuffix(set, "/set") + "/result"}
		o.value, o.id, _ = parseCommand(payload, o.target.point)
		c.refuse(o, errUnknown)
		return
	}
	o.until = o.expires(o.target.worker.maxAge)
	var err error
	o.value, o.id, err = parseCommand(payload, o.target.point)
	switch {
	case retained:
		err = errRetained
	case err == nil && o.older:
		err = errOlder
	}
	if err != nil {
		c.refuse(o, err)
		return
	}
	if o.id != "" {
		switch first, err := c.repeats(o); {
		case err != nil:
			c.refuse(o, err)
			return
		case first != nil:
			c.twin(o, first)
			return
		}
	}
	if !time.Now().Before(o.until) {
		c.refuse(o, o.tooOld())
		return
	}
	if o.id != "" {
		o.known = &remembered{key: idKey(o.id), asked: askedKey(o), taken: o.at}
		o.target.ids.add(o.known)
	}
	c.commanded(o.target, o.at)
	c.push(o)
}

// twin answers a command with what became of the first one of its id.
func (c *commands) twin(o *order, first *remembered) {
	c.commanded(o.target, o.at)
	switch {
	case first.result != nil:
		c.log.Info("command came again", "device", o.target.point.Device, "point", o.target.point.Name, "id", o.id)
		c.publish(o, *first.result)
	case len(first.twins) < twinsLimit:
		first.twins = append(first.twins, o)
	default:
		c.refuse(o, errTwins)
	}
}

// push gives an order to its device's worker and answers the one that it
// replaces.
func (c *commands) push(o *order) {
	o.target.ids.supersede(o.known)
	c.note.supersede(o.target.set)
	old := o.target.worker.push(o)
	if old == nil || old.safe != "" {
		return
	}
	why := errReplaced
	if o.safe != "" {
		why = errors.New("replaced by the safe value")
	}
	c.refuse(old, why)
}

// failed is the result of an order that came to nothing.
func failed(o *order, err error) adapters.Result {
	return adapters.Result{Err: err, Elapsed: time.Since(o.at), Time: time.Now()}
}

// refuse answers an order with an error.
func (c *commands) refuse(o *order, err error) { c.report(o, failed(o, err)) }

// finish hands an order that a worker is done with to Run, which answers it.
func (c *commands) finish(o *order, res adapters.Result) { c.finished <- finished{o, res} }

// report answers an order, and those of the same id that wait for its result.
func (c *commands) report(o *order, res adapters.Result) {
	p := resultPayload{
		OK: res.Err == nil, Value: res.Value.AppendJSON(nil), Reason: o.safe,
		Ms: res.Elapsed.Milliseconds(), Time: stamp(c.clock.at(res.Time)),
	}
	what := "command"
	if v := o.target.vigil; o.safe != "" {
		what = "safe value"
		if res.Err == nil {
			v.pending, v.written = false, time.Now()
		}
	}
	if res.Err != nil {
		p.Error = res.Err.Error()
		c.log.Warn(what+" failed", append(o.story(res), "error", res.Err)...)
	} else {
		c.log.Info(what+" done", append(o.story(res), "took", res.Elapsed.Round(time.Millisecond))...)
	}
	c.publish(o, p)
	first := o.known
	if first == nil {
		return
	}
	first.result, first.ended = &p, time.Now()
	if slices.Contains(o.target.ids, first) {
		c.note.ended(done{o.target.set, first.key, first.asked, first.past, p})
		c.changed = true
	}
	for _, twin := range first.twins {
		c.publish(twin, p)
	}
	first.twins = nil
}

// story tells in the log what was asked of which point, what was sent to the
// device for it, and what it says to hold.
func (o *order) story(res adapters.Result) []any {
	story := []any{"device", o.target.point.Device, "point", o.target.point.Name}
	for _, part := range []struct {
		key   string
		value adapters.Value
	}{{"asked", o.value}, {"written", res.Written}, {"value", res.Value}} {
		if !part.value.IsNone() {
			story = append(story, part.key, brief(part.value))
		}
	}
	if errors.Is(res.Err, errRetained) {
		story = append(story, "clear", "mosquitto_pub -r -n -t '"+strings.ReplaceAll(o.target.set, "'", `'\''`)+"'")
	}
	return story
}

// brief gives a value for the log, a long text cut short.
func brief(v adapters.Value) string {
	const most = 80
	text := v.String()
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "…"
	}
	return text
}

// publish sends the result of an order, which is settled when that is safe.
func (c *commands) publish(o *order, p resultPayload) {
	p.ID = o.id
	m := mqttcore.Message{Topic: o.target.result, Payload: p.encode(), QoS: 1}
	switch to := o.props.ResponseTopic; {
	case to == "":
	case to == m.Topic:
		m.Properties.Correlation = o.props.Correlation
	default:
		c.respond(to, m.Payload, o.props.Correlation)
	}
	if o.seq != 0 {
		c.unsettled++
		c.note.answered(o.seq)
		c.changed = true
	}
	ended := func(err error) {
		if err != nil {
			c.log.Error("result not published", "topic", o.target.result, "error", err)
		}
		if o.seq != 0 {
			c.settled <- o.seq // it holds as many as may be open
		}
	}
	if err := c.broker.PublishAsync(m, ended); err != nil {
		ended(err)
	}
}

// respond sends a result where the publisher of the command wants it, too
// (MQTT 5.0, 4.10).
func (c *commands) respond(to string, payload, correlation []byte) {
	err := c.mayRespond(to)
	if err == nil {
		m := mqttcore.Message{Topic: to, Payload: payload, QoS: 1, Properties: mqttcore.Properties{Correlation: correlation}}
		err = c.broker.PublishAsync(m, func(err error) {
			if err != nil {
				c.log.Error("response not published", "topic", to, "error", err)
			}
		})
	}
	if err != nil {
		c.log.Warn("response not published", "topic", to, "error", err)
	}
}

// mayRespond keeps a command from making others: a result would be one on a set
// topic. Nor may it speak in the name of the gateway or the broker.
func (c *commands) mayRespond(to string) error {
	if strings.HasPrefix(to, "$") || strings.HasPrefix(to, "sluice/") {
		return errors.New("the topic belongs to the gateway")
	}
	for _, f := range c.filters() {
		if f == to || topicMatch(f, to) {
			return fmt.Errorf("commands are taken there: expected a topic that does not end with /set")
		}
	}
	return nil
}

// acknowledge settles a command whose result is safe.
func (c *commands) acknowledge(seq uint64) {
	c.unsettled--
	if c.consumer != nil {
		c.consumer.Ack(seq)
	}
}
