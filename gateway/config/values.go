package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/adapters"
	"sluice/adapters/modbus"
	"sluice/adapters/uart"
)

// The keys that say how a value lies in its registers and what it means.

var registerType = func() want[modbus.Type] {
	var words []string
	for _, t := range adapters.Types() {
		words = append(words, t.String())
	}
	return choice(words, adapters.Types()...)
}()

// anyNumber is the type of a number in text, which has no bytes.
const anyNumber = modbus.Type(255)

// pointType wants a type of registers, or "number"; which of them a point can
// have is checked later.
func pointType(b *binder, path string, v any) (modbus.Type, bool) {
	switch s, isText := v.(string); {
	case s == "number":
		return anyNumber, true
	case isText && nearest(s, []string{"number"}) != "":
		b.bad(path, `did you mean "number"?`, "expected a type, not %s", shorten(s))
		return 0, false
	}
	return registerType(b, path, v)
}

// codec gives the type of a point whose value lies in bytes.
func (b *binder) codec(p *rawPoint, usual modbus.Type) modbus.Type {
	switch {
	case !p.has("type"):
		return usual
	case p.typ == anyNumber:
		b.bad(p.at("type"), `its type says how it lies in them, such as "i16"`, "\"number\" is for values in text: point %q is read from bytes", p.name)
		return usual
	}
	return p.typ
}

// textType is what the text of a point on a UART is read as: what "type" says,
// and a number alone where another key means nothing else.
func (b *binder) textType(p *rawPoint) uart.Type {
	switch {
	case !p.has("from") || !b.fine(p.at("type")):
	case p.has("type"):
		switch p.typ {
		case anyNumber:
			return uart.Number
		case modbus.Bool:
			b.checkMeaning(p, modbus.Bool)
			return uart.Bool
		case modbus.String:
			b.checkMeaning(p, modbus.String)
			return uart.Text
		}
		b.bad(p.at("type"), "", "expected \"number\", \"bool\" or \"string\", as point %q is read from text, not \"%v\"", p.name, p.typ)
	case p.isNumber():
		return uart.Number
	}
	return uart.Auto
}

// isNumber reports whether some key means nothing but for a number.
func (p *rawPoint) isNumber() bool {
	if p.has("map") {
		return false
	}
	for _, k := range []string{"unit", "scale", "offset", "decimals", "range", "min", "max"} {
		if p.has(k) {
			return true
		}
	}
	measured := len(classUnits[p.class]) > 0 && !slices.Contains(switchClasses, p.class)
	return measured || p.deadband != nil && *p.deadband > 0
}

// period wants the time between two reads, or "once".
func period(b *binder, path string, v any) (time.Duration, bool) {
	switch s, isText := v.(string); {
	case s == "once":
		return modbus.Once, true
	case isText && nearest(s, []string{"once"}) != "":
		b.bad(path, `did you mean "once"?`, `expected a duration, or "once", not %s`, shorten(s))
		return 0, false
	}
	return duration(time.Millisecond, 365*day)(b, path, v)
}

var bitRun = regexp.MustCompile(`^(\d{1,2}) ?(?:-|\.\.) ?(\d{1,2})$`)

// bits wants the first and the last bit of a run.
func bits(b *binder, path string, v any) (adapters.Field, bool) {
	var ends []int64
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if n, whole := e.(int64); whole {
				ends = append(ends, n)
			}
		}
		if len(ends) != len(v) {
			ends = nil
		}
	case string:
		for _, digits := range bitRun.FindStringSubmatch(v) {
			if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
				ends = append(ends, n)
			}
		}
	}
	if len(ends) != 2 || min(ends[0], ends[1]) < 0 || max(ends[0], ends[1]) > 63 {
		hint := ""
		if _, one := v.(int64); one {
			hint = "a single bit is the key bit"
		}
		b.bad(path, hint, "expected the first and the last bit, such as [4, 7], bit 0 being the lowest, not %s", describe(v))
		return adapters.Field{}, false
	}
	low, high := min(ends[0], ends[1]), max(ends[0], ends[1])
	if _, isText := v.(string); !isText && low != ends[0] {
		b.bad(path, fmt.Sprintf("write [%d, %d]", low, high), "expected the lower bit first, not %d before %d", ends[0], ends[1])
		return adapters.Field{}, false
	}
	return adapters.Field{Shift: uint8(low), Bits: uint8(high - low + 1)}, true
}

