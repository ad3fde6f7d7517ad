package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// columns is the order in which metrics are shown, where a case has them.
var columns = []string{
	"cpu µs/msg", "msgs/s", "p50 µs", "p99 µs", "ack p50 µs", "ack p99 µs",
	"acks/s", "syncs/s", "pub µs/msg", "drain/s", "drain µs/msg", "rss B/msg", "disk B/msg", "dir MB",
	"B/conn", "rss MB", "connects/s", "connect µs", "settle cpu ms", "no sub",
	"peak MB", "gen µs/msg", "lost", "dup", "late", "stalled",
}

// counts are metrics of which a ratio says nothing.
var counts = []string{"gen µs/msg", "lost", "dup", "late", "stalled", "no sub", "settle cpu ms", "dir MB", "syncs/s"}

// results gathers the samples of all rounds.
type results struct {
	cases []scenario
	peers []peer
	all   map[[2]string][]sample // by case and peer
	notes []string
	raw   io.Writer
}

func newResults(cases []scenario, peers []peer) *results {
	return &results{cases: cases, peers: peers, all: map[[2]string][]sample{}}
}

// add notes a sample, or why there is none.
func (r *results) add(c, p string, round int, s sample, err error) error {
	if err != nil {
		r.notes = append(r.notes, fmt.Sprintf("%s %s, round %d: %v", c, p, round+1, err))
	} else {
		r.all[[2]string{c, p}] = append(r.all[[2]string{c, p}], s)
	}
	if r.raw == nil {
		return nil
	}
	line := map[string]any{"case": c, "peer": p, "round": round + 1, "values": s}
	if err != nil {
		line["error"] = err.Error()
	}
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	_, err = r.raw.Write(append(text, '\n'))
	return err
}

func (r *results) print(out io.Writer) {
	for _, c := range r.cases {
		var rows [][]string
		shown := r.columnsOf(c.name)
		for _, p := range r.peers {
			if got := r.all[[2]string{c.name, p.name}]; len(got) > 0 {
				rows = append(rows, row(p.name, got, shown))
			}
		}
		if len(rows) == 0 {
			continue
		}
		for _, own := range []string{"sluice", "core"} {
			for _, p := range r.peers {
				if p.name != "sluice" && p.name != "core" {
					rows = r.ratio(rows, c.name, own, p.name, shown)
				}
			}
		}
		fmt.Fprintf(out, "\n%s: %s\n", c.name, c.what)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "\t%s\n", strings.Join(shown, "\t"))
		for _, cells := range rows {
			fmt.Fprintln(w, strings.Join(cells, "\t"))
		}
		_ = w.Flush() // an output that is gone has nobody to tell
	}
	for _, n := range r.notes {
		fmt.Fprintf(out, "\nfailed: %s\n", n)
	}
}

// columnsOf lists the metrics of a case. Those that stayed zero for everybody
// are left out, but for what was lost.
func (r *results) columnsOf(c string) []string {
	var shown []string
	for _, name := range columns {
		has := false
		for _, p := range r.peers {
			for _, s := range r.all[[2]string{c, p.name}] {
				v, ok := s[name]
				has = has || ok && (v != 0 || name == "lost")
			}
		}
		if has {
			shown = append(shown, name)
		}
	}
	return shown
}

func row(name string, got []sample, shown []string) []string {
	cells := []string{name}
	for _, metric := range shown {
		low, mid, high := spread(got, metric)
		text := number(mid)
		if number(low) != text || number(high) != text {
			text = number(low) + " / " + text + " / " + number(high)
		}
		cells = append(cells, text)
	}
	return cells
}

// ratio adds a line that compares the medians of two brokers.
func (r *results) ratio(rows [][]string, c, own, other string, shown []string) [][]string {
	ours, theirs := r.all[[2]string{c, own}], r.all[[2]string{c, other}]
	if len(ours) == 0 || len(theirs) == 0 {
		return rows
	}
	cells := []string{own + " : " + other}
	for _, metric := range shown {
		_, a, _ := spread(ours, metric)
		_, b, _ := spread(theirs, metric)
		if b <= 0 || slices.Contains(counts, metric) {
			cells = append(cells, "")
			continue
		}
		cells = append(cells, "×"+number(a/b))
	}
	return append(rows, cells)
}

// spread gives minimum, median and maximum. Of an even number of samples the
// median is the mean of the two in the middle.
func spread(got []sample, metric string) (low, mid, high float64) {
	v := make([]float64, len(got))
	for i, s := range got {
		v[i] = s[metric]
	}
	slices.Sort(v)
	n := len(v)
	return v[0], (v[(n-1)/2] + v[n/2]) / 2, v[n-1]
}

// number shows three significant digits, and whole numbers as they are.
func number(v float64) string {
	if v == math.Trunc(v) || math.Abs(v) >= 999.5 {
		return group(fmt.Sprintf("%.0f", v))
	}
	return fmt.Sprintf("%.3g", v)
}

// group separates thousands by apostrophes.
func group(s string) string {
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := utf8.RuneCountInString(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "'" + s[i:]
	}
	return sign + s
}
