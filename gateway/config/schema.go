package config

import (
	"regexp"
	"time"

	"sluice/adapters"
	"sluice/adapters/line"
	"sluice/adapters/modbus"
	"sluice/bridge"
	"sluice/mqttcore"
)

// The tables of a file. To add a key, add its line to a table, its field to
// the struct beside it, and use the field where the rooms' configurations are
// built.

const (
	second = time.Second
	minute = time.Minute
	hour   = time.Hour
	day    = 24 * hour

	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
	tib = 1 << 40
)

// rawFile is a whole file.
type rawFile struct {
	gateway   rawGateway
	broker    rawBroker
	web       rawWeb
	upstreams []rawUpstream
	lines     []rawLine
	devices   []rawDevice
}

var fileTable = table[rawFile]{
	key("gateway", sub(gatewayTable, "[gateway]", newGateway), func(f *rawFile) *rawGateway { return &f.gateway }),
	key("broker", sub(brokerTable, "[broker]", newBroker), func(f *rawFile) *rawBroker { return &f.broker }),
	key("web", sub(webTable, "[web]", newWeb), func(f *rawFile) *rawWeb { return &f.web }),
	key("upstream", tables(upstreamTable, "[[upstream]]", newUpstream), func(f *rawFile) *[]rawUpstream { return &f.upstreams }),
	key("line", tables(lineTable, "[[line]]", newLine), func(f *rawFile) *[]rawLine { return &f.lines }),
	key("device", tables(deviceTable, "[[device]]", newDevice), func(f *rawFile) *[]rawDevice { return &f.devices }),
}

// sections lists the tables for hints.
func sections() []section {
	return []section{
		{"[gateway]", gatewayTable.names()},
		{"[broker]", brokerTable.names()},
		{"the queue of [broker]", waitingTable.names()},
		{"[[broker.acl]]", aclTable.names()},
		{"[web]", webTable.names()},
		{"[[upstream]]", upstreamTable.names()},
		{"the queue of [[upstream]]", queueTable.names()},
		{"[[line]]", lineTable.names()},
		{"the frame of [[line]]", frameTable.names()},
		{"[[device]]", deviceTable.names()},
		{"a point of [device.points]", pointTable.names()},
		{"a profile", profileTable.names()},
	}
}

type rawGateway struct {
	node
	id, base, data string
	payload        Payload
	clock          Clock
}

func newGateway(n node) rawGateway {
	return rawGateway{node: n, payload: PayloadJSON, clock: ClockAuto}
}

var gatewayTable = table[rawGateway]{
	key("id", name("the gateway"), func(g *rawGateway) *string { return &g.id }),
	key("base", topicBase, func(g *rawGateway) *string { return &g.base }),
	key("data", text("the path of a folder"), func(g *rawGateway) *string { return &g.data }),
	key("payload", oneOf(PayloadJSON, PayloadValue), func(g *rawGateway) *Payload { return &g.payload }),
	key("clock", oneOf(ClockAuto, ClockTrusted), func(g *rawGateway) *Clock { return &g.clock }),
}

type rawBroker struct {
	node
	listen           []string
	anonymous        bool
	users            string
	cert             string
	key              string
	clientCA         string
	acl              []rawACL
	maxConnections   int
	maxPacketSize    int
	receiveMaximum   uint16
	sessionExpiryMax time.Duration
	maxInflight      int
	durability       time.Duration
	rawLimits
}

func newBroker(n node) rawBroker {
	return rawBroker{node: n, rawLimits: rawLimits{waiting: newWaiting(node{})}, listen: []string{"tcp://127.0.0.1:1883"}, durability: byMedium}
}

