package mqttcore

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	freeFailures   = 5                // failed logins before an address is held off
	firstHold      = time.Second      // doubled with each further one
	longestHold    = time.Minute      // and never longer
	failuresForget = 10 * time.Minute // without a failure: the address starts anew
	maxAddresses   = 4096             // remembered; beyond, the one longest quiet is forgotten
)

// backoff holds addresses off from which logins fail: guessing passwords
// costs time, and hashing for guessers does not slow the others down.
type backoff struct {
	mu   sync.Mutex
	list map[netip.Addr]*failures
}

// failures are the failed logins from one address.
type failures struct {
	count int
	last  time.Duration // broker's clock
	until time.Duration // held off until then
}

// addressOf is what failed logins are counted by: an address of IPv4, a /64 of
// IPv6, which is what one site has; the zero Addr stands for this machine's
// sockets without an address.
func addressOf(nc net.Conn) netip.Addr {
	a, ok := nc.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := a.AddrPort().Addr().Unmap().WithZone("")
	if ip.Is6() && !ip.IsLoopback() {
		if p, err := ip.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return ip
}

// held tells how long an address has still to wait; 0: it may try.
func (b *backoff) held(ip netip.Addr, now time.Duration) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.list[ip]
	if f == nil {
		return 0
	}
	return max(0, f.until-now)
}

// failed counts a failed login. first: the first of this address; held: how
// long it is held off now; begins: it was not before.
func (b *backoff) failed(ip netip.Addr, now time.Duration) (first bool, held time.Duration, begins bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.list[ip]
	if f == nil || now-f.last > failuresForget {
		if f == nil && len(b.list) >= maxAddresses {
			b.forgetOne(now)
		}
		f = &failures{}
		if b.list == nil {
			b.list = map[netip.Addr]*failures{}
		}
		b.list[ip] = f
	}
	f.count++
	f.last = now
	over := f.count - freeFailures
	if over <= 0 {
		return f.count == 1, 0, false
	}
	held = longestHold
	if over <= 6 {
		held = min(firstHold<<(over-1), longestHold)
	}
	f.until = now + held
	return false, held, over == 1
}

// forgetOne makes room: what is over, or else the address longest quiet.
func (b *backoff) forgetOne(now time.Duration) {
	var oldest netip.Addr
	quiet := time.Duration(-1)
	for ip, f := range b.list {
		if now-f.last > failuresForget {
			delete(b.list, ip)
			continue
		}
		if now-f.last > quiet {
			oldest, quiet = ip, now-f.last
		}
	}
	if len(b.list) >= maxAddresses {
		delete(b.list, oldest)
	}
}

// len is the number of addresses remembered.
func (b *backoff) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.list)
}
