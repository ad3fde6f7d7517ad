package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

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
	if !utf8.Valid(payload) {
		return v, "", errors.New("payload is not text in UTF-8")
	}
	text := strings.TrimSpace(string(payload))
	switch {
	case strings.HasPrefix(text, "{"):
		return parseObject(text, p)
	case text == "" && p.Text:
		return v, "", errors.New(`payload is empty: expected text, or {"value": ""} for none`)
	case text == "":
		return v, "", errors.New("payload is empty: expected a value")
	}
	return p.Parse(text), "", nil
}

// parseObject reads a command that is a JSON object. Keys that it does not know
// are ignored, but for those that are meant to be one that it knows.
func parseObject(text string, p *adapters.Point) (v adapters.Value, id string, err error) {
	if err := json.Unmarshal([]byte(text), &struct{}{}); err != nil {
		return v, "", fmt.Errorf(`payload is not valid JSON (%w): expected {"value": 21.5, "id": "any"}`, err)
	}
	parts, other := map[string]json.RawMessage{}, ""
	d := json.NewDecoder(strings.NewReader(text))
	for _, _ = d.Token(); d.More(); { // it is valid
		name, _ := d.Token()
		var part json.RawMessage
		_ = d.Decode(&part)
		key := fmt.Sprint(name)
		switch known := strings.ToLower(key); {
		case known != "value" && known != "id":
			other = cmp.Or(other, key)
		case known != key:
			err = fmt.Errorf("payload has the key %q: expected %q", key, known)
		case parts[key] != nil:
			err = fmt.Errorf("payload has the key %q twice", key)
		}
		parts[key] = part
	}
	if json.Unmarshal(parts["id"], &id) != nil {
		id = string(parts["id"]) // a number as id comes back as it was
	}
	if err != nil {
		return v, id, err
	}
	switch value := string(parts["value"]); {
	case value == "" && other != "":
		return v, id, fmt.Errorf(`payload has the key %.40q, but no "value"`, other)
	case value == "" || value == "null":
		return v, id, errors.New(`payload has no "value"`)
	case value[0] == '{' || value[0] == '[':
		return v, id, errors.New(`"value" has parts: expected a number, text, true or false`)
	case value[0] == '"':
		err = json.Unmarshal(parts["value"], &text)
		return p.Parse(text), id, err
	case value == "true" || value == "false":
		return p.Parse(value), id, nil
	default:
		return p.ParseNumber(value), id, nil
	}
}