var brokerTable = append(table[rawBroker]{
	key("listen", list(checked(`an address such as "tcp://127.0.0.1:1883"`, checkListen), `addresses such as ["tcp://127.0.0.1:1883"]`),
		func(b *rawBroker) *[]string { return &b.listen }),
	key("anonymous", boolean, func(b *rawBroker) *bool { return &b.anonymous }),
	key("users", text("the path of a users file"), func(b *rawBroker) *string { return &b.users }),
	key("cert", text("the path of a certificate"), func(b *rawBroker) *string { return &b.cert }),
	key("key", text("the path of the certificate's key"), func(b *rawBroker) *string { return &b.key }),
	key("client_ca", text("the path of the certificates that sign those of clients"), func(b *rawBroker) *string { return &b.clientCA }),
	key("acl", tables(aclTable, "[[broker.acl]]", newACL), func(b *rawBroker) *[]rawACL { return &b.acl }),
	key("max_connections", integer[int](1, 1_000_000), func(b *rawBroker) *int { return &b.maxConnections }),
	key("max_packet_size", size[int](64, 256*mib), func(b *rawBroker) *int { return &b.maxPacketSize }),
	key("receive_maximum", integer[uint16](1, 65535), func(b *rawBroker) *uint16 { return &b.receiveMaximum }),
	key("session_expiry_max", duration(second, 49710*day), func(b *rawBroker) *time.Duration { return &b.sessionExpiryMax }),
	key("max_inflight", integer[int](1, 16384), func(b *rawBroker) *int { return &b.maxInflight }),
	key("durability", durability, func(b *rawBroker) *time.Duration { return &b.durability }),
}, limitKeys...)

// byMedium is the durability that the medium of the data folder decides on.
const byMedium time.Duration = -1

// durability is how long a commit may gather what comes in. strict gathers
// nothing on purpose: what arrives while one commit is being written goes into
// the next.
var durability = choice([]string{"auto", "strict", "10ms", "250ms", "2s"},
	byMedium, 0, 10*time.Millisecond, 250*time.Millisecond, 2*second)

type rawWeb struct {
	node
	listen string
}

func newWeb(n node) rawWeb { return rawWeb{node: n, listen: "127.0.0.1:8080"} }

var webTable = table[rawWeb]{
	key("listen", checked(`an address such as "127.0.0.1:8080", or "" for none`, checkWebListen), func(w *rawWeb) *string { return &w.listen }),
}

type rawUpstream struct {
	node
	name, url, clientID, username, passwordFile, prefix string
	credential, ca, cert, key, alpn, serverName, proxy  string
	version                                             int
	keepAlive, sessionExpiry                            time.Duration
	out, in                                             []string
	mark                                                bool
	qos                                                 byte
	window                                              int
	order                                               bridge.Order
	rate                                                int64 // bytes a second, 0 = any
	profile                                             string
	retain                                              bool
	queue                                               rawQueue
}

func newUpstream(n node) rawUpstream {
	return rawUpstream{
		node: n, version: 5, qos: 1, keepAlive: 30 * second, sessionExpiry: 7 * day, order: bridge.FIFO, retain: true,
		queue: newQueue(node{}),
	}
}

var upstreamTable = table[rawUpstream]{
	must(key("name", name("the upstream"), func(u *rawUpstream) *string { return &u.name })),
	must(key("url", upstreamURL, func(u *rawUpstream) *string { return &u.url })),
	key("version", mqttVersion, func(u *rawUpstream) *int { return &u.version }),
	key("client_id", text("an MQTT client identifier"), func(u *rawUpstream) *string { return &u.clientID }),
	key("username", text("a user name"), func(u *rawUpstream) *string { return &u.username }),
	key("password_file", text("the path of a file that holds the password"), func(u *rawUpstream) *string { return &u.passwordFile }),
	key("credential", checked("the name of a credential, as in LoadCredential= of the unit", checkCredential), func(u *rawUpstream) *string { return &u.credential }),
	key("ca", text("the path of the certificates that vouch for the upstream"), func(u *rawUpstream) *string { return &u.ca }),
	key("cert", text("the path of our certificate"), func(u *rawUpstream) *string { return &u.cert }),
	key("key", text("the path of our certificate's key"), func(u *rawUpstream) *string { return &u.key }),
	key("alpn", text("the name of a protocol"), func(u *rawUpstream) *string { return &u.alpn }),
	key("server_name", text("the name in the upstream's certificate"), func(u *rawUpstream) *string { return &u.serverName }),
	key("proxy", proxyURL, func(u *rawUpstream) *string { return &u.proxy }),
	key("keepalive", duration(second, 18*hour), func(u *rawUpstream) *time.Duration { return &u.keepAlive }),
	key("session_expiry", duration(second, 49710*day), func(u *rawUpstream) *time.Duration { return &u.sessionExpiry }),
	key("out", filters, func(u *rawUpstream) *[]string { return &u.out }),
	key("in", filters, func(u *rawUpstream) *[]string { return &u.in }),
	key("prefix", topicPrefix, func(u *rawUpstream) *string { return &u.prefix }),
	key("qos", integer[byte](0, 2), func(u *rawUpstream) *byte { return &u.qos }),
	key("window", integer[int](1, bridge.MaxWindow), func(u *rawUpstream) *int { return &u.window }),
	key("order", oneOf(bridge.FIFO, bridge.LiveFirst), func(u *rawUpstream) *bridge.Order { return &u.order }),
	key("rate", byteRate(64, gib), func(u *rawUpstream) *int64 { return &u.rate }),
	key("profile", oneOf(bridge.Profiles()...), func(u *rawUpstream) *string { return &u.profile }),
	key("retain", boolean, func(u *rawUpstream) *bool { return &u.retain }),
	key("mark", boolean, func(u *rawUpstream) *bool { return &u.mark }),
	key("queue", sub(queueTable, "the queue of [[upstream]]", newQueue), func(u *rawUpstream) *rawQueue { return &u.queue }),
}

