package main

import (
	"encoding/json"
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
