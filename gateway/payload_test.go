package main

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"sluice/adapters"
)

func TestReadingPayload(t *testing.T) {
	at := time.Date(2026, 11, 22, 11, 0, 0, 123_900_000, time.FixedZone("CET", 3600))
	for _, c := range []struct {
		name string
		r    adapters.Reading
		unit string
		want string
	}{
		{"a number", adapters.Reading{Value: adapters.Float(21.4), Time: at}, "°C",
			`{"value":21.4,"unit":"°C","time":"2026-11-22T10:00:00.123Z","quality":"good"}`},
		{"a switch without a unit", adapters.Reading{Value: adapters.Bool(true), Time: at}, "",
			`{"value":true,"time":"2026-11-22T10:00:00.123Z","quality":"good"}`},
		{"what is not good has no value", adapters.Reading{Value: adapters.Int(7), Quality: adapters.Stale, Time: at}, "V",
			`{"value":null,"unit":"V","time":"2026-11-22T10:00:00.123Z","quality":"stale"}`},
		{"a unit that needs quoting", adapters.Reading{Value: adapters.String("x"), Time: at}, `a"b`,
			`{"value":"x","unit":"a\"b","time":"2026-11-22T10:00:00.123Z","quality":"good"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := appendReading(nil, c.r, quoteJSON(c.unit), false)
			if string(got) != c.want {
				t.Errorf("%s\nwant %s", got, c.want)
			}
			if !json.Valid(got) {
				t.Error("not JSON")
			}
		})
	}
}

func TestParseCommand(t *testing.T) {
	plain := &adapters.Point{Name: "p"}
	named := &adapters.Point{Name: "mode", Names: map[int64]string{0: "off", 1: "heat", 2: "cool"}}
	for _, c := range []struct {
		payload string
		point   *adapters.Point
		want    adapters.Value
		id      string
		fails   bool
	}{
		{"21.5", plain, adapters.Float(21.5), "", false},
		{" 21 \n", plain, adapters.Int(21), "", false},
		{"on", plain, adapters.Bool(true), "", false},
		{"OFF", plain, adapters.Bool(false), "", false},
		{"1", plain, adapters.Int(1), "", false},
		{"HEAT", named, adapters.String("heat"), "", false},
		{"off", named, adapters.String("off"), "", false},
		{`{"value": 21.5, "id": "any"}`, plain, adapters.Float(21.5), "any", false},
		{`{"value": true, "id": 17}`, plain, adapters.Bool(true), "17", false},
		{`{"value": "cool"}`, named, adapters.String("cool"), "", false},
		{`{"id": "any"}`, plain, adapters.Value{}, "any", true},
		{`{"value": null}`, plain, adapters.Value{}, "", true},
		{`{"value": 1`, plain, adapters.Value{}, "", true},
		{"", plain, adapters.Value{}, "", true},
		{"18446744073709551615", plain, adapters.Uint(math.MaxUint64), "", false},
		{strings.Repeat("1", longestCommand+1), plain, adapters.Value{}, "", true},
		{"NaN", plain, adapters.String("NaN"), "", false}, // no number: the adapter refuses it
	} {
		v, id, err := parseCommand([]byte(c.payload), c.point)
		if (err != nil) != c.fails {
			t.Errorf("%q: error %v", c.payload, err)
		}
		if v != c.want || id != c.id {
			t.Errorf("%q: %v (%v) id %q, want %v id %q", c.payload, v, v.Kind(), id, c.want, c.id)
		}
	}
}
