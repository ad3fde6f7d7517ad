package main

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"sluice/mqttcore"
)

// takenProperty is the user property of a reading whose time is estimated: boot
// id and milliseconds since the start of the machine, with a space between. From
// it the time can be told later, if the clock is set in the same boot.
const takenProperty = "sluice-taken"

func takenValue(bootID string, since time.Duration) string {
	return bootID + " " + strconv.FormatInt(since.Milliseconds(), 10)
}

func parseTaken(v string) (bootID string, since time.Duration, ok bool) {
	bootID, ms, ok := strings.Cut(v, " ")
	n, err := strconv.ParseInt(ms, 10, 64)
	return bootID, time.Duration(n) * time.Millisecond, ok && err == nil && n >= 0
}

// corrector puts the right time into readings that were stored while it was only
// estimated.
type corrector struct {
	clock *clock
	// wallOf is store.Store.WallOf.
	wallOf func(bootID string, since time.Duration) (time.Time, bool)
}

// wall is the time of day of a moment in any boot, if it is known by now.
func (c *corrector) wall(bootID string, since time.Duration) (time.Time, bool) {
	if now, known := c.clock.Wall(); known && bootID == c.clock.BootID() {
		return now.Add(since - c.clock.Boot()), true
	}
	return c.wallOf(bootID, since)
}

// correct rewrites a delivery: the time becomes right, and the marks go. What is
// not known by now stays estimated. It is a bridge.Config.Rewrite.
func (c *corrector) correct(d *mqttcore.Delivery) {
	if !bytes.Contains(d.Props, []byte(takenProperty)) {
		return
	}
	props, err := mqttcore.ParseProperties(d.Props)
	if err != nil {
		return
	}
	for i, p := range props.User {
		if p.Key != takenProperty {
			continue
		}
		bootID, since, ok := parseTaken(p.Value)
		if !ok {
			return
		}
		t, known := c.wall(bootID, since)
		if !known {
			return
		}
		payload, ok := rewriteTime(d.Payload, t)
		if !ok {
			return
		}
		props.User = append(props.User[:i:i], props.User[i+1:]...)
		d.Payload, d.Props = payload, mqttcore.AppendProperties(nil, &props)
		return
	}
}

// estimatedMark is in the payload of a reading whose time is not known.
const estimatedMark = `,"clock":"estimated"`

// rewriteTime gives a copy of a reading's payload with another time and without
// the mark; false where it is none, or has no mark. Within a JSON string no quote
// stands unescaped, so neither is ever found in a value.
func rewriteTime(payload []byte, t time.Time) ([]byte, bool) {
	const key = `"time":"`
	head, rest, ok := bytes.Cut(payload, []byte(key))
	mark := bytes.LastIndex(rest, []byte(estimatedMark))
	end := bytes.IndexByte(rest, '"')
	if !ok || end < 0 || mark < end {
		return nil, false
	}
	out := make([]byte, 0, len(payload))
	out = append(append(out, head...), key...)
	out = t.UTC().AppendFormat(out, timeLayout)
	out = append(out, rest[end:mark]...)
	return append(out, rest[mark+len(estimatedMark):]...), true
}
