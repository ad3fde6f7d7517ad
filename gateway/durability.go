package main

import (
	"fmt"
	"log/slog"
	"time"

	"sluice/gateway/config"
	"sluice/mqttcore/store"
)

// durability is how the log writes, and why.
type durability struct {
	interval time.Duration // that a commit may gather
	why      string
}

// String is the status page's line.
func (d durability) String() string {
	gathering := "commits at once"
	if d.interval > 0 {
		gathering = fmt.Sprintf("commits gather for %v", d.interval)
	}
	return gathering + ": " + d.why
}

// settle fits the log to the medium of its folder as far as the configuration
// leaves that open, says what came of it, and warns where a power cut would take what is
// acknowledged.
func settle(o *store.Options, cfg *config.Config, log *slog.Logger) durability {
	m := store.MediumOf(o.Dir)
	d := fit(o, cfg, m)
	log.Info("durable log", "data", o.Dir, "medium", m.String(), "commit_interval", d.interval, "segment_bytes", o.SegmentSize)
	switch {
	case m.Kind == store.Memory:
		log.Warn("the data folder is in memory: nothing acknowledged survives a power cut; set data in [gateway] to a folder on a disk", "data", o.Dir)
	case m.Kind == store.Network:
		log.Warn("the data folder is on a network file system: whether what is acknowledged survives is up to its server; set data in [gateway] to a folder on a disk of this machine", "data", o.Dir)
	case m.Flash():
		warnOfQuickSyncs(o.Dir, m, log)
	}
	return d
}

// fit sets what the medium decides on.
func fit(o *store.Options, cfg *config.Config, m store.Medium) durability {
	d := durability{interval: o.CommitInterval, why: fmt.Sprintf("as configured, on %v", m)}
	if cfg.AutoCommit {
		d.interval, d.why = m.CommitInterval(), m.String()
		o.CommitInterval = d.interval
	}
	o.SegmentSize = cfg.SegmentSize(m.EraseSize)
	return d
}

// implausibleSync is less than a card takes to write a page.
const implausibleSync = 50 * time.Microsecond

func warnOfQuickSyncs(dir string, m store.Medium, log *slog.Logger) {
	median, err := store.SyncTime(dir)
	switch {
	case err != nil:
		log.Warn("flushes to the disk not measured", "data", dir, "error", err)
	case median < implausibleSync:
		log.Warn("flushes to the disk are quicker than this medium can be: a cache answers for it, and a power cut may take what is acknowledged",
			"data", dir, "medium", m.String(), "flush", median)
	}
}