// words wants the words for raw numbers.
func words(b *binder, path string, v any) (map[int64]string, bool) {
	const expected = `words for numbers, such as { 0 = "off", 1 = "heat" }`
	m, isTable := v.(map[string]any)
	if !isTable || len(m) == 0 {
		b.mismatch(path, v, expected)
		return nil, false
	}
	all, first, good := map[int64]string{}, map[string]string{}, true
	for _, key := range b.inFileOrder(path, m) {
		at := child(path, key)
		n, err := strconv.ParseInt(key, 10, 64)
		if hex, is := strings.CutPrefix(key, "0x"); is {
			n, err = strconv.ParseInt(hex, 16, 64)
		}
		word, isText := m[key].(string)
		_, twice := all[n]
		switch {
		case err != nil:
			b.badKey(at, "", "expected a whole number before the =, not %s", shorten(key))
		case twice:
			b.badKey(at, "", "%d has a word already", n)
		case !isText || word == "":
			b.bad(at, "", "expected a word in quotes for %s, not %s", key, describe(m[key]))
		case first[strings.ToLower(word)] != "":
			b.bad(at, "a command with that word could mean both", "%s is the word for %s already", shorten(word), first[strings.ToLower(word)])
		default:
			all[n], first[strings.ToLower(word)] = word, key
			continue
		}
		good = false
	}
	return all, good
}

// sentinel wants a raw value that stands for none.
func sentinel(b *binder, path string, v any) (adapters.Value, bool) {
	switch n := v.(type) {
	case int64:
		return adapters.Int(n), true
	case string:
		return adapters.String(n), true
	case float64:
		if value := adapters.Float(n); !value.IsNone() {
			return value, true
		}
		b.bad(path, "what is no number is never published as one", "expected a number, not %v", n)
		return adapters.Value{}, false
	}
	b.mismatch(path, v, "a raw number, or a text of a device that sends text")
	return adapters.Value{}, false
}

// interval wants two numbers in order.
func interval(b *binder, path string, v any) (*adapters.Range, bool) {
	ends, isArray := v.([]any)
	if !isArray || len(ends) != 2 {
		b.bad(path, "", "expected the least and the greatest value, such as [0, 100], not %s", describe(v))
		return nil, false
	}
	low, ok := number(b, element(path, 0), ends[0])
	high, also := number(b, element(path, 1), ends[1])
	if !ok || !also {
		return nil, false
	}
	if low > high {
		b.bad(path, "", "the range begins with %v, above its end %v", low, high)
		return nil, false
	}
	return &adapters.Range{Low: low, High: high}, true
}

// notNegative wants a finite number from 0 on.
func notNegative(b *binder, path string, v any) (float64, bool) {
	n, ok := number(b, path, v)
	if ok && n < 0 {
		b.bad(path, "", "expected 0 or more, not %v", n)
		return 0, false
	}
	return n, ok
}

// mapping is how the point's raw values become what is published.
func (p *rawPoint) mapping() adapters.Mapping {
	return adapters.Mapping{Scale: p.scale, Offset: p.offset, Decimals: p.decimals, Bad: p.bad, Range: p.span}
}

// field gives the bits of a register that the point is, and whether it is one.
func (p *rawPoint) field() (f adapters.Field, single bool) {
	if p.has("bit") {
		return adapters.Field{Shift: p.bit, Bits: 1}, true
	}
	return p.bits, false
}

// checkBits checks bit and bits against the type.
func (b *binder) checkBits(p *rawPoint, table string, typ modbus.Type) {
	f, _ := p.field()
	key := "bits"
	if p.has("bit") {
		key = "bit"
	}
	switch {
	case !p.has("bit") && !p.has("bits") || !b.fine(p.at(key), p.at("type")):
	case p.has("bit") && p.has("bits"):
		b.badKey(p.at("bits"), "", "point %q has \"bit\" already: expected one of the two", p.name)
	case table == "coil" || table == "discrete":
		b.badKey(p.at(key), "", "%q is for registers: a %s is one bit", key, table)
	case !typ.Integer():
		b.badKey(p.at(key), "", "%q is for whole numbers such as u16: point %q is of type %v", key, p.name, typ)
	case int(f.Shift+f.Bits) > 8*typ.Bytes():
		b.bad(p.at(key), "", "type %v has the bits 0 to %d", typ, 8*typ.Bytes()-1)
	}
}

// checkLength checks that texts have a length and nothing else has.
func (b *binder) checkLength(p *rawPoint, typ modbus.Type) {
	switch is := typ == modbus.String; {
	case typ != modbus.Bool && !b.fine(p.at("type")):
	case is && !p.has("length"):
		b.badKey(p.path, "", "point %q is a string: it needs \"length\", its registers of two characters each", p.name)
	case !is && p.has("length"):
		b.badKey(p.at("length"), "", "\"length\" is for strings: type %v has its own", typ)
	}
}

