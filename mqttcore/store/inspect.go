package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// ErrNoStore means that a folder holds nothing that a store wrote.
var ErrNoStore = errors.New("there is no store in it")

// Inspection is a look at the folder of a store, which is not locked and not
// changed, whoever has it open. It is what the next start would find: recovery
// itself has read it, through a folder that takes no writes. What a running
// store does afterwards it does not see. It has one owner.
type Inspection struct {
	s     *Store
	r     recovery
	found *findings
	dir   disk
	files []FileInfo
	moved bool // files went while they were read
	drops []Drop
}

// inspectTries bounds how often a folder is read again because it changed on
// the way.
const inspectTries = 8

// Inspect looks at the store in dir; with ErrNoStore, ErrVersion or why it cannot
// be read. What is damaged is no error: see Findings. A running store changes
// its files meanwhile: what seems wrong counts only where nothing has changed, or
// where it is found twice. ctx ends all reading.
func Inspect(ctx context.Context, dir string) (*Inspection, error) {
	var before []Finding
	for n := 1; ; n++ {
		i, err := inspectOnce(ctx, dir)
		if err != nil {
			if i.files != nil && i.changed() && n < inspectTries {
				continue
			}
			return nil, fmt.Errorf("store in %s: %w", dir, err)
		}
		if len(i.found.list) == 0 || !i.changed() {
			return i, nil
		}
		all := i.found.list
		i.found.list = slices.DeleteFunc(slices.Clone(all), func(f Finding) bool { return !slices.Contains(before, f) })
		if n == inspectTries || len(i.found.list) == len(all) {
			return i, nil
		}
		before = all
		if err := i.Close(); err != nil {
			return nil, err
		}
	}
}

func inspectOnce(ctx context.Context, dir string) (*Inspection, error) {
	i := &Inspection{dir: disk(dir), found: &findings{}}
	var err error
	if i.files, err = i.dir.List(""); err != nil {
		return i, err
	}
	if !slices.ContainsFunc(i.files, func(f FileInfo) bool { return f.Name == idName || logFile(f.Name) }) {
		return i, ErrNoStore
	}
	o := Options{FS: readOnly{i.dir, ctx}, Log: slog.New(i.found)}
	if err := o.setDefaults(); err != nil {
		return i, err
	}
	lock, err := o.FS.Lock()
	if err != nil {
		return i, err
	}
	i.s = newStore(o, lock)
	i.r = recovery{look: true, drops: i.sawDrop}
	return i, i.s.recover(&i.r)
}

// logFile says whether a name is one of a segment or snapshot.
func logFile(name string) bool {
	_, seg := parseName(name, "seg-", ".log")
	_, snap := parseName(name, "snap-", ".snap")
	return seg || snap
}

// changed says whether segments or snapshots came or went since the files were
// listed.
func (i *Inspection) changed() bool {
	now, err := i.dir.List("")
	if err != nil {
		return true
	}
	names := func(files []FileInfo) (all []string) {
		for _, f := range files {
			if logFile(f.Name) {
				all = append(all, f.Name)
			}
		}
		slices.Sort(all)
		return all
	}
	return !slices.Equal(names(now), names(i.files))
}

// Close gives the files back.
func (i *Inspection) Close() error { return i.s.Close() }

// Findings is what is wrong, as far as it was looked at: Inspect finds what the
// next start would, Verify the rest.
func (i *Inspection) Findings() []Finding { return slices.Clone(i.found.list) }

// Stats reports the counters as the folder has them; those of cursors may lag
// by a second.
func (i *Inspection) Stats() Stats { return i.s.Stats() }

// QueueInfo is a session and its queue. For each one, and for their sum with the
// sessions deleted since, Appended = Delivered + Queued + Dropped.
type QueueInfo struct {
	Session
	Connected                            bool // its client was, by the log
	Appended, Delivered, Queued, Dropped uint64
	Bytes                                uint64 // queued: an estimate, as of Queue.Len
	InFlight                             uint64 // handed out and not settled
	Oldest                               time.Duration
}

// Queues reports all sessions, in the order of their numbers.
func (i *Inspection) Queues() ([]QueueInfo, error) {
	var all []QueueInfo
	for _, o := range i.s.Sessions() {
		ses := i.s.sessions[o.ID]
		q := QueueInfo{Session: o, Connected: ses.away == 0, Appended: ses.committed + ses.unnumbered, Dropped: ses.dropped}
		q.Queued, q.Bytes = ses.backlog()
		settled := ses.base + ses.settled
		q.Delivered = settled - min(settled, ses.dropped-ses.unnumbered)
		for seq := ses.base + 1; seq <= min(ses.sent, ses.base+maxWindow); seq++ {
			if ses.marks[seq] != markSettled {
				q.InFlight++
			}
		}
		if q.Queued > 0 {
			err := i.each(o.ID, func(_ *Delivery, at uint64) error {
				q.Oldest = i.s.clock.age(at)
				return errEnough
			})
			if err != nil && err != errEnough {
				return nil, err
			}
		}
		all = append(all, q)
	}
	return all, nil
}

