package main

import (
	"strings"
	"testing"

	"sluice/adapters"
)

// TestParseCommand reads payloads of all kinds: what is not clear is refused
// rather than guessed.
func TestParseCommand(t *testing.T) {
	number, text := &adapters.Point{Name: "valve"}, &adapters.Point{Name: "label", Text: true}
	named := &adapters.Point{Name: "mode", Names: map[int64]string{0: "off", 1: "heat", 2: "cool"}}
	crossed := &adapters.Point{Name: "mode", Names: map[int64]string{1: "2", 2: "1", 3: "true"}}
	for _, test := range []struct {
		p       *adapters.Point
		payload string
		want    adapters.Value
		id      string
		err     string
	}{
		{number, "50", adapters.Int(50), "", ""},
		{number, "21.5", adapters.Float(21.5), "", ""},
		{number, "on", adapters.Bool(true), "", ""},
		{number, "OFF", adapters.Bool(false), "", ""},
		{named, "HEAT", adapters.String("heat"), "", ""},
		{named, "off", adapters.String("off"), "", ""},
		{named, `{"value": "cool"}`, adapters.String("cool"), "", ""},
		{number, strings.Repeat("1", longestCommand+1), adapters.Value{}, "", "4096 bytes at most"},
		{number, " +5e1\n", adapters.Float(50), "", ""},
		{number, ".5", adapters.Float(0.5), "", ""},
		{number, "18446744073709551615", adapters.Uint(1<<64 - 1), "", ""},
		{number, "1_0", adapters.String("1_0"), "", ""}, // is no number
		{number, "0x1p4", adapters.String("0x1p4"), "", ""},
		{number, "Infinity", adapters.String("Infinity"), "", ""},
		{number, `{"value":"1_0"}`, adapters.String("1_0"), "", ""},
		{number, `{"value":51,"id":"a","unit":"%"}`, adapters.Int(51), "a", ""},
		{number, `{"id":7,"value":"51"}`, adapters.Int(51), "7", ""},
		{number, `{"value":true,"id":null}`, adapters.Bool(true), "", ""},
		{number, `{"Value":51,"id":"a"}`, adapters.Value{}, "a", `the key "Value": expected "value"`},
		{number, `{"value":5,"VALUE":90,"id":"a"}`, adapters.Value{}, "a", `the key "VALUE": expected "value"`},
		{number, `{"value":50,"value":60,"id":"a"}`, adapters.Value{}, "a", `the key "value" twice`},
		{number, `{"value":50,"ID":"a"}`, adapters.Value{}, "", `the key "ID": expected "id"`},
		{number, `{"vlaue":50,"id":"a"}`, adapters.Value{}, "a", `the key "vlaue", but no "value"`},
		{number, `{"id":"a"}`, adapters.Value{}, "a", `no "value"`},
		{number, `{"value":null}`, adapters.Value{}, "", `no "value"`},
		{number, `{"value":[1]}`, adapters.Value{}, "", `"value" has parts`},
		{text, `{"value":{"a":1}}`, adapters.Value{}, "", `"value" has parts`},
		{number, `{"value":50} x`, adapters.Value{}, "", "not valid JSON"},
		{number, `{"value":NaN}`, adapters.Value{}, "", "not valid JSON"},
		{number, " ", adapters.Value{}, "", "payload is empty"},
		{number, `{"value":""}`, adapters.String(""), "", ""}, // is no number
		{text, "", adapters.Value{}, "", `or {"value": ""} for none`},
		{text, `{"value":"","id":"a"}`, adapters.String(""), "a", ""},
		{text, `{"value":007}`, adapters.Value{}, "", "not valid JSON"},
		{text, `{"value":1e3}`, adapters.String("1e3"), "", ""},
		{text, "007", adapters.String("007"), "", ""},
		{text, "\xff\xfe", adapters.Value{}, "", "not text in UTF-8"},
		{text, "{\"value\":\"\xff\"}", adapters.Value{}, "", "not text in UTF-8"},
		{crossed, "1", adapters.String("1"), "", ""},
		{crossed, `{"value":"1"}`, adapters.String("1"), "", ""},
		{crossed, `{"value":1}`, adapters.Int(1), "", ""},
		{crossed, `{"value":"3"}`, adapters.Int(3), "", ""},
		{crossed, `{"value":true}`, adapters.String("true"), "", ""},
	} {
		v, id, err := parseCommand([]byte(test.payload), test.p)
		if v != test.want || id != test.id || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s to %s: %v %q of %v, %v, want %v %q, %s", test.payload, test.p.Name, v, id, v.Kind(), err, test.want, test.id, test.err)
		}
	}
}