type rawQueue struct {
	node
	maxBytes int64
	maxAge   time.Duration
	whenFull mqttcore.WhenFull
}

func newQueue(n node) rawQueue { return rawQueue{node: n, maxBytes: usualQueue} }

func (q *rawQueue) limit() mqttcore.Limit {
	return mqttcore.Limit{MaxBytes: uint64(q.maxBytes), MaxAge: q.maxAge, WhenFull: q.whenFull}
}

// whenFull wants the policy of a full queue.
var whenFull = choice([]string{"drop-oldest", "drop-newest", "reject"}, mqttcore.DropOldest, mqttcore.DropNewest, mqttcore.Reject)

var queueTable = table[rawQueue]{
	key("max_bytes", size[int64](256*kib, 16*tib), func(q *rawQueue) *int64 { return &q.maxBytes }),
	key("max_age", duration(second, 3650*day), func(q *rawQueue) *time.Duration { return &q.maxAge }),
	key("when_full", whenFull, func(q *rawQueue) *mqttcore.WhenFull { return &q.whenFull }),
}

type rawLine struct {
	node
	name, port, serial string
	kind               line.Kind
	timeout            time.Duration
	retries, gap       int
	rs485              line.RS485
	echo               line.Echo
	share              string
	shareWrites        bool
	listen             bool
	frame              rawFrame
}

func newLine(n node) rawLine {
	return rawLine{node: n, timeout: 300 * time.Millisecond, retries: 1, gap: line.AutoGap, frame: newFrame(node{})}
}

var lineTable = table[rawLine]{
	must(key("name", name("the line"), func(l *rawLine) *string { return &l.name })),
	must(key("kind", oneOf(line.RTU, line.ASCII, line.TCP, line.RTUTCP, line.ASCIITCP, line.UART), func(l *rawLine) *line.Kind { return &l.kind })),
	must(key("port", text(`a device path, usb:VID:PID:SERIAL, host:port, or "sim"`), func(l *rawLine) *string { return &l.port })),
	key("serial", serialFormat, func(l *rawLine) *string { return &l.serial }),
	key("rs485", choice([]string{"auto", "kernel", "rts"}, line.RS485Auto, line.RS485Kernel, line.RS485RTS), func(l *rawLine) *line.RS485 { return &l.rs485 }),
	key("echo", choice([]string{"auto", "strip", "none"}, line.EchoAuto, line.EchoStrip, line.EchoNone), func(l *rawLine) *line.Echo { return &l.echo }),
	key("timeout", duration(10*time.Millisecond, minute), func(l *rawLine) *time.Duration { return &l.timeout }),
	key("retries", integer[int](0, 10), func(l *rawLine) *int { return &l.retries }),
	key("gap", gap, func(l *rawLine) *int { return &l.gap }),
	key("share", checked(`an address such as "127.0.0.1:1502", or "" for none`, checkWebListen), func(l *rawLine) *string { return &l.share }),
	key("share_writes", boolean, func(l *rawLine) *bool { return &l.shareWrites }),
	key("listen", boolean, func(l *rawLine) *bool { return &l.listen }),
	key("frame", sub(frameTable, "the frame of [[line]]", newFrame), func(l *rawLine) *rawFrame { return &l.frame }),
}

