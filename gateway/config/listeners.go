package config

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// brokerSchemes are what the broker can listen on.
var brokerSchemes = []string{"tcp", "tls", "ws", "wss", "unix"}

// checkListen accepts where the broker may listen: tcp, tls, ws or wss with
// ://host:port, where the host may be left out for all interfaces and port 0
// is any free port, or unix:// with the path of a socket file.
func checkListen(s string) error {
	scheme, rest, ok := strings.Cut(s, "://")
	switch {
	case !ok || !slices.Contains(brokerSchemes, scheme):
		return fmt.Errorf("%q does not begin with tcp://, tls://, ws://, wss:// or unix://", s)
	case scheme != "unix":
		return checkHostPort(rest)
	case rest == "":
		return fmt.Errorf("%q names no file", s)
	}
	return nil
}

// hostPort gives what a listener and the status page could both want; empty:
// nothing.
func hostPort(listen string) string {
	scheme, rest, _ := strings.Cut(listen, "://")
	if scheme == "unix" || strings.HasSuffix(rest, ":0") {
		return ""
	}
	return rest
}

// buildListeners settles where the broker listens and what it shows there.
func (b *binder) buildListeners(f *rawFile, cfg *Config) {
	r := &f.broker
	c := &cfg.Broker
	seen := uses{}
	secure := false
	for i, listen := range r.listen {
		at := element(r.at("listen"), i)
		scheme, rest, _ := strings.Cut(listen, "://")
		if scheme == "unix" && b.fine(at) {
			listen = "unix://" + b.relative(rest)
		}
		c.Listen = append(c.Listen, listen)
		if !b.fine(at) {
			continue
		}
		secure = secure || scheme == "tls" || scheme == "wss"
		taken := listen
		if p := hostPort(listen); p != "" {
			taken = p // whatever is spoken there
		}
		if scheme == "unix" || hostPort(listen) != "" {
			seen.claim(b, taken, at, fmt.Sprintf("the broker listens on %s already", taken))
		}
		if r.nobodyElse() && scheme != "unix" && !loopback(rest) {
			b.warn(at, `give clients passwords with sluice passwd and the key "users", or set anonymous = true to let everyone in who can reach it`,
				"%s lets clients of this machine in only", listen)
		}
		if p := hostPort(listen); p != "" && p == f.web.listen && b.fine(f.web.at("listen")) {
			b.bad(at, "", "the web page listens on %s: expected another address", f.web.listen)
		}
	}
	c.Cert, c.Key, c.ClientCA = b.fileOf(r, "cert", r.cert), b.fileOf(r, "key", r.key), b.fileOf(r, "client_ca", r.clientCA)
	if c.Cert != "" && !secure && b.fine(r.at("listen")) {
		b.warn(r.at("cert"), "", "the certificate is not used: the broker listens neither on tls:// nor on wss://")
	}
	if c.Cert != "" {
		b.warnOfCertificate(r.at("cert"), c.Cert)
	}
	if c.Key != "" {
		b.warnOfMode(r.at("key"), c.Key)
	}
}

// fileOf completes the path of a key that names a file.
func (b *binder) fileOf(r *rawBroker, key, path string) string {
	if !r.has(key) || !b.fine(r.at(key)) {
		return ""
	}
	return b.relative(path)
}

// warnOfMode warns of a key that is everyone's.
func (b *binder) warnOfMode(at, path string) {
	info, err := os.Stat(path)
	if err != nil {
		return // the broker says so
	}
	if mode := info.Mode().Perm(); mode&0o004 != 0 {
		b.warn(at, fmt.Sprintf("chmod %04o %s", mode&^0o007, path), "everyone on this machine can read the key in %s", path)
	}
}

// warnOfCertificate warns of a certificate that clients will not accept.
func (b *binder) warnOfCertificate(at, path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		return // the broker says so
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return
	}
	now := time.Now()
	switch {
	case now.After(cert.NotAfter):
		b.warn(at, "", "the certificate in %s was good until %s: clients will not accept it", path, cert.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(cert.NotBefore):
		b.warn(at, "", "the certificate in %s is good from %s on: clients will not accept it yet", path, cert.NotBefore.UTC().Format(time.DateOnly))
	}
}
