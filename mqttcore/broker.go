package mqttcore

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"sluice/mqttcore/packet"
	"sluice/mqttcore/store"
	"sluice/mqttcore/topic"
)

// Broker routes messages between MQTT clients, in-process subscribers and
// durable consumers. All methods may be called from any goroutine.
type Broker struct {
	cfg   Config
	st    *store.Store
	log   *slog.Logger
	clock func() time.Duration // runs while the machine sleeps
	ready chan struct{}
	born  time.Time

	// ctx ends when Run is told to stop: waits for the disk end with it.
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup // all that Run started
	addrs  atomic.Pointer[[]*listener]
	keys   *keyring

	tree       *topic.Tree[*member, grant]
	lastID     atomic.Uint32
	routers    sync.Pool
	jobs       workQueue
	timers     timers
	login      *login
	access     atomic.Pointer[access]
	memory     budget
	count      counters
	complaints complaints
	storeBad   atomic.Bool // its refusal was logged
	logged     func(error) // = stored, bound once: the answer to what nobody waits for

	retMu         sync.Mutex // who changes retained messages
	retained      *topic.Names[*kept]
	retainedBytes atomic.Int64
	swept         time.Duration // when expired ones were last searched for

	mu            sync.Mutex
	closing       bool
	conns         map[*conn]uint64 // open, whatever their state: when it came, in turn
	connected     int              // of them, those with a session
	mostConnected int
	arrivals      uint64 // connections, ever
	sessions      map[string]*session
	filterBytes   int64 // of the subscriptions of all sessions
	shares        map[string]*share
	shared        int              // sessions in shares, counted once in each
	feeds         map[string]*feed // by consumer
}

// New prepares a broker over an opened store, with the sessions, consumers and
// retained messages that it holds. It starts nothing. cfg must be valid.
func New(cfg Config, st *store.Store, log *slog.Logger) *Broker {
	return newBroker(cfg, st, log, bootClock)
}

func newBroker(cfg Config, st *store.Store, log *slog.Logger, clock func() time.Duration) *Broker {
	b := &Broker{
		cfg: cfg.withDefaults(), st: st, log: log, clock: clock, ready: make(chan struct{}),
		tree: topic.NewTree[*member, grant](), retained: topic.NewNames[*kept](),
		conns: map[*conn]uint64{}, sessions: map[string]*session{},
		shares: map[string]*share{}, feeds: map[string]*feed{},
	}
	b.cfg.MaxConnections = fitConnections(cfg.MaxConnections, log)
	b.keys = newKeyring(&b.cfg, log)
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.jobs.more = make(chan struct{}, 1)
	b.timers.more = make(chan struct{}, 1)
	b.logged = b.stored
	b.login = newLogin()
	b.access.Store(newAccess(&b.cfg))
	b.memory.limit = int64(b.cfg.MaxQueuedTotal)
	b.routers.New = func() any { return b.newRouter() }
	b.restoreRetained()
	b.restoreSessions()
	return b
}

// memberID numbers the members of the tree.
func (b *Broker) memberID() uint32 { return b.lastID.Add(1) }

// restoreSessions takes up the sessions where the last run left them.
func (b *Broker) restoreSessions() {
	for _, o := range b.st.Sessions() {
		if name, lane, ok := ConsumerLane(o.Client); ok {
			b.restoreLane(name, lane, o)
			continue
		}
		if o.Expiry == 0 { // ended with its connection, which ended with the broker
			b.st.DeleteSession(o.ID, b.logged)
			continue
		}
		s := b.newSession(o.Client, o.User)
		b.st.LimitSession(o.ID, b.cfg.SessionQueue)
		s.sid, s.expiry, s.left, s.will = o.ID, o.Expiry, b.clock()-o.Away, willFrom(o.Will)
		for _, sub := range o.Subs {
			f, err := b.parseFilter(sub.Filter)
			if err != nil {
				b.log.Warn("stored subscription left out", "client", o.Client, "filter", sub.Filter, "err", err)
				continue
			}
			s.filters.add(sub.Filter)
			b.filterBytes += filterSize(sub.Filter)
			b.enter(&s.member, f, grant{options: sub.Options, id: sub.SubID})
		}
		s.many.Store(s.filters.len() > 1)
		for _, pid := range o.Inbound {
			s.inbound.add(pid)
		}
		if s.will != nil {
			b.willLater(s, o.Away)
		}
		b.expireLater(s, o.Away)
	}
}

