package simfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// state is what the platter has, and what is on the way there.
type state struct {
	files   map[int]*disk
	names   map[string]int // durable
	pending []op           // changes of names since the last SyncDir
}

// disk is a file.
type disk struct {
	durable  content
	unsynced []op // since the last sync, in order
	// Pages of writes whose sync has failed: the kernel may have thrown them
	// away, or not, and no later sync makes them durable.
	doubtful map[int64]*page
}

func newState() *state {
	return &state{files: map[int]*disk{}, names: map[string]int{}}
}

func (s *state) clone() *state {
	c := &state{files: make(map[int]*disk, len(s.files)), names: maps.Clone(s.names), pending: slices.Clone(s.pending)}
	for id, d := range s.files {
		c.files[id] = &disk{d.durable.clone(), slices.Clone(d.unsynced), maps.Clone(d.doubtful)}
	}
	return c
}

// apply takes in a change.
func (s *state) apply(o op) {
	switch o.kind {
	case Create:
		// How long it is, is not durable before its first sync.
		s.files[o.file] = &disk{unsynced: []op{{kind: Create, size: o.size}}}
		s.pending = append(s.pending, o)
	case Rename, Remove:
		s.pending = append(s.pending, o)
	case SyncDir:
		for _, p := range s.pending {
			p.rename(s.names)
		}
		s.pending = nil
	case Write:
		d := s.files[o.file]
		d.unsynced = append(d.unsynced, o)
	case Sync:
		s.files[o.file].sync(o.failed)
	}
}

// rename changes names as the operation does.
func (o op) rename(names map[string]int) {
	switch o.kind {
	case Create:
		names[o.name] = o.file
	case Rename:
		if names[o.name] == o.file {
			delete(names, o.name)
		}
		names[o.to] = o.file
	case Remove:
		if names[o.name] == o.file {
			delete(names, o.name)
		}
	}
}

func (d *disk) sync(failed bool) {
	if failed {
		after := d.durable.clone()
		for _, w := range d.unsynced {
			w.write(&after)
		}
		if d.doubtful == nil {
			d.doubtful = map[int64]*page{}
		}
		for _, w := range d.unsynced {
			for i := w.off / pageSize; i*pageSize < w.off+int64(len(w.data)); i++ {
				d.doubtful[i] = after.page(i)
			}
		}
		d.unsynced = nil
		return
	}
	for _, w := range d.unsynced {
		w.write(&d.durable)
		for i := w.off / pageSize; i*pageSize < w.off+int64(len(w.data)); i++ {
			delete(d.doubtful, i)
		}
	}
	d.unsynced = nil
}

// write does what is on the way to the platter.
func (o op) write(c *content) {
	if o.kind == Create {
		c.grow(o.size)
		return
	}
	c.put(o.data, o.off)
}

// Replay goes through what was done to a folder, step by step, and builds the
// states that a crash may leave in between.
type Replay struct {
	ops   []op
	next  int
	state *state
}

// Replay begins at the empty folder, or at what the folder was made from.
func (f *FS) Replay() *Replay {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &Replay{ops: slices.Clone(f.ops), state: f.base.clone()}
}

// Left is how many steps there are still.
func (r *Replay) Left() int { return len(r.ops) - r.next }

// Step takes in the next change; where that is a mark it is returned.
func (r *Replay) Step() (mark any) {
	o := r.ops[r.next]
	r.next++
	r.state.apply(o)
	return o.mark
}

// Unsynced says whether there is anything that a crash may take away.
func (r *Replay) Unsynced() bool {
	for _, d := range r.state.files {
		if len(d.unsynced) > 0 {
			return true
		}
	}
	return len(r.state.pending) > 0
}

// End takes in all changes that are left.
func (r *Replay) End() *Replay {
	for r.Left() > 0 {
		r.Step()
	}
	return r
}

// Mode is how a crash treats what was not synced.
type Mode int

