package simfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// Replay goes through what was done to a folder, step by step, and builds the
// states that a crash may leave in between.
type Replay struct {
	ops     []op
	next    int
	files   map[int]*disk
	names   map[string]int // durable
	pending []op           // changes of names since the last SyncDir
}

// disk is a file as the platter has it, and what is on the way there.
type disk struct {
	durable  []byte
	unsynced []op
}

// Replay begins at the empty folder, or at what Crash or Clone gave.
func (f *FS) Replay() *Replay {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := &Replay{ops: slices.Clone(f.ops), files: map[int]*disk{}, names: map[string]int{}}
	for name, b := range f.base {
		r.names[name] = b.id
		r.files[b.id] = &disk{durable: slices.Clone(b.data)}
	}
	return r
}

// Left is how many steps there are still.
func (r *Replay) Left() int { return len(r.ops) - r.next }

// Step takes in the next change; where that is a mark it is returned.
func (r *Replay) Step() (mark any) {
	o := r.ops[r.next]
	r.next++
	switch o.kind {
	case Create:
		r.files[o.file] = &disk{durable: make([]byte, o.size)}
		r.pending = append(r.pending, o)
	case Rename, Remove:
		r.pending = append(r.pending, o)
	case SyncDir:
		rename(r.names, r.pending)
		r.pending = nil
	case Write:
		d := r.files[o.file]
		d.unsynced = append(d.unsynced, o)
	case Sync:
		d := r.files[o.file]
		for _, w := range d.unsynced {
			d.durable = put(d.durable, w.data, w.off)
		}
		d.unsynced = nil
	}
	return o.mark
}

func rename(names map[string]int, ops []op) {
	for _, o := range ops {
		switch o.kind {
		case Create:
			names[o.name] = o.file
		case Rename:
			if id, ok := names[o.name]; ok {
				names[o.to] = id
				delete(names, o.name)
			}
		case Remove:
			delete(names, o.name)
		}
	}
}

// Mode is how a crash treats what was not synced.
type Mode int

// The modes. What was synced is always there.
const (
	Lost    Mode = iota // none of it is there
	Kept                // all of it is there
	Prefix              // it is there in order, up to some write, which is torn at a sector
	Sectors             // any sectors of 512 bytes are there
	Pages               // any pages of 4096 bytes are there
	Garbage             // any pages are there, others hold garbage
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

// Crash builds a state that a crash at this point may leave.
func (r *Replay) Crash(mode Mode, rng *rand.Rand) *FS {
	names := maps.Clone(r.names)
	pending := len(r.pending)
	switch mode {
	case Lost:
		pending = 0
	case Kept:
	default:
		pending = rng.IntN(pending + 1)
	}
	rename(names, r.pending[:pending])
	c := New()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		d := r.files[names[name]]
		c.begin(name, d.crash(mode, rng))
	}
	return c
}

func (d *disk) crash(mode Mode, rng *rand.Rand) []byte {
	data := slices.Clone(d.durable)
	if mode == Lost {
		return data
	}
	writes := d.unsynced
	if mode == Prefix && len(writes) > 0 {
		n := rng.IntN(len(writes))
		torn := writes[n]
		torn.data = torn.data[:rng.IntN(len(torn.data)+1)&^511]
		writes = append(slices.Clone(writes[:n]), torn)
	}
	for _, w := range writes {
		switch mode {
		case Kept, Prefix:
			data = put(data, w.data, w.off)
		case Sectors:
			data = w.some(data, 512, false, rng)
		case Pages:
			data = w.some(data, 4096, false, rng)
		case Garbage:
			data = w.some(data, 4096, true, rng)
		}
	}
	return data
}

// some writes any of the parts of a write.
func (o op) some(data []byte, part int, garbage bool, rng *rand.Rand) []byte {
	for at := 0; at < len(o.data); at += part {
		b := o.data[at:min(at+part, len(o.data))]
		switch rng.IntN(3) {
		case 0:
			data = put(data, b, o.off+int64(at))
		case 1:
			if garbage {
				junk := make([]byte, len(b))
				for i := range junk {
					junk[i] = byte(rng.Uint32())
				}
				data = put(data, junk, o.off+int64(at))
			}
		}
	}
	return data
}
