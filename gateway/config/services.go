package config

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sluice/bridge"
	"sluice/gateway/web"
	"sluice/mqttcore"
	"sluice/mqttcore/topic"
)

// buildGateway settles what the rest depends on: the name, the base topic and
// the folder.
func (b *binder) buildGateway(f *rawFile, cfg *Config) {
	g := &f.gateway
	cfg.Gateway = Gateway{ID: g.id, Base: g.base, Data: g.data, Payload: g.payload, Clock: g.clock}
	if g.id == "" && b.fine(g.at("id")) {
		cfg.Gateway.ID = hostName()
	}
	if g.data == "" {
		cfg.Gateway.Data = "data"
		// systemd may name several folders; the first is ours.
		if state, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); state != "" {
			cfg.Gateway.Data = state
		}
	}
	cfg.Gateway.Data = b.relative(cfg.Gateway.Data)
	cfg.Store.Dir = cfg.Gateway.Data
}

// hostName gives the machine's name, or the program's where the machine has
// none that can be part of a topic.
func hostName() string {
	if host, err := os.Hostname(); err == nil && checkName(host) == nil {
		return host
	}
	return "sluice"
}

// relative completes a path that is relative to the file.
func (b *binder) relative(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(b.file), path)
}

// buildBroker settles the broker and the web page.
func (b *binder) buildBroker(f *rawFile, cfg *Config) {
	r := &f.broker
	cfg.Broker = mqttcore.Config{
		Anonymous:        r.anonymous,
		MaxConnections:   r.maxConnections,
		MaxPacketSize:    r.maxPacketSize,
		ReceiveMaximum:   r.receiveMaximum,
		SessionExpiryMax: r.sessionExpiryMax,
		MaxInflight:      r.maxInflight,
	}
	r.bound(&cfg.Broker)
	b.buildAccess(r, cfg)
	cfg.AutoCommit = r.durability == byMedium
	cfg.Store.CommitInterval = max(r.durability, 0)
	cfg.Web = web.Config{Listen: f.web.listen}
	b.buildListeners(f, cfg)
	b.sizeStore(f, cfg)
}

// Sizes of the log in bytes.
const (
	usualQueue      = gib
	usualPacket     = mib
	usualSegment    = 4 * mib
	smallestSegment = 64 * kib
	largestSegment  = 16 * mib
	fewestSegments  = 4
)

// roomFactor is how much more room the log gets than its queues may hold: a
// commit takes whole pages of 4 KiB, however little is in it, and there is a
// commit for each poll where messages come singly.
const roomFactor = 4

// sizeStore gives the log room for the queues of all upstreams.
func (b *binder) sizeStore(f *rawFile, cfg *Config) {
	for i := range f.upstreams {
		cfg.Store.MaxBytes += roomFactor * f.upstreams[i].queue.maxBytes
	}
	cfg.Store.MaxBytes = cmp.Or(cfg.Store.MaxBytes, usualQueue)
	cfg.Store.SegmentSize = cfg.SegmentSize(0)
}

// SegmentSize gives the size of the log's segments in bytes: as much as the
// medium erases at a time, or a multiple of it, where erase tells that (0: it
// does not). They grow with the longest message, of which one must hold two, and
// shrink where they would be too few.
func (c *Config) SegmentSize(erase int64) int64 {
	size := 2*int64(cmp.Or(c.Broker.MaxPacketSize, usualPacket)) + smallestSegment
	unit := int64(4 * kib)
	if erase > 0 {
		unit, size = min(erase, largestSegment), max(size, mib)
	} else {
		size = max(size, usualSegment)
	}
	size = (size + unit - 1) / unit * unit
	size = min(size, largestSegment, max(c.Store.MaxBytes/fewestSegments, smallestSegment))
	if size > unit {
		size -= size % unit
	}
	return size / (4 * kib) * (4 * kib)
}

