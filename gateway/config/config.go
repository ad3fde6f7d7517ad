// Package config reads the gateway's configuration file: strict TOML in, the
// typed configuration of every room out. It reports all that is wrong with a
// file in one run, each problem with its place, what was expected and, where
// one is near, the word that was probably meant.
package config

import (
	"fmt"
	"time"

	"sluice/adapters"
	"sluice/adapters/formula"
	"sluice/adapters/line"
	"sluice/adapters/modbus"
	"sluice/adapters/uart"
	"sluice/bridge"
	"sluice/gateway/web"
	"sluice/mqttcore"
	"sluice/mqttcore/store"
)

// SimPort is the port of a line that is simulated and needs no hardware.
const SimPort = "sim"

// Config is one valid configuration file. It is not changed after Load, so it
// may be read from any goroutine.
type Config struct {
	// File is the path the configuration was read from, as it was given.
	File string

	Gateway Gateway
	Broker  mqttcore.Config
	Store   store.Options // Dir and the sizes are set, and CommitInterval; the rest is the caller's
	// AutoCommit leaves Store.CommitInterval to the medium of Store.Dir.
	AutoCommit bool
	Web        web.Config
	Upstreams  []Upstream
	Lines      []Line   // in file order
	Devices    []Device // in file order

	// Warnings are findings that do not keep the gateway from running: port
	// names that change with the order of plugging in, lines that are asked
	// for more than they can carry. Sorted by place.
	Warnings Problems
}

// Gateway is the [gateway] table.
type Gateway struct {
	ID      string  // one topic level; the host name unless given
	Base    string  // prefix of relative topics without a trailing slash; "" for none
	Data    string  // folder of everything that must survive; absolute if the file's path is
	Payload Payload // how readings are written
	Clock   Clock   // when the time of day is taken for right
}

// Clock says when the machine's time of day is taken for right.
type Clock string

// The ways to take the machine's time of day.
const (
	ClockAuto    Clock = "auto"    // when the machine says that it was set
	ClockTrusted Clock = "trusted" // always
)

// Payload is the form of a published reading.
type Payload string

// The forms of a payload.
const (
	PayloadJSON  Payload = "json"  // an object with value, unit, time and quality
	PayloadValue Payload = "value" // the bare value, good readings only
)

// Upstream is one [[upstream]].
type Upstream struct {
	bridge.Config
}

// Line is one [[line]].
type Line struct {
	line.Config
	// Sim tells that the line is simulated: Port is SimPort, and is to be
	// replaced by the path of the simulated port.
	Sim bool
	// Share is the line's door for other masters; without Listen it has none.
	Share modbus.DoorConfig
}

// Device is one [[device]]. Exactly one of Modbus and UART is set, by the kind
// of its line.
type Device struct {
	Name  string
	Line  string // name of its line; always one of Config.Lines
	Topic string // full topic, below which its points and its availability are

	// OnOffline says what becomes of a command while the device is away.
	OnOffline OnOffline
	// MaxCommandAge is how old a command may get before it is carried out.
	MaxCommandAge time.Duration

	Modbus *modbus.DeviceConfig
	UART   *uart.DeviceConfig
	// Formulas are the computed points, in an order in which each comes after
	// those that it needs.
	Formulas []Formula
	Points   []Point // in file order: those of Modbus or UART, and of Formulas
	Publish  Publish
}

// Publish is what of a device is published.
type Publish string

// The ways to publish a device.
const (
	PublishPoints Publish = "points" // each point on a topic of its own
	PublishDevice Publish = "device" // one JSON object of all points on the device's topic, once a cycle
	PublishBoth   Publish = "both"
)

// Formula is a computed point. It has compiled once.
type Formula struct {
	*adapters.Point
	adapters.Mapping
	Text   string                  // of the expression
	Points map[string]formula.Kind // what it may name
}

// Availability is the topic that tells whether the device answers.
func (d *Device) Availability() string { return d.Topic + "/availability" }

// OnOffline is what becomes of a command for a device that does not answer.
type OnOffline string

// The ways to treat a command for a device that does not answer.
const (
	KeepCommand   OnOffline = "keep"   // the newest is kept for a while
	RejectCommand OnOffline = "reject" // answered with an error at once
)

// Point is how one point is published and commanded.
type Point struct {
	*adapters.Point        // shared with the adapter's own PointConfig
	Topic           string // full topic of its readings
	QoS             byte   // 0, 1 or 2
	Retain          bool
	// Safe is what the point is set to when nobody who commands it has been
	// heard for SafeAfter; 0: it has no safe value.
	Safe      adapters.Value
	SafeAfter time.Duration

	// Every is the period at which it is read (the device's for a computed one),
	// 0 where that is not known; modbus.Once if only once.
	Every time.Duration
	// OnChange leaves out readings that are less than Deadband away from the
	// one published last, if that is not Heartbeat ago (0: however long).
	OnChange  bool
	Deadband  float64
	Heartbeat time.Duration
}

// SetTopic is the topic that takes commands for the point.
func (p *Point) SetTopic() string { return p.Topic + "/set" }

// ResultTopic is the topic on which commands are answered.
func (p *Point) ResultTopic() string { return p.Topic + "/result" }

// Device gives the device of that name, or nil.
func (c *Config) Device(name string) *Device {
	for i := range c.Devices {
		if c.Devices[i].Name == name {
			return &c.Devices[i]
		}
	}
	return nil
}

// Line gives the line of that name, or nil.
func (c *Config) Line(name string) *Line {
	for i := range c.Lines {
		if c.Lines[i].Name == name {
			return &c.Lines[i]
		}
	}
	return nil
}

// DevicesOn gives the devices of one line in file order.
func (c *Config) DevicesOn(line string) []*Device {
	var on []*Device
	for i := range c.Devices {
		if c.Devices[i].Line == line {
			on = append(on, &c.Devices[i])
		}
	}
	return on
}

// String names the file and counts what it holds. It shows no secret.
func (c *Config) String() string {
	points := 0
	for i := range c.Devices {
		points += len(c.Devices[i].Points)
	}
	return fmt.Sprintf("%s: %d lines, %d devices, %d points, %d upstreams",
		c.File, len(c.Lines), len(c.Devices), points, len(c.Upstreams))
}

// GoString is String, so that no verb of fmt prints a secret.
func (c *Config) GoString() string { return c.String() }

// String names the upstream and shows no secret.
func (u Upstream) String() string { return fmt.Sprintf("upstream %q (%s)", u.Name, u.URL) }

// GoString is String, so that no verb of fmt prints a secret.
func (u Upstream) GoString() string { return u.String() }
