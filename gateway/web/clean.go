package web

import (
	"encoding/json"
	"math"
	"net/url"
	"slices"
)

// status is the source's Status, made fit to be shown: whatever a room hands
// over, the answer is valid JSON, has lists where lists belong, and holds no
// password.
func (s *Server) status() Status {
	st := s.src.Status()
	st.Lines = slices.Clone(st.Lines)
	for i := range st.Lines {
		l := &st.Lines[i]
		l.Load, l.P50Seconds, l.P99Seconds = finite(l.Load), finite(l.P50Seconds), finite(l.P99Seconds)
	}
	st.Devices = slices.Clone(st.Devices)
	for i := range st.Devices {
		d := &st.Devices[i]
		d.P50Seconds, d.P99Seconds = finite(d.P50Seconds), finite(d.P99Seconds)
		d.Points = slices.Clone(d.Points)
		for j := range d.Points {
			if p := &d.Points[j]; !json.Valid(p.Value) {
				p.Value = json.RawMessage("null")
			}
		}
		d.Points = listed(d.Points)
	}
	st.Upstreams = slices.Clone(st.Upstreams)
	for i := range st.Upstreams {
		u := &st.Upstreams[i]
		u.OldestSeconds = finite(u.OldestSeconds)
		u.URL = withoutSecrets(u.URL)
	}
	st.Lines, st.Devices, st.Upstreams = listed(st.Lines), listed(st.Devices), listed(st.Upstreams)
	st.Clients = listed(st.Clients)
	return st
}

// listed makes a list of no list, which in JSON is [] rather than null.
func listed[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// finite makes 0 of what JSON has no number for.
func finite(f float64) float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}

// withoutSecrets cuts user information, query and fragment off an address. An
// address that can't be read may hide a password anywhere, so nothing is left
// of it.
func withoutSecrets(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Opaque != "" {
		return ""
	}
	u.User, u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = nil, "", false, "", ""
	return u.String()
}
