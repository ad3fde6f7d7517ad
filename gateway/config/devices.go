package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sluice/adapters/line"
	"sluice/adapters/modbus"
	"sluice/adapters/uart"
)

// buildDevices turns the devices of a file into what the adapters of their
// lines want. Devices whose line is not known are checked as far as they can.
func (b *binder) buildDevices(f *rawFile, cfg *Config) {
	names := uses{}
	units := map[string]uses{}
	topics := topicUses{}
	b.claimOwnTopics(cfg, topics)
	for i := range f.devices {
		d := &f.devices[i]
		names.claim(b, d.name, d.at("name"), fmt.Sprintf("there is a device %q already", d.name))
		out := Device{Name: d.name, Line: d.line, OnOffline: d.onOffline, MaxCommandAge: d.maxCommandAge, Publish: d.publish, Topic: d.name}
		if d.topic != "" {
			out.Topic = d.topic
		}
		out.Topic = under(cfg.Gateway.Base, out.Topic)
		if b.fine(d.at("name"), d.at("topic"), "gateway") {
			b.claimTopics(d, &out, topics)
		}
		l := b.lineOf(f, d)
		if l == nil || l.kind == "" {
			continue
		}
		if l.kind == line.UART && d.has("use") {
			b.badKey(d.at("use"), "", `"use" is for devices on a Modbus line: the line of %s is of kind %q`, d.title(), l.kind)
			continue
		}
		onUART := uartDeviceKeys
		if l.listen {
			onUART = slices.DeleteFunc(slices.Clone(onUART), func(k string) bool { return k == "stale" }) // what is only listened to is, too
		}
		b.checkPlace(d.node, d.title(), l.kind, modbusDeviceKeys, onUART)
		if l.kind == line.UART {
			out.UART = b.uartDevice(d, l)
		} else {
			out.Modbus = b.modbusDevice(d, l)
			b.checkDelivered(d, cfg.Line(l.name))
			if units[l.name] == nil {
				units[l.name] = uses{}
			}
			if d.has("unit") && b.fine(d.at("unit")) {
				units[l.name].claim(b, strconv.Itoa(d.unit), d.at("unit"),
					fmt.Sprintf("line %q has a unit %d already", l.name, d.unit))
			}
		}
		out.Formulas = b.formulas(d)
		for i := range d.points {
			out.Points = append(out.Points, d.points[i].published(d, &out))
		}
		b.askDevice(d.path, &out)
		cfg.Devices = append(cfg.Devices, out)
	}
}

// published tells how a point goes out.
func (p *rawPoint) published(d *rawDevice, out *Device) Point {
	pt := Point{
		Point: p.shared, Topic: p.fullTopic(out), QoS: p.qos, Retain: p.retain, Safe: p.safe, SafeAfter: p.safeAfter,
		OnChange: p.deadband != nil || p.heartbeat > 0, Heartbeat: p.heartbeat,
	}
	if p.deadband != nil {
		pt.Deadband = *p.deadband
	}
	if out.Modbus != nil {
		pt.Every = cmp.Or(p.every, d.every)
	}
	return pt
}

func (p *rawPoint) fullTopic(d *Device) string {
	return under(d.Topic, cmp.Or(p.topic, p.name))
}

func (d *rawDevice) title() string {
	if d.name == "" {
		return "[[device]]"
	}
	return "device " + shorten(d.name)
}

// lineOf finds the line that a device names.
func (b *binder) lineOf(f *rawFile, d *rawDevice) *rawLine {
	var known []string
	doubtful := len(f.lines) == 0 && !b.fine("line")
	for i := range f.lines {
		l := &f.lines[i]
		if d.line != "" && l.name == d.line {
			return l
		}
		known = append(known, l.name)
		doubtful = doubtful || !b.fine(l.at("name"))
	}
	if d.line == "" || doubtful {
		return nil // told already
	}
	hint := "the lines are: " + strings.Join(known, ", ")
	if near := nearest(d.line, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	} else if len(known) == 0 {
		hint = "add a [[line]] with that name"
	}
	b.bad(d.at("line"), hint, "no [[line]] is called %s", shorten(d.line))
	return nil
}

