package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"sluice/adapters"
	"sluice/mqttcore"
)

// order is one command on its way to a device, or a safe value.
type order struct {
	seq    uint64 // in the log; acknowledged when the result is out. 0: not in the log
	target *target
	value  adapters.Value
	id     string
	at     time.Time           // when the broker took it, with a monotonic reading
	wall   time.Time           // at by the time of day, of one from the log
	until  time.Time           // when it is too old to be carried out; zero: never
	older  bool                // it was before at, and nobody knows when
	props  mqttcore.Properties // response topic and correlation data
	safe   string              // why a safe value is written; "": it is a command
	known  *remembered         // its id; nil if it has none, or is not to be remembered

	// Of the worker alone.
	began time.Time // of the first try
	last  string    // why the last try failed
}

// target is a point that takes commands.
type target struct {
	point  *adapters.Point
	set    string // topic of its commands
	result string // topic
	worker *worker
	vigil  *vigil // nil where the point has no safe value
	ids    memory
}

// expires gives the moment when o is too old for a limit, or for what its
// publisher asked for (MQTT 5.0, 3.3.2.3.3).
func (o *order) expires(limit time.Duration) time.Time {
	until := o.at.Add(limit)
	if asked := time.Now().Add(time.Duration(o.props.Expiry) * time.Second); o.props.HasExpiry && asked.Before(until) {
		return asked
	}
	return until
}

// tooOld says why o is not carried out any more.
func (o *order) tooOld() error {
	age := time.Since(o.at).Round(time.Second)
	if o.last != "" {
		return fmt.Errorf("given up after %s: %s", age, o.last)
	}
	return fmt.Errorf("command is %s old, over the limit of %s", age, o.until.Sub(o.at).Round(time.Second))
}

// longestCommand bounds the payload of a command, in bytes. No line of text
// that is sent to a device is longer.
const longestCommand = 4096

// parseCommand reads a command's payload: bare text, or an object with a
// value and an id.
func parseCommand(payload []byte, p *adapters.Point) (v adapters.Value, id string, err error) {
	if len(payload) > longestCommand {
		return v, "", fmt.Errorf("payload has %d bytes: expected a value, %d bytes at most", len(payload), longestCommand)
	}
	text := strings.TrimSpace(string(payload))
	if strings.HasPrefix(text, "{") {
		var body struct {
			Value json.RawMessage `json:"value"`
			ID    json.RawMessage `json:"id"`
		}
		if err := json.Unmarshal([]byte(text), &body); err != nil {
			return v, "", fmt.Errorf(`payload is not valid JSON (%w): expected {"value": 21.5, "id": "any"}`, err)
		}
		if json.Unmarshal(body.ID, &id) != nil {
			id = string(body.ID) // a number as id comes back as it was
		}
		if len(body.Value) == 0 || string(body.Value) == "null" {
			return v, id, errors.New(`payload has no "value"`)
		}
		text = string(body.Value)
		if text[0] == '"' {
			if err := json.Unmarshal(body.Value, &text); err != nil {
				return v, id, err
			}
		}
	}
	if text == "" {
		return v, id, errors.New("payload is empty: expected a value")
	}
	return p.Parse(text), id, nil
}