type rawDevice struct {
	node
	name, line, topic   string
	use                 string
	unit                int
	every, delay, stale time.Duration
	order               modbus.Order
	numbering           numbering
	maxRegisters        int
	registerBytes       int
	match               *regexp.Regexp
	request             string
	onOffline           OnOffline
	maxCommandAge       time.Duration
	publish             Publish
	points              []rawPoint
}

func newDevice(n node) rawDevice {
	return rawDevice{node: n, every: second, stale: minute, numbering: fromZero, maxRegisters: 125, registerBytes: 2, onOffline: KeepCommand,
		// A pump that starts minutes late is worse than one that doesn't.
		maxCommandAge: 30 * second, publish: PublishPoints}
}

var deviceTable = table[rawDevice]{
	must(key("name", name("the device"), func(d *rawDevice) *string { return &d.name })),
	must(key("line", text("the name of a [[line]]"), func(d *rawDevice) *string { return &d.line })),
	key("use", checked(`the name of a profile such as "eastron/sdm630"`, checkProfileName), func(d *rawDevice) *string { return &d.use }),
	key("unit", unitID, func(d *rawDevice) *int { return &d.unit }),
	key("topic", topicPart, func(d *rawDevice) *string { return &d.topic }),
	key("every", duration(0, 365*day), func(d *rawDevice) *time.Duration { return &d.every }),
	key("delay", duration(0, 10*second), func(d *rawDevice) *time.Duration { return &d.delay }),
	key("stale", duration(second, 365*day), func(d *rawDevice) *time.Duration { return &d.stale }),
	key("order", order, func(d *rawDevice) *modbus.Order { return &d.order }),
	key("numbering", oneOf(fromZero, fromOne, byManual), func(d *rawDevice) *numbering { return &d.numbering }),
	key("max_registers", integer[int](1, 125), func(d *rawDevice) *int { return &d.maxRegisters }),
	key("register_bytes", registerBytes, func(d *rawDevice) *int { return &d.registerBytes }),
	key("request", octets(`what the device is asked with, such as "MEAS?\r\n"`), func(d *rawDevice) *string { return &d.request }),
	key("match", pattern, func(d *rawDevice) **regexp.Regexp { return &d.match }),
	key("on_offline", oneOf(KeepCommand, RejectCommand), func(d *rawDevice) *OnOffline { return &d.onOffline }),
	key("max_command_age", duration(second, 365*day), func(d *rawDevice) *time.Duration { return &d.maxCommandAge }),
	key("publish", oneOf(PublishPoints, PublishDevice, PublishBoth), func(d *rawDevice) *Publish { return &d.publish }),
	must(key("points", points, func(d *rawDevice) *[]rawPoint { return &d.points })),
}

// rawPoint is one entry of [device.points]; its name is its key there.
type rawPoint struct {
	node
	name                           string
	coil, discrete, input, holding int64
	typ                            modbus.Type
	order                          modbus.Order
	write                          modbus.WriteMode
	priority                       modbus.Priority
	unit, topic, from, send        string
	scale, offset                  float64
	decimals                       int
	every, timeout                 time.Duration
	min, max                       *float64
	retain                         bool
	qos                            byte
	expect                         *regexp.Regexp
	safe                           adapters.Value
	safeAfter                      time.Duration
	fc                             modbus.WriteFunction
	place                          int
	length                         int
	bit                            uint8
	bits                           adapters.Field
	names                          map[int64]string
	bad                            []adapters.Value
	span                           *adapters.Range
	deadband                       *float64
	heartbeat                      time.Duration
	class, expr                    string
	shared                         *adapters.Point // once it is made
}

func newPoint(n node) rawPoint {
	return rawPoint{node: n, scale: 1, decimals: -1, retain: true, qos: 1}
}

