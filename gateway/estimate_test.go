package main

import (
	"testing"
	"time"

	"sluice/adapters"
	"sluice/mqttcore"
	"sluice/mqttcore/store"
)

func TestCorrectsWhatItCan(t *testing.T) {
	noon := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	m := newToyMachine()
	m.set(noon, "ntp", true)
	clock := newClock(m, false, quiet)
	clock.recall(store.Known{})
	c := corrector{clock, func(bootID string, since time.Duration) (time.Time, bool) {
		return noon.AddDate(0, 0, -1).Add(since), bootID == "yesterday"
	}}
	estimated := appendReading(nil, adapters.Reading{Value: adapters.Float(21.4), Time: time.Unix(0, 0)}, `"°C"`, true)
	user := func(all ...mqttcore.UserProperty) []byte {
		return mqttcore.AppendProperties(nil, &mqttcore.Properties{ContentType: "x", User: all})
	}
	other := mqttcore.UserProperty{Key: "a", Value: "b"}
	taken := func(v string) mqttcore.UserProperty { return mqttcore.UserProperty{Key: takenProperty, Value: v} }
	reading := func(time string) string {
		return `{"value":21.4,"unit":"°C","time":"` + time + `","quality":"good"}`
	}
	for _, x := range []struct {
		name    string
		payload string
		props   []byte
		want    string // "" = as it was
		left    []byte
	}{
		{"in a boot that was known later", string(estimated), user(other, taken("yesterday 90000"), other), reading("2026-05-31T12:01:30.000Z"), user(other, other)},
		{"in a boot that never was", string(estimated), user(taken("long-ago 90000")), "", nil},
		{"a payload that is no reading", "21.4", user(taken("yesterday 1")), "", nil},
		{"a property that says nothing", string(estimated), user(taken("yesterday")), "", nil},
		{"a reading that is right", reading("2026-06-01T12:00:00.000Z"), user(taken("yesterday 1")), "", nil},
		{"another message", reading("2026-06-01T12:00:00.000Z"), user(other), "", nil},
		{"damaged properties", string(estimated), []byte(takenProperty), "", nil},
		{"text with both marks in it", `{"value":"\"time\":\"1\",\"clock\":\"estimated\"","time":"1970-01-01T00:00:00.000Z","quality":"good","clock":"estimated"}`, user(taken("yesterday 0")),
			`{"value":"\"time\":\"1\",\"clock\":\"estimated\"","time":"2026-05-31T12:00:00.000Z","quality":"good"}`, user()},
	} {
		t.Run(x.name, func(t *testing.T) {
			d := mqttcore.Delivery{Payload: []byte(x.payload), Props: x.props}
			if x.want == "" {
				x.want, x.left = x.payload, x.props
			}
			c.correct(&d)
			if string(d.Payload) != x.want || string(d.Props) != string(x.left) {
				t.Errorf("%s %q\nwant %s %q", d.Payload, d.Props, x.want, x.left)
			}
		})
	}
	t.Run("in this boot", func(t *testing.T) {
		now, _ := clock.Wall()
		d := mqttcore.Delivery{Payload: estimated, Props: user(taken(takenValue("toy", clock.Boot()-30*time.Second)))}
		c.correct(&d)
		r := parseReading(t, string(d.Payload))
		if off := now.Add(-30 * time.Second).Sub(r.Time).Abs(); off > time.Second || r.Clock != "" {
			t.Errorf("%s is off by %v", d.Payload, off)
		}
	})
}