// workers serve the work queue; more than a few would only contend.
func workers() int { return min(runtime.GOMAXPROCS(0), 4) }

// Run serves until ctx ends. It then says goodbye to all clients, publishes
// the wills of those whose session ends with that, and returns nil. The
// store's Run must begin before and end after it.
func (b *Broker) Run(ctx context.Context) error {
	defer b.cancel()
	listeners, err := b.listen(ctx)
	if err != nil {
		return err
	}
	for _, l := range listeners {
		b.log.Info("listening for MQTT", "address", l.url)
	}
	b.addrs.Store(&listeners)
	b.born = time.Now()
	inner, stop := context.WithCancel(context.Background())
	defer stop()
	for range workers() {
		b.tasks.Go(func() { b.work(inner) })
	}
	b.tasks.Go(func() { b.watch(inner) })
	if b.cfg.SysInterval > 0 {
		b.tasks.Go(func() { b.tell(inner) })
	}
	for _, l := range listeners {
		b.tasks.Go(func() { b.accept(ctx, l) })
	}
	close(b.ready)
	<-ctx.Done()
	for _, l := range listeners {
		_ = l.Close()
	}
	b.dismiss()
	stop()
	b.cancel()
	b.tasks.Wait()
	return nil
}

// partTime bounds the goodbye to the clients.
const partTime = 3 * time.Second

// dismiss ends all connections and waits until they have.
func (b *Broker) dismiss() {
	b.mu.Lock()
	b.closing = true
	all := make([]*conn, 0, len(b.conns))
	for c := range b.conns {
		all = append(all, c)
	}
	b.mu.Unlock()
	for _, c := range all {
		c.evict(packet.ServerShuttingDown, "the broker stops")
	}
	late := time.NewTimer(partTime)
	defer late.Stop()
	for _, c := range all {
		select {
		case <-c.gone:
		case <-late.C:
			b.log.Warn("clients did not leave in time", "clients", len(all))
			return
		}
	}
}

// Ready is closed when all listeners accept connections.
func (b *Broker) Ready() <-chan struct{} { return b.ready }

// String names the task.
func (b *Broker) String() string { return "broker" }

// Addrs gives the addresses of the listeners, in the order of Config.Listen;
// nil before Ready.
func (b *Broker) Addrs() []net.Addr {
	all := b.addrs.Load()
	if all == nil {
		return nil
	}
	addrs := make([]net.Addr, len(*all))
	for i, l := range *all {
		addrs[i] = l.Addr()
	}
	return addrs
}

// URLs gives the listeners as clients write them, mqtt://host:port,
// mqtts://host:port, ws://host:port/mqtt, wss://host:port/mqtt or
// unix:///path, in the order of Config.Listen; nil before Ready.
func (b *Broker) URLs() []string {
	all := b.addrs.Load()
	if all == nil {
		return nil
	}
	urls := make([]string, len(*all))
	for i, l := range *all {
		urls[i] = l.url
	}
	return urls
}

// stored logs when the store begins to refuse and when that is over.
func (b *Broker) stored(err error) {
	if err != nil {
		b.storeRefused(err)
		return
	}
	if b.storeBad.Load() && b.storeBad.Swap(false) {
		b.log.Info("store takes messages again")
	}
}

// storeRefused counts a refusal of the store and logs the first of a row. A queue
// that is set to refuse says nothing of the store, which takes the next message
// for others.
func (b *Broker) storeRefused(err error) {
	b.count.storeRefused.add(1)
	if !errors.Is(err, store.ErrQuota) && !b.storeBad.Swap(true) {
		b.log.Error("store refuses messages", "err", err)
	}
}