// checkMap checks the words of a map against the raw numbers that can be.
func (b *binder) checkMap(p *rawPoint, low, high adapters.Value, of string) {
	for _, n := range slices.Sorted(maps.Keys(p.names)) {
		if !adapters.Int(n).Within(low, high) {
			b.badKey(b.inMap(p, n), "", "%d is never read: %s is %v to %v", n, of, low, high)
		}
	}
}

// inMap gives the path of a number in the map of a point.
func (b *binder) inMap(p *rawPoint, n int64) string {
	key := strconv.FormatInt(n, 10)
	if _, there := p.node.m["map"].(map[string]any)[key]; !there {
		key = "0x" + strconv.FormatInt(n, 16)
	}
	return child(p.at("map"), key)
}

// checkMeaning checks the keys about the meaning of a value against what the
// value of a Modbus point is.
func (b *binder) checkMeaning(p *rawPoint, typ modbus.Type) {
	f, single := p.field()
	switch {
	case typ != modbus.Bool && !b.fine(p.at("type"), p.at("bits"), p.at("bit")):
		return
	case typ == modbus.String:
		b.forNumbers(p, "text", "scale", "offset", "decimals", "min", "max", "range", "map")
	case typ == modbus.Bool || single:
		b.forNumbers(p, "true or false", "scale", "offset", "decimals", "min", "max", "range", "bad")
		b.checkMap(p, adapters.Int(0), adapters.Int(1), "a bit")
	case f.Bits > 0:
		b.checkMap(p, adapters.Int(0), f.Most(), fmt.Sprintf("a run of %d bits", f.Bits))
	case !typ.Float():
		low, high := typ.Limits()
		b.checkMap(p, low, high, "type "+typ.String())
	}
	b.checkBad(p, typ)
	if p.deadband != nil && *p.deadband > 0 && (typ == modbus.String || typ == modbus.Bool || single) {
		b.bad(p.at("deadband"), "0 publishes on change", "expected 0, as point %q is no number", p.name)
	}
}

// forNumbers reports keys that mean nothing for what is no number.
func (b *binder) forNumbers(p *rawPoint, is string, keys ...string) {
	for _, k := range keys {
		if p.has(k) {
			b.badKey(p.at(k), "", "%q is for numbers: point %q is %s", k, p.name, is)
		}
	}
}

// checkBad checks that each raw value of bad can be read. A number may be
// written with or without its sign: 65535 and -1 are the same 16 bits.
func (b *binder) checkBad(p *rawPoint, typ modbus.Type) {
	if !b.fine(p.at("bad")) {
		return
	}
	f, _ := p.field()
	for i, v := range p.bad {
		at := element(p.at("bad"), i)
		if n, whole := wholeNumber(v.String()); whole && typ.Integer() && v.Kind() == adapters.KindString {
			v, p.bad[i] = n, n
		}
		isText := v.Kind() == adapters.KindString
		switch {
		case isText != (typ == modbus.String):
			b.bad(at, "", "expected what type %v can hold, not %s", typ, describe(p.node.m["bad"].([]any)[i]))
		case f.Bits > 0 && !f.Fits(v), !typ.Float() && !isText && (v.Kind() != adapters.KindInt && v.Kind() != adapters.KindUint || !fitsBits(v, typ)):
			b.bad(at, "bad is compared with the raw number, before scale and offset", "type %v never reads %v", typ, v)
		}
	}
}

// wholeNumber reads a number of up to 64 bits that is written as text, since
// those of TOML end with 9223372036854775807: decimal, or hexadecimal behind 0x.
func wholeNumber(text string) (adapters.Value, bool) {
	digits, base := text, 10
	if hex, is := strings.CutPrefix(text, "0x"); is {
		digits, base = hex, 16
	}
	n, err := strconv.ParseUint(digits, base, 64)
	return adapters.Uint(n), err == nil
}

// fitsBits reports whether the bits of a type can mean n, with or without a sign.
func fitsBits(n adapters.Value, typ modbus.Type) bool {
	_, high := typ.Unsigned().Limits()
	return n.Within(adapters.Int(-1<<(8*typ.Bytes()-1)), high)
}

// checkPublishing checks deadband and heartbeat together, and what a device
// that publishes one object of all its points has no use for.
func (b *binder) checkPublishing(d *rawDevice, p *rawPoint) {
	if d.publish == PublishPoints {
		return
	}
	if reserved := []string{"time", "bad", "clock"}; slices.Contains(reserved, p.name) {
		b.badKey(p.path, "", "a point %q would be taken for a part of the object: with publish = %q expected another name", p.name, d.publish)
	}
	for _, k := range []string{"qos", "retain"} {
		if p.has(k) && d.publish == PublishDevice {
			b.badKey(p.at(k), `publish = "both" gives it one`, "%q is about a topic of its own: with publish = \"device\" point %q has none", k, p.name)
		}
	}
}
