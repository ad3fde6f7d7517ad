package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
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
)

// memory is the ids of a point's last commands with what became of them: what
// comes twice is carried out once.
type memory []*remembered

// remembered is one id.
type remembered struct {
	key    string
	result *resultPayload // nil: not yet known
	twins  []*order       // wait for it
}

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

// add remembers a new id. One whose result is not known yet is not forgotten:
// there are no more of those than orders wait for the point.
func (m *memory) add(r *remembered) {
	if len(*m) >= idsLimit {
		if i := slices.IndexFunc(*m, func(r *remembered) bool { return r.result != nil }); i >= 0 {
			*m = slices.Delete(*m, i, i+1)
		}
	}
	*m = append(*m, r)
}

// note is what commands must know after a restart; it is kept with their queue.
type note struct {
	Safe []string `json:"safe,omitempty"` // set topics of the points that hold their safe value
	Seqs []uint64 `json:"seqs,omitempty"` // commands of the log that were answered last
	Done []done   `json:"done,omitempty"` // ids, the newest last
}

// done is an id and its result, which holds no id itself.
type done struct {
	Set    string        `json:"set"` // topic
	Key    string        `json:"key"`
	Result resultPayload `json:"result"`
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