var errEnough = errors.New("enough")

// Each hands out what is queued for a session, oldest first, what is in flight
// or expired included, until take returns an error. A message that a running
// store has got rid of since is left out. Memory does not grow with the queue.
func (i *Inspection) Each(sid SID, take func(*Delivery) error) error {
	return i.each(sid, func(d *Delivery, _ uint64) error { return take(d) })
}

// each is Each, with the store time of each message.
func (i *Inspection) each(sid SID, take func(*Delivery, uint64) error) error {
	ses := i.s.sessions[sid]
	if ses == nil {
		return ErrNoSession
	}
	q := &Queue{s: i.s, ses: ses}
	defer q.reader.close()
	at := ses.base
	for _, g := range i.s.segs {
		p := g.part(sid)
		if p == nil || p.last <= at {
			continue
		}
		before := len(i.found.list)
		q.reader.seek(makeLSN(g.id, int64(p.off)))
		q.reader.name = g.name
		for q.reader.pos < makeLSN(g.id, g.end) {
			ok, err := q.reader.read(i.s, g, g.end)
			if gone(err) || err == nil && !ok && i.vanished(g) {
				i.moved = true
				i.found.list = i.found.list[:before]
				break
			}
			if err != nil {
				return fmt.Errorf("%s: %w", segName(g.id), err)
			}
			if at, err = q.each(at, take); err != nil {
				return err
			}
		}
		i.moved = i.moved || i.vanished(g)
	}
	return nil
}

// each hands out what the frame in the reader has for the session above at.
func (q *Queue) each(at uint64, take func(*Delivery, uint64) error) (uint64, error) {
	for {
		h, ok := q.reader.find(q.ses.id)
		if !ok {
			return at, nil
		}
		m := q.ses.marks[h.seq]
		if h.seq <= at || m == markSettled {
			continue
		}
		at = h.seq
		sent := q.reader.time + h.pub.delta
		var d Delivery
		if q.fill(&d, &h) != nil {
			continue // it was found with the segment
		}
		d.Sent, d.Released = h.seq <= q.ses.sent, m == markReleased
		d.At, d.Age, d.Older = q.s.clock.wallAt(sent), q.s.clock.age(sent), q.s.clock.older(sent)
		if d.HasExpiry {
			d.Expiry = q.s.clock.left(sent, d.Expiry)
		}
		if err := take(&d, sent); err != nil {
			return at, err
		}
	}
}

// vanished says whether a segment is no longer what it was: the store has used
// its file for another one, or packed it.
func (i *Inspection) vanished(g *segment) bool {
	h, ok, err := i.s.readHeader(g.name, segMagic)
	return gone(err) || ok && h.ordinal != g.ordinal
}

func (i *Inspection) sawDrop(d Drop) { i.drops = append(i.drops, d) }

// Drops lists the losses that the log still has the record of, in order; all of
// them after Verify. Older ones are in Stats.Dropped alone.
func (i *Inspection) Drops() []Drop {
	all := slices.Clone(i.drops)
	logged := map[Drop]int{} // losses without numbers of one millisecond are alike
	for _, d := range all {
		logged[d]++
	}
	for _, d := range i.r.late {
		if logged[d]--; logged[d] < 0 {
			all = append(all, d)
		}
	}
	all = i.s.described(all)
	slices.SortStableFunc(all, func(a, b Drop) int {
		return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.Session, b.Session), cmp.Compare(a.From, b.From))
	})
	return all
}

// LogInfo is what the log takes on the disk.
type LogInfo struct {
	Store     string // identity, hexadecimal
	Open      bool   // a process has it open
	Clean     bool   // the last one stopped in an orderly way
	Segments  int
	Bytes     int64 // of segments and snapshots
	Free      int   // segments kept ready
	FreeBytes int64
	Snapshots int
	TornTails uint64        // ends cut off by a crash, without loss
	Aside     int           // files in quarantine
	AsideSize int64         // bytes
	Covered   time.Duration // how long ago the newest snapshot was written; 0: there is none
}

// Log reports what the log takes.
func (i *Inspection) Log() (LogInfo, error) {
	l := LogInfo{
		Store: fmt.Sprintf("%x", i.s.id[:]), Open: i.dir.locked(), Clean: i.r.clean && i.s.w.sinceSnap == 0,
		Segments: len(i.s.segs), Snapshots: len(i.s.w.kept), TornTails: i.s.stats.TornTails,
	}
	for _, f := range i.files {
		if logFile(f.Name) {
			l.Bytes += f.Size
		} else if _, ok := parseName(f.Name, "free-", ".seg"); ok {
			l.Free++
			l.FreeBytes += f.Size
		}
	}
	if i.r.from > 0 {
		h, ok, err := i.s.readHeader(snapName(i.r.from), snapMagic)
		if err == nil && ok {
			l.Covered = i.s.clock.age(h.time)
		}
	}
	aside, err := i.dir.List(quarantineFolder)
	if err != nil {
		return l, err
	}
	l.Aside = len(aside)
	for _, f := range aside {
		l.AsideSize += f.Size
	}
	return l, nil
}
