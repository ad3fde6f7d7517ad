package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"time"
)

const (
	// idsLimit bounds the ids that are remembered of each point; of more the
	// oldest is forgotten.
	idsLimit = 32
	// twinsLimit bounds the commands that wait for the result of another of
	// their id; further ones are answered with an error.
	twinsLimit = 4
	// noteLimit bounds what is kept of all points for the next start, in bytes:
	// it is written with each result, and a page of flash is no larger.
	noteLimit = 4096
	// seqsLimit bounds the answered commands that are kept for the next start,
	// as the log may not know of all of them when the program is killed.
	seqsLimit = 64
	// repeatLimit is how long what comes again is taken for a repetition: after
	// the answer to the first, and after what has publishers send again what
	// nobody acknowledged. Later it is a wish of its own: the device may have
	// been set by hand since, and many publishers have one id for all they send.
	repeatLimit = 30 * time.Second
)

// errPast answers a command that may have been sent before the newer ones.
var errPast = errors.New("came again after a newer command for the point, and may be older than that: to have it carried out, send it with a new id")

// memory is the ids of a point's last commands with what became of them: what
// comes twice is carried out once. An id is there once, with the last command
// that had it.
type memory []*remembered

// remembered is the last command of one id.
type remembered struct {
	key    string
	asked  string         // the value, see askedKey
	taken  time.Time      // zero: before the start
	ended  time.Time      // when result was known; zero: before the start
	wall   time.Time      // the same by the time of day, where that was before the start
	result *resultPayload // nil: not yet known
	twins  []*order       // wait for it
	past   bool           // the point was given another order since
}

// askedKey is what a commanded value is known by; it is never long.
func askedKey(o *order) string { return idKey(string(o.value.AppendJSON(nil))) }

// idKey is what an id is known by; it is never long.
func idKey(id string) string {
	if len(id) <= 64 {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])
}

// of gives what is remembered of an id, nil if it is new.
func (m memory) of(id string) *remembered {
	key := idKey(id)
	for _, r := range m {
		if r.key == key {
			return r
		}
	}
	return nil
}

// add remembers a command, and forgets the one before of its id. One whose result is not known yet is not forgotten:
// there are no more of those than orders wait for the point.
func (m *memory) add(r *remembered) {
	*m = slices.DeleteFunc(*m, func(old *remembered) bool { return old.key == r.key })
	if len(*m) >= idsLimit {
		if i := slices.IndexFunc(*m, func(r *remembered) bool { return r.result != nil }); i >= 0 {
			*m = slices.Delete(*m, i, i+1)
		}
	}
	*m = append(*m, r)
}

// supersede notes that the point is given another order than that of r.
func (m memory) supersede(r *remembered) {
	for _, old := range m {
		old.past = old.past || old != r
	}
}

// repeats gives the command that o repeats, nil if it repeats none. An error
// tells that it may, and that the point was given another order since: nobody
// knows which of both was meant last.
func (c *commands) repeats(o *order) (*remembered, error) {
	r := o.target.ids.of(o.id)
	if r == nil || r.asked != askedKey(o) {
		return nil, nil
	}
	if r.taken.IsZero() && o.at.Before(c.began) { // it was left in the log unanswered
		if r.past || o.wall.Sub(r.wall) >= repeatLimit {
			return nil, nil
		}
		return r, nil
	}
	now := time.Now()
	resent := c.mayBeResent(r, o.target.set, now)
	switch {
	case r.past && resent:
		return nil, errPast
	case r.past:
		return nil, nil
	case r.result == nil || resent || now.Sub(r.ended) < repeatLimit:
		return r, nil
	}
	return nil, nil
}

// mayBeResent tells whether what repeats r may be r itself: since it came the
// gateway was started, or an upstream resumed its session, just now.
func (c *commands) mayBeResent(r *remembered, set string, now time.Time) bool {
	for _, since := range []time.Time{c.began, c.resumed(set)} {
		if r.taken.Before(since) && now.Sub(since) < repeatLimit {
			return true
		}
	}
	return false
}

// note is what commands must know after a restart; it is kept with their queue.
type note struct {
	Safe []string `json:"safe,omitempty"` // set topics of the points that hold their safe value
	Seqs []uint64 `json:"seqs,omitempty"` // commands of the log that were answered last
	Done []done   `json:"done,omitempty"` // ids, the newest last
}

// done is the last command of an id and its result, which holds no id itself.
type done struct {
	Set    string        `json:"set"` // topic
	Key    string        `json:"key"`
	Asked  string        `json:"asked"` // see askedKey
	Past   bool          `json:"past,omitempty"`
	Result resultPayload `json:"result"`
}

// ended notes what became of the last command of an id.
func (n *note) ended(d done) {
	n.Done = append(slices.DeleteFunc(n.Done, func(old done) bool { return old.Set == d.Set && old.Key == d.Key }), d)
}

// supersede notes that a point is given another order than those of its ids.
func (n *note) supersede(set string) {
	for i := range n.Done {
		n.Done[i].Past = n.Done[i].Past || n.Done[i].Set == set
	}
}

// answered notes a command of the log that has been answered.
func (n *note) answered(seq uint64) {
	if len(n.Seqs) >= seqsLimit {
		n.Seqs = slices.Delete(n.Seqs, 0, 1)
	}
	n.Seqs = append(n.Seqs, seq)
}

// encode renders the note, without the oldest ids that it has no room for.
func (n *note) encode() string {
	for {
		text, _ := json.Marshal(n) // plain strings and numbers, and JSON, always marshal
		if len(text) <= noteLimit || len(n.Done) == 0 {
			return string(text)
		}
		n.Done = slices.Delete(n.Done, 0, 1)
	}
}
