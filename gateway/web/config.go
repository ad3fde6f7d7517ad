package web

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Config says where the web server listens.
type Config struct {
	// Listen is host:port. An empty host means every interface, port 0 any
	// free port, and "" as a whole turns the web server off.
	Listen string
}

// fieldError is a fault in one key of a Config.
type fieldError struct {
	field string
	err   error
}

func (e *fieldError) Error() string { return e.err.Error() }
func (e *fieldError) Unwrap() error { return e.err }

// Field names the faulty key, relative to the Config.
func (e *fieldError) Field() string { return e.field }

// Validate reports every fault in c, joined; each has a method Field() string
// that names its key.
func (c Config) Validate() error {
	if c.Listen == "" {
		return nil
	}
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, &fieldError{"listen", fmt.Errorf(format, args...)})
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		fault(`expected host:port such as "127.0.0.1:8080", or "" for no web server, not %q`, c.Listen)
		return errors.Join(faults...)
	}
	if !validHost(host) {
		fault("%q is no address and no host name", host)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		fault("port %q is not in 0 to 65535", port)
	}
	return errors.Join(faults...)
}

// validHost accepts an address, a host name (RFC 1123 section 2.1) or nothing.
func validHost(host string) bool {
	if host == "" {
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	if len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
			if !letter && (r < '0' || r > '9') && r != '-' && r != '_' {
				return false
			}
		}
	}
	return true
}