// buildUpstreams settles the upstream links.
func (b *binder) buildUpstreams(f *rawFile, cfg *Config) {
	names := uses{}
	clients := map[string]string{}
	for i := range f.upstreams {
		u := &f.upstreams[i]
		names.claim(b, u.name, u.at("name"), fmt.Sprintf("there is an upstream %q already", u.name))
		out := Upstream{
			Config: bridge.Config{
				Name: u.name, URL: u.url, Version: u.version, ClientID: u.clientID, Username: u.username,
				KeepAlive: u.keepAlive, SessionExpiry: u.sessionExpiry,
				Out: u.out, In: u.in, Prefix: u.prefix, QoS: u.qos, Window: u.window,
				Order: u.order, Rate: u.rate, Profile: u.profile, NoRetain: !u.retain,
				Availability:  "sluice/" + cfg.Gateway.ID + "/availability",
				QueueMaxBytes: u.queue.maxBytes,
			},
		}
		if !u.has("client_id") {
			out.ClientID = cfg.Gateway.ID
		}
		b.checkWholeSeconds(u)
		if u.has("password_file") && b.fine(u.at("password_file")) {
			out.Password = b.password(u)
		}
		b.checkEcho(u)
		if !u.has("out") && !u.has("in") {
			b.badKey(u.path, "", `%s needs "out", "in" or both: the topics that go up and come down`, u.title())
		}
		if u.has("url") && b.fine(u.at("url"), u.at("client_id"), u.at("name")) {
			client := u.url + " " + out.ClientID
			if other, taken := clients[client]; taken {
				b.bad(u.at("url"), "give one of them another client_id",
					"%s would throw upstream %q out: both are client %q of %s", u.title(), other, out.ClientID, u.url)
			}
			clients[client] = u.name
		}
		cfg.Upstreams = append(cfg.Upstreams, out)
	}
}

func (u *rawUpstream) title() string {
	if u.name == "" {
		return "[[upstream]]"
	}
	return "upstream " + shorten(u.name)
}

// checkWholeSeconds checks the times that MQTT tells in seconds.
func (b *binder) checkWholeSeconds(u *rawUpstream) {
	if u.keepAlive%second != 0 {
		b.bad(u.at("keepalive"), "", "expected whole seconds, not %s", spell(u.keepAlive))
	}
	if u.sessionExpiry%second != 0 {
		b.bad(u.at("session_expiry"), "", "expected whole seconds, not %s", spell(u.sessionExpiry))
	}
}

// checkEcho refuses what could never go up. MQTT 3.1.1 has no No Local: the
// upstream sends back what goes up on a topic that comes down, so messages of
// such topics stay here.
func (b *binder) checkEcho(u *rawUpstream) {
	if u.version != 3 {
		return
	}
	for i, out := range u.out {
		for _, in := range u.in {
			if at := element(u.at("out"), i); topic.Covers(in, out) && b.fine(at, u.at("in")) {
				b.bad(at, "take it out of one of them, or use version = 5",
					"nothing of %q would go up: %q comes down, and with version = 3 a topic cannot do both", out, in)
			}
		}
	}
}

// longestPassword is the most that MQTT can carry (MQTT 5, 3.1.3.6).
const longestPassword = 65535

// password reads the password of an upstream: the file without the end of its
// line. What it says is never part of a message.
func (b *binder) password(u *rawUpstream) []byte {
	at := u.at("password_file")
	if !u.has("username") {
		b.bad(at, "", `a password needs a user name: %s needs the key "username"`, u.title())
	}
	path := b.relative(u.passwordFile)
	info, err := os.Stat(path)
	if err != nil {
		b.bad(at, "", "cannot read the password: %v", err)
		return nil
	}
	if !info.Mode().IsRegular() || info.Size() > longestPassword+2 {
		b.bad(at, "", "expected a file with one password, which %s is not", path)
		return nil
	}
	secret, err := os.ReadFile(path)
	if err != nil {
		b.bad(at, "", "cannot read the password: %v", err)
		return nil
	}
	secret = bytes.TrimSuffix(bytes.TrimSuffix(secret, []byte("\n")), []byte("\r"))
	if len(secret) == 0 {
		b.bad(at, "", "%s is empty: expected a password in it", path)
	}
	if mode := info.Mode().Perm(); mode&0o004 != 0 {
		b.warn(at, fmt.Sprintf("chmod %04o %s", mode&^0o007, path), "everyone on this machine can read the password in %s", path)
	}
	return secret
}
