package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sluice/mqttcore"
)

// Order is which messages go first after an outage.
type Order string

const (
	// FIFO sends all messages in the order in which they were published.
	FIFO Order = "fifo"
	// LiveFirst sends new messages at once and what an outage has left in the
	// places that stay free. Each of the two keeps its order.
	LiveFirst Order = "live-first"
)

const (
	// backlogShare is the share of messages that the backlog gets at least
	// while new ones would take every place: one in so many.
	backlogShare = 10
	// splitRate is how much more than one second of Config.Rate may wait
	// before it counts as a backlog.
	splitRate = time.Second
)

// The user property that marks messages of the backlog (MQTT 5.0, 3.3.2.3.7).
const (
	backlogProperty = "backlog"
	backlogValue    = "1"
)

// openLanes opens all lanes of the consumer, those with older messages first.
func (l *Link) openLanes(live *mqttcore.Consumer) []*lane {
	type aged struct {
		*lane
		age time.Duration
	}
	var older []aged
	for _, queue := range live.Others() {
		_, _, age := queue.Backlog()
		older = append(older, aged{newLane(queue), age})
	}
	slices.SortStableFunc(older, func(a, b aged) int { return cmp.Compare(b.age, a.age) })
	var lanes []*lane
	for _, a := range older {
		lanes = append(lanes, a.lane)
	}
	lanes = append(lanes, newLane(live))
	for _, n := range lanes {
		if err := n.look(); err != nil {
			l.log.Error("what is queued for the upstream cannot be read", "why", err)
		}
	}
	return lanes
}

// all returns the lanes, the one that takes in last. Any goroutine may call
// it; what it finds in them but for the Backlog of their queues is Run's.
func (l *Link) all() []*lane {
	if p := l.lanes.Load(); p != nil {
		return *p
	}
	return nil
}

// split sets aside what waits as a backlog, so that new messages need not wait
// behind it. What is on its way within a moment anyhow stays where it is.
func (l *Link) split(ctx context.Context, lim *limits) error {
	if l.cfg.Order != LiveFirst {
		return nil
	}
	lanes := l.all()
	live := lanes[len(lanes)-1]
	queued, bytes, _ := live.queue.Backlog()
	slow := l.cfg.Rate > 0 && bytes > uint64(float64(l.cfg.Rate)*splitRate.Seconds())
	if queued <= uint64(lim.window) && !slow {
		return nil
	}
	fresh, err := live.queue.Split(ctx)
	switch {
	case errors.Is(err, mqttcore.ErrLanes):
		return nil // so many outages in a row: new messages queue behind the last
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		l.log.Warn("what waits for the upstream cannot be set aside: new messages wait behind it", "why", err)
		return nil
	}
	next := slices.DeleteFunc(slices.Clone(lanes), func(n *lane) bool { return n.queue.Lane() == fresh.Lane() })
	next = append(next, newLane(fresh))
	l.lanes.Store(&next)
	l.shareLimit()
	return nil
}

// shareLimit divides the bound of what may wait among the lanes. Only the last
// lane grows, so this need not be done often. Where the oldest messages are to go
// the first lanes have what the later ones leave; else the last one has what the
// others leave, which then lose nothing.
func (l *Link) shareLimit() {
	limit := l.cfg.Queue
	lanes := slices.Clone(l.all())
	if limit.MaxBytes == 0 || limit.WhenFull == mqttcore.DropOldest {
		slices.Reverse(lanes)
	}
	room, bounded := limit.MaxBytes, limit.MaxBytes > 0
	for i, n := range lanes {
		one := limit
		one.MaxBytes = 0
		if bounded && (limit.WhenFull == mqttcore.DropOldest || i+1 == len(lanes)) {
			one.MaxBytes = max(room, 1)
		}
		n.queue.Limit(one)
		_, bytes, _ := n.queue.Backlog()
		room -= min(room, bytes)
	}
}

// pick chooses the lane that sends the next message; nil: none may, or none has
// any.
func (f *forwarder) pick() (*lane, error) {
	flying := f.flying()
	if flying >= f.lim.window {
		return nil, nil
	}
	if f.alone != nil {
		return f.pickAlone(flying)
	}
	if f.resuming {
		for _, n := range f.lanes {
			has, err := n.load()
			if err != nil {
				return nil, err
			}
			if has && n.d.Seq <= n.again && n.triedBefore(n.d.Seq) {
				return n.ready(), nil
			}
		}
		f.resuming = false
	}
	last := len(f.lanes) - 1
	var older *lane
	for _, n := range f.lanes[:last] {
		has, err := n.load()
		if err != nil {
			return nil, err
		}
		if has || f.strict && n.w.flying > 0 {
			older = n
			break
		}
	}
	if f.strict && older != nil {
		return older.ready(), nil
	}
	live := f.lanes[last]
	has, err := live.load()
	if err != nil {
		return nil, err
	}
	older = older.ready()
	if has = has && live.ready() != nil; has && (older == nil || f.turn < backlogShare-1) {
		if older != nil {
			f.turn++
		}
		return live, nil
	}
	// A few places stay free, so that a new message goes at once.
	if older != nil && (has || flying < f.lim.window-f.lim.window/backlogShare) {
		f.turn = 0
		return older, nil
	}
	return nil, nil
}

// ready returns the lane if it has a message that may be sent now, else nil.
func (n *lane) ready() *lane {
	if n != nil && n.held && n.w.fits(n.d.Seq) {
		return n
	}
	return nil
}

// pickAlone lets a suspect travel alone, so that what happens is about it.
func (f *forwarder) pickAlone(flying int) (*lane, error) {
	n := f.alone
	if flying > 0 {
		return nil, nil
	}
	has, err := n.load()
	if err != nil {
		return nil, err
	}
	if !has { // it has expired, or was dropped by its queue
		n.suspect = suspicion{}
		f.reconsider()
		return f.pick()
	}
	return n.ready(), nil
}

// reconsider looks for another suspect where the last one is none any more.
func (f *forwarder) reconsider() {
	if f.alone != nil && f.alone.suspect.seq == 0 {
		f.alone = suspected(f.lanes)
	}
}

// suspected returns the lane with the gravest suspicion, nil where there is
// none.
func suspected(lanes []*lane) *lane {
	var most *lane
	for _, n := range lanes {
		if n.suspect.seq != 0 && (most == nil || n.suspect.strikes > most.suspect.strikes) {
			most = n
		}
	}
	return most
}

func (f *forwarder) flying() (sum int) {
	for _, n := range f.lanes {
		sum += n.w.flying
	}
	return sum
}

// lane returns the lane of a packet identifier, or nil.
func (f *forwarder) lane(id uint16) *lane {
	number := laneOf(id)
	for _, n := range f.lanes {
		if n.queue.Lane() == number {
			return n
		}
	}
	return nil
}

// blame judges how the connection ended, and gives up a message that the
// upstream cannot stand.
func (f *forwarder) blame(cause error) {
	told, bare := byte(0), false
	if d := f.session.goodbye(); d != nil {
		told = d.reason
	} else {
		bare = closedByPeer(cause)
	}
	for _, n := range f.lanes {
		e := ending{progress: n.progress, told: told, bare: bare, afterSend: time.Since(f.sentAt)}
		if seq, ok := n.w.oldest(); ok && n.w.at(seq).stage == sent {
			e.head = seq
		}
		if seq := n.suspect.lost(e); seq != 0 {
			f.giveUp(n, seq, n.w.at(seq).topic, "the upstream ended each connection on which it was sent",
				fmt.Sprintf("the upstream ended each connection on which it was sent: %s", plain(cause)))
		}
	}
}