// The modes. What was synced is always there. But for the first three, each
// change of a name is there or not by itself, whatever came before it.
const (
	Lost    Mode = iota // none of it is there
	Kept                // all of it is there
	Prefix              // it is there in order, up to some change, which is torn at a byte
	Sectors             // any sectors of 512 bytes are there
	Pages               // any pages of 4096 bytes are there
	Junk                // any sectors are there, others hold garbage
	Garbage             // any pages are there, others hold garbage, the bytes beside a write as well
	Mixed               // every file in another mode
	modeCount
)

// Modes are all of them.
func Modes() []Mode {
	all := make([]Mode, modeCount)
	for i := range all {
		all[i] = Mode(i)
	}
	return all
}

// Kill builds what is there after the process alone has died: all of it, but
// what was not synced is still not on the platter.
func (r *Replay) Kill() *FS { return fromState(r.state.clone()) }

// Crash builds a state that a crash at this point may leave. rng may be nil
// for Lost and Kept.
func (r *Replay) Crash(mode Mode, rng *rand.Rand) *FS {
	names := maps.Clone(r.state.names)
	for _, o := range r.some(mode, rng) {
		o.rename(names)
	}
	after := newState()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		d := r.state.files[names[name]]
		if d == nil {
			continue
		}
		id := len(after.files)
		after.files[id] = &disk{durable: d.crash(mode, rng)}
		after.names[name] = id
	}
	return fromState(after)
}

// some are the changes of names that the crash has let through.
func (r *Replay) some(mode Mode, rng *rand.Rand) []op {
	all := r.state.pending
	switch mode {
	case Lost:
		return nil
	case Kept:
		return all
	case Prefix:
		return all[:rng.IntN(len(all)+1)]
	}
	var some []op
	for _, o := range all {
		if rng.IntN(2) == 0 {
			some = append(some, o)
		}
	}
	return some
}

func (d *disk) crash(mode Mode, rng *rand.Rand) content {
	c := d.durable.clone()
	if mode == Lost {
		return c
	}
	if mode == Mixed {
		mode = Mode(rng.IntN(int(Mixed)))
	}
	for _, i := range slices.Sorted(maps.Keys(d.doubtful)) {
		if rng == nil || rng.IntN(2) == 0 {
			c.put(d.doubtful[i][:], i*pageSize)
		}
	}
	writes := d.unsynced
	if mode == Prefix && len(writes) > 0 {
		n := rng.IntN(len(writes))
		torn := writes[n]
		if torn.kind == Write {
			torn.data = torn.data[:rng.IntN(len(torn.data)+1)]
		}
		writes = append(slices.Clone(writes[:n]), torn)
	}
	for _, w := range writes {
		switch {
		case mode == Lost:
		case mode == Kept, mode == Prefix:
			w.write(&c)
		case w.kind == Create:
			if rng.IntN(2) == 0 {
				w.write(&c)
			}
		case mode == Sectors:
			w.part(&c, 512, false, rng)
		case mode == Pages:
			w.part(&c, pageSize, false, rng)
		case mode == Junk:
			w.part(&c, 512, true, rng)
		case mode == Garbage:
			w.part(&c, pageSize, true, rng)
		}
	}
	return c
}

// part writes any of the blocks that a write is in.
func (o op) part(c *content, block int64, garbage bool, rng *rand.Rand) {
	end := o.off + int64(len(o.data))
	for at := o.off / block * block; at < end; at += block {
		from, to := max(at, o.off), min(at+block, end)
		switch rng.IntN(3) {
		case 0:
			c.put(o.data[from-o.off:to-o.off], from)
		case 1:
			if garbage {
				c.put(rubbish(to-at, rng), at)
			}
		}
	}
}

// noise is where garbage comes from.
var noise = func() []byte {
	b := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}()

func rubbish(n int64, rng *rand.Rand) []byte {
	at := rng.IntN(len(noise) - pageSize)
	return noise[at : at+int(n)]
}
