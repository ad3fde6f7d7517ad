package mqttcore

import (
	"cmp"
	"log/slog"

	"golang.org/x/sys/unix"
)

// descriptorReserve is how many open files are left for all that is not a
// client: the log, lines, the status page, upstreams, clients that are being
// refused.
const descriptorReserve = 200

// fitConnections bounds the clients to those that the process may have open
// files for: a broker without any could not even open its own log.
func fitConnections(wanted int, log *slog.Logger) int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		log.Warn("the limit of open files is not known", "err", err)
		return cmp.Or(wanted, usualConnections)
	}
	fit := connectionsFor(uint64(l.Cur))
	switch {
	case wanted == 0:
		return min(usualConnections, fit)
	case wanted > fit:
		log.Warn("max_connections is more than this process may have open files for",
			"max_connections", wanted, "used", fit, "open_files", uint64(l.Cur),
			"hint", "raise LimitNOFILE= of the service, or ulimit -n; up to 1024 where serial lines are in use")
		return fit
	}
	return wanted
}

// connectionsFor is how many clients go with a limit of open files.
func connectionsFor(files uint64) int {
	const most = 1 << 30
	if files > most {
		return most
	}
	return max(int(files)-descriptorReserve, int(files)/4, 1)
}
