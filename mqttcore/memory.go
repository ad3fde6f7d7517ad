package mqttcore

import "sync/atomic"

// What a connection may have waiting without asking: enough for what one batch
// brings to a client that takes it, so that those who keep up never meet the
// bound that those who do not have reached.
const freeBytes = flushFrom

// memoryStep is how much is asked for at a time, so that asking is rare.
const memoryStep = 64 << 10

// budget bounds what waits in memory for and from all connections together,
// beyond freeBytes for each (Config.MaxQueuedTotal).
type budget struct {
	limit int64
	used  atomic.Int64
}

// take asks for n bytes.
func (m *budget) take(n int) bool {
	if m.used.Add(int64(n)) > m.limit {
		m.used.Add(-int64(n))
		return false
	}
	return true
}

// force takes n bytes for what must not be dropped.
func (m *budget) force(n int) { m.used.Add(int64(n)) }

func (m *budget) give(n int) {
	if n > 0 {
		m.used.Add(-int64(n))
	}
}

// spent says that there is nothing left.
func (m *budget) spent() bool { return m.used.Load() >= m.limit }

// room says whether size bytes may wait in all. The caller holds o.mu.
func (c *conn) room(size int) bool {
	o := &c.out
	if size <= freeBytes+o.held {
		return true
	}
	need := roundUp(size-freeBytes-o.held, memoryStep)
	if !c.b.memory.take(need) {
		return false
	}
	o.held += need
	return true
}

// account enters what was appended although there may be no room for it. The
// caller holds o.mu.
func (c *conn) account() {
	o := &c.out
	if size := o.size(); size > freeBytes+o.held {
		need := roundUp(size-freeBytes-o.held, memoryStep)
		c.b.memory.force(need)
		o.held += need
	}
}

// repay gives back what is not needed any more: all is written, or given up.
// The caller holds o.mu.
func (c *conn) repay() {
	c.b.memory.give(c.out.held)
	c.out.held = 0
}

func roundUp(n, step int) int { return (n + step - 1) / step * step }

// abandon gives back all that the connection held, at its end.
func (c *conn) abandon() {
	o := &c.out
	o.mu.Lock()
	if !o.writing { // else the writer does it
		o.pending = nil
		c.repay()
	}
	c.forgetAliases()
	o.mu.Unlock()
	c.in.off = c.in.end
	c.in.release()
	c.b.memory.give(c.aliasBytes)
	c.aliases, c.aliasBytes = nil, 0
}

// queueMemory asks for what a message takes in the queue of a session. Its
// bytes are shared by all queues that hold it and counted once.
func (b *Broker) queueMemory(m *kept) bool {
	if b.memory.spent() {
		return false
	}
	n := queuedCost
	if m.queues.Add(1) == 1 {
		n += m.bytes()
	}
	b.memory.force(n)
	return true
}

// unqueueMemory gives it back when one of them lets go of it.
func (b *Broker) unqueueMemory(m *kept) {
	n := queuedCost
	if m.queues.Add(-1) == 0 {
		n += m.bytes()
	}
	b.memory.give(n)
}

// What a subscription takes in memory beside its filter, roughly; the levels
// of the tree are counted apart.
const subscriptionCost = 200

// filterSize is what counts of a session's subscription. Filters are held
// twice: by the session and by the levels of the tree.
func filterSize(f string) int64 { return int64(2*len(f)) + subscriptionCost }

// subscribable says whether there is room for one more subscription, with
// Broker.mu held (Config.MaxSubscriptionBytes).
func (b *Broker) subscribable(f string) bool {
	return b.filterBytes+filterSize(f)+int64(b.tree.Levels())*levelCost <= int64(b.cfg.MaxSubscriptionBytes)
}
