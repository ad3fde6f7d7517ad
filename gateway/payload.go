package main

import (
	"encoding/json"
	"time"

	"sluice/adapters"
)

// timeLayout is RFC 3339 in UTC with milliseconds.
const timeLayout = "2006-01-02T15:04:05.000Z"

// appendReading appends the JSON payload of one reading, with a mark where its
// time is only estimated. quotedUnit is the point's unit as a JSON string, or
// empty.
func appendReading(dst []byte, r adapters.Reading, quotedUnit string, estimated bool) []byte {
	value := r.Value
	if r.Quality != adapters.Good {
		value = adapters.Value{} // what is not known good is not a value
	}
	dst = append(dst, `{"value":`...)
	dst = value.AppendJSON(dst)
	if quotedUnit != "" {
		dst = append(dst, `,"unit":`...)
		dst = append(dst, quotedUnit...)
	}
	dst = append(dst, `,"time":"`...)
	dst = r.Time.UTC().AppendFormat(dst, timeLayout)
	dst = append(dst, `","quality":"`...)
	dst = append(append(dst, r.Quality.String()...), '"')
	if estimated {
		dst = append(dst, estimatedMark...)
	}
	return append(dst, '}')
}

// quoteJSON gives s as a JSON string, or nothing for "".
func quoteJSON(s string) string {
	if s == "" {
		return ""
	}
	b, _ := json.Marshal(s) // a string always marshals
	return string(b)
}

// resultPayload is what a command's result topic carries.
type resultPayload struct {
	ID     string          `json:"id"`
	OK     bool            `json:"ok"`
	Value  json.RawMessage `json:"value"` // what was read back
	Error  string          `json:"error"` // empty when ok
	Ms     int64           `json:"ms"`
	Time   string          `json:"time"`
	Reason string          `json:"reason,omitempty"` // why a safe value was written; empty for a command
}

// encode renders the result.
func (r resultPayload) encode() []byte {
	b, _ := json.Marshal(r) // plain strings, numbers and what a Value gave always marshal
	return b
}

// stamp renders t as payloads do.
func stamp(t time.Time) string { return t.UTC().Format(timeLayout) }