// checkPlace reports keys that mean nothing on a line of this kind.
func (b *binder) checkPlace(n node, title string, kind line.Kind, onModbus, onUART []string) {
	wrong, where := onUART, "devices on a uart line"
	if kind == line.UART {
		wrong, where = onModbus, "devices on a Modbus line"
	}
	for _, k := range wrong {
		where := where
		if k == "stale" {
			where += ", or on a Modbus line that is only listened to (listen = true)"
		}
		if n.has(k) {
			b.badKey(n.at(k), "", "%q is for %s: the line of %s is of kind %q", k, where, title, kind)
		}
	}
}

func (b *binder) modbusDevice(d *rawDevice, l *rawLine) *modbus.DeviceConfig {
	c := &modbus.DeviceConfig{
		Name: d.name, Unit: uint8(d.unit), Every: d.every, Delay: d.delay, MaxRegisters: d.maxRegisters, Wide: d.registerBytes == 4,
	}
	switch {
	case !d.has("unit"):
		b.missing(d.node, d.title(), "unit")
	case !b.fine(d.at("unit")):
	case l.kind != line.TCP && (d.unit < 1 || d.unit > 247):
		b.bad(d.at("unit"), "", "%d is out of range: expected a unit id from 1 to 247 on a serial line", d.unit)
	case d.unit < 1 || d.unit > 247 && d.unit != 255:
		b.bad(d.at("unit"), "use 255 for a network device that has no unit id",
			"%d is out of range: expected a unit id from 1 to 247, or 255", d.unit)
	}
	for i := range d.points {
		p := &d.points[i]
		b.checkPublishing(d, p)
		if p.has("expr") {
			continue
		}
		b.checkPlace(p.node, d.title(), l.kind, modbusPointKeys, uartPointKeys)
		c.Points = append(c.Points, b.modbusPoint(d, p))
	}
	if l.listen {
		c.Stale = d.stale
		b.checkListened(d, l)
	}
	b.checkOverlap(d, c)
	return c
}

// checkOverlap warns of points that share a part of their registers: one of the
// addresses or types is likely to be wrong.
func (b *binder) checkOverlap(d *rawDevice, c *modbus.DeviceConfig) {
	type register struct {
		table   modbus.Table
		address int
	}
	taken := map[register][]modbus.PointConfig{}
	for _, p := range c.Points {
		raw := d.point(p.Point.Name)
		if !b.fine(raw.path) {
			continue
		}
		told := false
		for r := range p.Width() {
			at := register{p.Table, int(p.Address) + r}
			for _, other := range taken[at] {
				if !told && !sharesWell(p, other) {
					told = true
					b.warn(raw.at(p.Table.String()), "check the address and the type of both",
						"point %q overlaps point %q of the same device", p.Point.Name, other.Point.Name)
				}
			}
			taken[at] = append(taken[at], p)
		}
	}
}

// sharesWell reports whether two points are views of the very same registers,
// such as raw and scaled, or of bits of them that do not overlap in part.
func sharesWell(p, q modbus.PointConfig) bool {
	a, b := p.Field.Mask(), q.Field.Mask()
	return p.Address == q.Address && p.Width() == q.Width() && (a&b == 0 || a&b == a || a&b == b)
}

// point gives the point of that name, which there is.
func (d *rawDevice) point(name string) *rawPoint {
	return &d.points[slices.IndexFunc(d.points, func(p rawPoint) bool { return p.name == name })]
}

