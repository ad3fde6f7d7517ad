package config

import (
	"cmp"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"sluice/adapters"
	"sluice/adapters/modbus"
	"sluice/adapters/uart"
)

// points wants the table [device.points], one inline table a point.
func points(b *binder, path string, v any) ([]rawPoint, bool) {
	m, isTable := v.(map[string]any)
	if !isTable {
		b.mismatch(path, v, "a table [device.points]")
		return nil, false
	}
	if len(m) == 0 {
		b.bad(path, "", "expected at least one point, such as temp = { input = 0, type = \"i16\" }")
		return nil, false
	}
	var all []rawPoint
	for _, key := range b.inFileOrder(path, m) {
		at := child(path, key)
		entry, isTable := m[key].(map[string]any)
		if !isTable {
			hint := ""
			if slices.Contains(b.owners(key, ""), "[[device]]") {
				hint = key + " of a [[device]] is written above its [device.points]"
			}
			b.bad(at, hint, "expected a point such as { input = 0, type = \"i16\" }, not %s", describe(m[key]))
			continue
		}
		if err := checkName(key); err != nil {
			b.badKey(at, "", "expected a name for the point: %v", err)
		}
		n := node{at, entry}
		p := newPoint(n)
		p.name = key
		bindTable(b, pointTable, "point "+shorten(key), n, &p)
		b.checkClass(&p)
		all = append(all, p)
	}
	return all, true
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

// inFileOrder gives the keys of a table as they stand in the file, those of a
// profile first.
func (b *binder) inFileOrder(path string, m map[string]any) []string {
	keys := sortedKeys(m)
	slices.SortStableFunc(keys, func(x, y string) int {
		a, b := b.places.places[child(path, x)], b.places.places[child(path, y)]
		switch {
		case a.in != nil && b.in == nil:
			return -1
		case a.in == nil && b.in != nil:
			return 1
		}
		return cmp.Compare(a.key.start, b.key.start)
	})
	return keys
}

// point makes what the adapters share of a point.
func (p *rawPoint) point(device string, writable bool) *adapters.Point {
	p.shared = &adapters.Point{
		Device: device, Name: p.name, Unit: p.unit, Class: p.class, Writable: writable, Min: p.min, Max: p.max, Names: p.names,
	}
	return p.shared
}

// checkBounds checks min and max, which only commands need.
func (b *binder) checkBounds(p *rawPoint, writable bool, needs string) {
	for _, k := range []string{"min", "max"} {
		if p.has(k) && !writable {
			b.badKey(p.at(k), "", "%q bounds what may be written: point %q needs %s for it", k, p.name, needs)
		}
	}
	if p.min != nil && p.max != nil && *p.min > *p.max {
		b.bad(p.at("min"), "", "min %v is above max %v", *p.min, *p.max)
		return
	}
	if !b.fine(p.at("map"), p.at("min"), p.at("max"), p.at("scale"), p.at("offset")) {
		return
	}
	for _, n := range slices.Sorted(maps.Keys(p.names)) {
		if f := p.shown(adapters.Int(n)); p.min != nil && f < *p.min || p.max != nil && f > *p.max {
			b.warn(b.inMap(p, n), "commands with the word set it all the same", "%q is outside of what min and max allow", p.names[n])
		}
	}
}

// checkReach refuses bounds between which the type of a point has nothing, and
// warns of those that it can't get to.
func (b *binder) checkReach(p *rawPoint, c *modbus.PointConfig) {
	if c.Type.Float() || !c.Type.Number() || !b.fine(p.path) {
		return
	}
	least, most := c.Type.Limits()
	if c.Field.Bits > 0 {
		least, most = adapters.Int(0), c.Field.Most()
	}
	low, high := p.shown(least), p.shown(most)
	low, high = min(low, high), max(low, high)
	for k, impossible := range map[string]bool{"min": p.min != nil && *p.min > high, "max": p.max != nil && *p.max < low} {
		if impossible {
			b.bad(p.at(k), "check the type", "nothing could be written: point %q is %v to %v by its type", p.name, low, high)
			return
		}
	}
	if p.min != nil && *p.min < low {
		b.warn(p.at("min"), "check the type", "min %v is never reached: point %q is %v to %v by its type", *p.min, p.name, low, high)
	}
	if p.max != nil && *p.max > high {
		b.warn(p.at("max"), "check the type", "max %v is never reached: point %q is %v to %v by its type", *p.max, p.name, low, high)
	}
}

// shown gives the number that is published for a raw one.
func (p *rawPoint) shown(raw adapters.Value) float64 {
	m := p.mapping()
	m.Bad, m.Range = nil, nil
	value, _ := m.Apply(raw, nil)
	n, _ := value.Number()
	return n
}

// modbusPoint turns a point of a Modbus device into the poller's
// configuration.
func (b *binder) modbusPoint(d *rawDevice, p *rawPoint) modbus.PointConfig {
	c := modbus.PointConfig{
		Length: p.length, Order: d.order, Mapping: p.mapping(),
		Every: p.every, Write: p.write, Priority: p.priority, Wide: d.registerBytes == 4,
	}
	if p.has("order") {
		c.Order = p.order
	}
	c.Field, c.Bit = p.field()
	addresses := map[string]int64{"coil": p.coil, "discrete": p.discrete, "input": p.input, "holding": p.holding}
	kind := ""
	for _, table := range []modbus.Table{modbus.Coil, modbus.Discrete, modbus.Input, modbus.Holding} {
		word := table.String()
		switch {
		case !p.has(word):
			continue
		case kind != "":
			b.badKey(p.at(word), "", "point %q has %q already: expected one of coil, discrete, input and holding", p.name, kind)
			continue
		}
		kind, c.Table = word, table
		if !b.fine(p.at(word), d.at("numbering")) {
			continue
		}
		wire, text, hint := d.numbering.wireAddress(table, addresses[word])
		if text != "" {
			b.bad(p.at(word), hint, "%s", text)
		} else if d.numbering != byManual && manualTable(addresses[word]) == word {
			b.warn(p.at(word), `if it is one, set numbering = "40001" for the device`,
				"%d looks like a number from a manual (%s), and is taken as an address on the wire", addresses[word], word)
		}
		c.Address = wire
	}
	if kind == "" && b.fine(p.path) {
		b.badKey(p.path, "", "point %q needs one of coil, discrete, input and holding: its address", p.name)
	}
	bit := c.Table == modbus.Coil || c.Table == modbus.Discrete
	c.Type = modbus.U16
	if bit {
		c.Type = modbus.Bool
	}
	c.Type = b.codec(p, c.Type)
	if kind != "" {
		b.checkModbusKeys(p, kind, bit, c.Type)
	}
	if b.fine(p.path) && int(c.Address)+c.Width() > 65536 {
		b.bad(p.at(kind), "", "a value of %d registers does not fit here: the table ends with address 65535", c.Width())
	}
	b.checkBounds(p, p.has("write"), `the key "write"`)
	b.checkReach(p, &c)
	c.Function = p.fc
	c.Point = p.point(d.name, c.Write != modbus.ReadOnly)
	c.Point.Text = c.Type == modbus.String
	if kind != "" {
		b.checkFunction(p, &c, kind)
	}
	b.checkSafe(p, p.has("write"), `the key "write"`, c.Accepts)
	b.checkStep(p, c.Type)
	return c
}

// checkStep checks that a safe value is one that the type of the point holds
// with its scale and offset, and not between two.
func (b *binder) checkStep(p *rawPoint, typ modbus.Type) {
	if !p.has("safe") || typ.Float() || !typ.Number() || !b.fine(p.path) {
		return
	}
	m := p.mapping()
	n, isNumber := m.Raw(p.safe).Number()
	const leftBehind = 1e-6 // by the division
	if near := math.Round(n); isNumber && math.Abs(n-near) > leftBehind {
		b.bad(p.at("safe"), "check the type and the scale", "expected a value that the point can be set to: it would be set to %v, not %v",
			p.shown(adapters.Float(near)), p.safe)
	}
}

// checkFunction checks that what a point is to be written with can do it.
func (b *binder) checkFunction(p *rawPoint, c *modbus.PointConfig, kind string) {
	at := p.at("fc")
	switch {
	case !p.has("fc") || !b.fine(at, p.at("type")):
	case !p.has("write"):
		b.badKey(at, "", "\"fc\" is the function to write with: point %q needs the key \"write\" for it", p.name)
	case c.Function == modbus.WriteRegister && c.Table == modbus.Holding && !c.Function.Fits(*c):
		b.bad(at, "use 16", "function 6 writes one register: a value of type %v has %d", c.Type, c.Width())
	case !c.Function.Fits(*c):
		b.bad(at, "", "function %d does not write a %s point: expected 5 or 15 for a coil, 6 or 16 for holding registers", c.Function, kind)
	}
}

// checkSafe checks the safe value of a point and when it is written.
func (b *binder) checkSafe(p *rawPoint, writable bool, needs string, accepts func(adapters.Value) error) {
	for _, pair := range [][2]string{{"safe", "safe_after"}, {"safe_after", "safe"}} {
		k, other := pair[0], pair[1]
		switch {
		case !p.has(k):
		case !writable:
			b.badKey(p.at(k), "", "%q is about what is written: point %q needs %s for it", k, p.name, needs)
		case !p.has(other):
			b.badKey(p.at(k), "", "%q needs %q beside it: point %q is set to \"safe\" when nobody who commands it was heard for \"safe_after\"", k, other, p.name)
		}
	}
	if !p.has("safe") || !writable || !b.fine(p.at("safe"), p.at("type"), p.at("min"), p.at("max")) {
		return
	}
	err := accepts(p.safe)
	if err != nil && p.safe.Kind() == adapters.KindString {
		if v := p.shared.Parse(p.safe.String()); accepts(v) == nil { // as in a command
			p.safe, err = v, nil
		}
	}
	n, isNumber := p.safe.Number()
	switch {
	case err != nil:
		b.bad(p.at("safe"), "", "expected a value that the point can be set to: %v", err)
	case isNumber && (p.min != nil && n < *p.min || p.max != nil && n > *p.max):
		b.bad(p.at("safe"), "", "safe %v is outside of what min and max allow", n)
	}
}

// checkModbusKeys checks the keys of a point against what its table can do.
func (b *binder) checkModbusKeys(p *rawPoint, kind string, bit bool, typ modbus.Type) {
	if bit && p.has("type") && typ != modbus.Bool && b.fine(p.at("type")) {
		b.bad(p.at("type"), "", "a %s is one bit: expected \"bool\", or no type", kind)
	}
	if bit {
		typ = modbus.Bool
	}
	b.checkLength(p, typ)
	b.checkBits(p, kind, typ)
	b.checkMeaning(p, typ)
	if bit && p.has("order") {
		b.badKey(p.at("order"), "", "\"order\" is for registers: a %s is one bit", kind)
	}
	if p.has("write") && (kind == "discrete" || kind == "input") {
		hint := "use holding, if the manual lists it there"
		if kind == "discrete" {
			hint = "use coil, if the manual lists it there"
		}
		b.badKey(p.at("write"), hint, "%s cannot be written in Modbus", map[string]string{"discrete": "a discrete input", "input": "an input register"}[kind])
	}
}

// placeholder matches what looks as if something else were put in its place.
var placeholder = regexp.MustCompile(`\{ *[A-Za-z_]*[0-9]* *\}`)

// uartPoint turns a point of a device on a UART into the listener's
// configuration.
func (b *binder) uartPoint(d *rawDevice, p *rawPoint, l *rawLine) uart.PointConfig {
	c := uart.PointConfig{
		From: p.from, Type: b.textType(p), Mapping: p.mapping(),
		Send: p.send, Timeout: p.timeout,
	}
	if p.expect != nil {
		c.Expect = p.expect.String()
	}
	if !p.has("from") && !p.has("at") && !p.has("send") && b.fine(p.path) {
		b.badKey(p.path, "", "point %q needs \"from\", a group of match, \"at\", a place in the frame, or \"send\", a command", p.name)
	}
	if p.has("at") {
		c.Binary = b.binary(d, p, l)
	}
	if p.has("from") && b.fine(p.at("from"), d.at("match")) {
		b.checkGroup(d, p)
	}
	for _, k := range []string{"expect", "timeout"} {
		if p.has(k) && !p.has("send") {
			b.badKey(p.at(k), "", "%q is about the answer to a command: point %q needs the key \"send\" for it", k, p.name)
		}
	}
	for _, m := range placeholder.FindAllString(p.send, -1) {
		if m != "{value}" && (m != "{}" || !strings.Contains(p.send, "{value}")) {
			b.warn(p.at("send"), "{value} stands for the value of a command", "%s is sent as it stands", m)
		}
	}
	b.checkBounds(p, p.has("send"), `the key "send"`)
	c.Point = p.point(d.name, p.has("send"))
	b.checkSafe(p, p.has("send"), `the key "send"`, c.Accepts)
	return c
}

// binary turns the place of a point in a frame of bytes into the listener's
// configuration; nil if something is wrong with it.
func (b *binder) binary(d *rawDevice, p *rawPoint, l *rawLine) *uart.Binary {
	place := &uart.Binary{At: p.place, Type: b.codec(p, adapters.TypeU8), Order: d.order}
	if p.has("order") {
		place.Order = p.order
	}
	place.Field, place.Bit = p.field()
	b.checkBits(p, "", place.Type)
	b.checkMeaning(p, place.Type)
	switch {
	case !b.fine(p.path, l.at("frame")):
		return nil
	case p.has("from"):
		b.badKey(p.at("at"), "", "point %q has \"from\" already: expected one of from and at", p.name)
	case place.Type == adapters.TypeString:
		b.bad(p.at("type"), `text is read with "match" and "from"`, "expected a type of numbers: point %q has \"at\"", p.name)
	case place.Size() == 3 && (place.Order == adapters.CDAB || place.Order == adapters.BADC):
		at := p.at("order")
		if !p.has("order") {
			at = p.at("type")
		}
		b.bad(at, "", "three bytes have no order %s: expected order \"ABCD\" or \"DCBA\" (the least significant byte first)", place.Order)
	case l.frame.length > 0 && p.place+place.Size() > l.frame.length:
		b.bad(p.at("at"), "", "a value of %d bytes does not fit here: the frame ends after %d", place.Size(), l.frame.length)
	default:
		return place
	}
	return nil
}

// checkGroup checks that what a point is read from is a group of the match.
func (b *binder) checkGroup(d *rawDevice, p *rawPoint) {
	if d.match == nil {
		b.bad(p.at("from"), "", "device %q has no \"match\" to take a value from", d.name)
		return
	}
	var groups []string // a copy: the names belong to the expression
	for _, name := range d.match.SubexpNames() {
		if name != "" {
			groups = append(groups, name)
		}
	}
	switch near := nearest(p.from, groups); {
	case slices.Contains(groups, p.from):
	case near != "":
		b.bad(p.at("from"), "did you mean "+shorten(near)+"?", "match has no group called %s", shorten(p.from))
	case len(groups) == 0:
		b.bad(p.at("from"), "name a group of it: (?P<"+p.from+">…)", "match has no group called %s", shorten(p.from))
	default:
		b.bad(p.at("from"), "its groups are: "+strings.Join(groups, ", "), "match has no group called %s", shorten(p.from))
	}
}
