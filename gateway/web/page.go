package web

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"html/template"
	"net/http"
	"slices"
	"time"
)

//go:embed page.html
var pageHTML string

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// page is a view of the Status: sections of cards, whose changing parts are
// cells. The first page and the events after it are made of the same cells, so
// every figure is worded in one place.
type page struct {
	Gateway, Version string
	Made             time.Time
	Layout           string // changes when cells come or go
	Summary, Uptime  cell
	Sections         []section

	cells map[string]cell // by key
}

type section struct {
	ID, Title string
	Empty     string // what to say without cards or clients
	Cards     []card
	Clients   []clientRow
}

type card struct {
	Name, Note string
	State      cell
	Facts      []fact
	Points     []pointRow
}

type fact struct {
	Label string
	cell
}

type pointRow struct {
	Name, Topic         string
	Value, Quality, Age cell
}

// cell is a text that changes. State is "", "good", "warn" or "bad"; the text
// says the same in words.
type cell struct{ Key, Text, State string }

// MarshalJSON implements json.Marshaler: ["text", "state"].
func (c cell) MarshalJSON() ([]byte, error) { return json.Marshal([2]string{c.Text, c.State}) }

// since gives the cells of p that read otherwise than in before.
func (p *page) since(before map[string]cell) map[string]cell {
	changed := map[string]cell{}
	for key, c := range p.cells {
		if old, ok := before[key]; !ok || old != c {
			changed[key] = c
		}
	}
	return changed
}

// index collects the cells and hashes their keys into the layout. The order
// of the cards is not part of it: it may differ between two looks.
func (p *page) index() {
	p.cells = map[string]cell{}
	put := func(c cell) { p.cells[c.Key] = c }
	put(p.Summary)
	put(p.Uptime)
	for _, s := range p.Sections {
		for _, r := range s.Clients {
			r.each(put)
		}
		for _, c := range s.Cards {
			put(c.State)
			for _, f := range c.Facts {
				put(f.cell)
			}
			for _, r := range c.Points {
				put(r.Value)
				put(r.Quality)
				put(r.Age)
			}
		}
	}
	delete(p.cells, "") // cards without a state
	keys := make([]string, 0, len(p.cells))
	for key := range p.cells {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	h := fnv.New64a()
	for _, key := range keys {
		fmt.Fprintf(h, "%q", key) // a hash takes everything
	}
	p.Layout = fmt.Sprintf("%016x", h.Sum64())
}

// servePage answers / with the whole page.
func (s *Server) servePage(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	if err := pageTemplate.Execute(&body, newPage(s.status(), s.src.Health(), time.Now())); err != nil {
		s.fail(w, fmt.Errorf("render page: %w", err))
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	// A client that went away is no fault of ours.
	_, _ = w.Write(body.Bytes())
}
