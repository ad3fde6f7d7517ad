package config

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"

	"sluice/gateway/web"
	"sluice/mqttcore"
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
	usualDisk       = 512 * mib // of a client's session
	usualPacket     = mib
	usualSegment    = 4 * mib
	smallestSegment = 64 * kib
	largestSegment  = 16 * mib
	fewestSegments  = 4
)

// roomFactor is how much more room the log gets than its queues may hold: what is
// older than the snapshots is packed, what is not takes up to a quarter of the log
// whatever is in it.
const roomFactor = 2

// sizeStore gives the log room for the queues of all upstreams and for as much as
// one client's session may have.
func (b *binder) sizeStore(f *rawFile, cfg *Config) {
	for i := range f.upstreams {
		cfg.Store.MaxBytes += roomFactor * f.upstreams[i].queue.maxBytes
	}
	cfg.Store.MaxBytes += roomFactor * f.broker.waiting.disk.maxBytes
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