var pointTable = table[rawPoint]{
	key("coil", address, func(p *rawPoint) *int64 { return &p.coil }),
	key("discrete", address, func(p *rawPoint) *int64 { return &p.discrete }),
	key("input", address, func(p *rawPoint) *int64 { return &p.input }),
	key("holding", address, func(p *rawPoint) *int64 { return &p.holding }),
	key("type", pointType, func(p *rawPoint) *modbus.Type { return &p.typ }),
	key("length", integer[int](1, 125), func(p *rawPoint) *int { return &p.length }),
	key("order", order, func(p *rawPoint) *modbus.Order { return &p.order }),
	key("bit", integer[uint8](0, 63), func(p *rawPoint) *uint8 { return &p.bit }),
	key("bits", bits, func(p *rawPoint) *adapters.Field { return &p.bits }),
	key("scale", notZero, func(p *rawPoint) *float64 { return &p.scale }),
	key("offset", number, func(p *rawPoint) *float64 { return &p.offset }),
	key("decimals", integer[int](0, 9), func(p *rawPoint) *int { return &p.decimals }),
	key("unit", text("a physical unit"), func(p *rawPoint) *string { return &p.unit }),
	key("map", words, func(p *rawPoint) *map[int64]string { return &p.names }),
	key("bad", list(sentinel, "raw numbers such as [-32768]"), func(p *rawPoint) *[]adapters.Value { return &p.bad }),
	key("range", interval, func(p *rawPoint) **adapters.Range { return &p.span }),
	key("deadband", optional(notNegative), func(p *rawPoint) **float64 { return &p.deadband }),
	key("heartbeat", duration(100*time.Millisecond, 365*day), func(p *rawPoint) *time.Duration { return &p.heartbeat }),
	key("class", checked("a device class of Home Assistant, such as \"temperature\"", checkClassForm), func(p *rawPoint) *string { return &p.class }),
	key("expr", text("an expression such as \"temp - 2\""), func(p *rawPoint) *string { return &p.expr }),
	key("every", period, func(p *rawPoint) *time.Duration { return &p.every }),
	key("priority", priority, func(p *rawPoint) *modbus.Priority { return &p.priority }),
	key("write", writeMode, func(p *rawPoint) *modbus.WriteMode { return &p.write }),
	key("min", optional(number), func(p *rawPoint) **float64 { return &p.min }),
	key("max", optional(number), func(p *rawPoint) **float64 { return &p.max }),
	key("safe", value, func(p *rawPoint) *adapters.Value { return &p.safe }),
	key("safe_after", duration(100*time.Millisecond, 365*day), func(p *rawPoint) *time.Duration { return &p.safeAfter }),
	key("fc", writeFunction, func(p *rawPoint) *modbus.WriteFunction { return &p.fc }),
	key("topic", topicPart, func(p *rawPoint) *string { return &p.topic }),
	key("retain", boolean, func(p *rawPoint) *bool { return &p.retain }),
	key("qos", integer[byte](0, 2), func(p *rawPoint) *byte { return &p.qos }),
	key("at", integer[int](0, 4095), func(p *rawPoint) *int { return &p.place }),
	key("from", text("the name of a group in match"), func(p *rawPoint) *string { return &p.from }),
	key("send", sent(`what to send, such as "VENT {value}\n"`), func(p *rawPoint) *string { return &p.send }),
	key("expect", pattern, func(p *rawPoint) **regexp.Regexp { return &p.expect }),
	key("timeout", duration(10*time.Millisecond, minute), func(p *rawPoint) *time.Duration { return &p.timeout }),
}

var (
	order    = choice([]string{"ABCD", "CDAB", "BADC", "DCBA"}, modbus.ABCD, modbus.CDAB, modbus.BADC, modbus.DCBA)
	priority = choice([]string{"high", "normal", "low"}, modbus.High, modbus.Normal, modbus.Low)
)

// The keys that only make sense on some lines: one list for devices and one
// for points. A key in neither is good everywhere.
var (
	modbusDeviceKeys = []string{"unit", "delay", "order", "numbering", "max_registers", "register_bytes"}
	uartDeviceKeys   = []string{"stale", "match", "request"}
	modbusPointKeys  = []string{"coil", "discrete", "input", "holding", "type", "length", "order", "bit", "bits", "every", "priority", "write", "fc"}
	uartPointKeys    = []string{"from", "at", "send", "expect", "timeout"}
	binaryPointKeys  = []string{"type", "order", "bit", "bits"} // those of Modbus that numbers in frames have, too
	exprPointKeys    = []string{"expr", "unit", "decimals", "map", "range", "deadband", "heartbeat", "class", "topic", "retain", "qos"}
)