func (b *binder) uartDevice(d *rawDevice, l *rawLine) *uart.DeviceConfig {
	c := &uart.DeviceConfig{Name: d.name, Match: d.match, Frame: l.framing(), Request: d.request, Stale: d.stale}
	if d.has("request") {
		c.Every = d.every
		if d.every == 0 && b.fine(d.at("every")) {
			b.bad(d.at("every"), "", "expected a period above 0, at which the device is asked")
		}
	} else if d.has("every") {
		b.badKey(d.at("every"), `give it a "request", or leave "every" out`, `"every" is how often a device is asked: %s speaks by itself`, d.title())
	}
	spoken := d.match != nil
	for i := range d.points {
		p := &d.points[i]
		b.checkPublishing(d, p)
		if p.has("expr") {
			continue
		}
		wrong := slices.DeleteFunc(slices.Clone(modbusPointKeys), func(k string) bool {
			return p.has("at") && slices.Contains(binaryPointKeys, k) || p.has("from") && k == "type"
		})
		b.checkPlace(p.node, d.title(), l.kind, wrong, uartPointKeys)
		c.Points = append(c.Points, b.uartPoint(d, p, l))
		spoken = spoken || p.has("at")
	}
	if !spoken {
		c.Stale = 0 // it never speaks unasked
		if d.has("request") {
			b.badKey(d.at("request"), `add "match", or points with "at"`, "nothing is read from what %s answers to \"request\"", d.title())
		}
	}
	return c
}

// claimTopics takes the topics of a device and of its points.
func (b *binder) claimTopics(d *rawDevice, out *Device, topics topicUses) {
	title := d.title()
	at := d.at("topic")
	if !d.has("topic") {
		at = d.at("name")
	}
	alone := topics.claim(b, out.Availability(), "the availability of "+title, at)
	if d.publish != PublishPoints {
		topics.claim(b, out.Topic, "the object of "+title, at)
	}
	for i := range d.points {
		p := &d.points[i]
		at := p.at("topic")
		if !p.has("topic") {
			at = p.path
			if !alone {
				continue // another topic for the device will part them
			}
		}
		if !b.fine(at) {
			continue
		}
		who := fmt.Sprintf("point %q of %s", p.name, title)
		topic := p.fullTopic(out)
		if topics.claim(b, topic, who, at) && (p.has("write") || p.has("send")) {
			topics.claim(b, topic+"/set", "the commands of "+who, at)
			topics.claim(b, topic+"/result", "the results of "+who, at)
		}
	}
}

// uses remembers where each name was first used.
type uses map[string]string

// claim notes a name, and reports the text at path if it is taken.
func (u uses) claim(b *binder, name, path, text string) {
	if name == "" || !b.fine(path) {
		return
	}
	first, taken := u[name]
	if !taken {
		u[name] = path
		return
	}
	b.bad(path, "", "%s%s: expected another", text, b.inLine(first))
}

// inLine says where path is, if that is known.
func (b *binder) inLine(path string) string {
	at, _, ok := b.places.find(path)
	if !ok {
		return ""
	}
	if at.in != nil {
		line, _ := at.in.lineCol(at.key.start)
		return fmt.Sprintf(" (%s:%d)", at.in.file, line)
	}
	line, _ := b.places.lineCol(at.key.start)
	return fmt.Sprintf(" (line %d)", line)
}

// claimOwnTopics takes the topics of the gateway itself out of the choice.
func (b *binder) claimOwnTopics(cfg *Config, topics topicUses) {
	own := "sluice/" + cfg.Gateway.ID
	topics[own+"/availability"] = topicUse{who: "the gateway itself"}
	for i := range cfg.Lines {
		topics[own+"/line/"+cfg.Lines[i].Name] = topicUse{who: "the health of line " + shorten(cfg.Lines[i].Name)}
	}
	for i := range cfg.Upstreams {
		topics[own+"/upstream/"+cfg.Upstreams[i].Name] = topicUse{who: "the health of upstream " + shorten(cfg.Upstreams[i].Name)}
	}
}
