package mqttcore

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
)

// endpoint is an address of Config.Listen, taken apart.
type endpoint struct {
	scheme  string // tcp, tls, ws, wss or unix
	address string // host:port, or the path of the socket file
}

// longestSocket is the longest path of a socket file, in bytes (unix(7)).
const longestSocket = 107

func parseEndpoint(s string) (endpoint, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || !slices.Contains([]string{"tcp", "tls", "ws", "wss", "unix"}, scheme) {
		return endpoint{}, fmt.Errorf("%q does not begin with tcp://, tls://, ws://, wss:// or unix://", s)
	}
	e := endpoint{scheme, rest}
	if scheme == "unix" {
		return e, e.checkPath()
	}
	_, port, err := net.SplitHostPort(rest)
	if err != nil || port == "" || strings.ContainsAny(rest, "/?#@ ") {
		return e, fmt.Errorf("%q: write %s://host:port", s, scheme)
	}
	return e, nil
}

func (e endpoint) checkPath() error {
	switch {
	case e.address == "":
		return errors.New("unix:// names no file: write unix:///path")
	case len(e.address) > longestSocket:
		return fmt.Errorf("the path of a socket has %d bytes at most: %q", longestSocket, e.address)
	case strings.ContainsRune(e.address, 0):
		return fmt.Errorf("no path: %q", e.address)
	}
	return nil
}

// secure: clients speak TLS.
func (e endpoint) secure() bool { return e.scheme == "tls" || e.scheme == "wss" }

// web: clients speak WebSocket.
func (e endpoint) web() bool { return e.scheme == "ws" || e.scheme == "wss" }

// url is how clients write the address a that the listener has got.
func (e endpoint) url(a net.Addr) string {
	switch e.scheme {
	case "tcp":
		return "mqtt://" + a.String()
	case "tls":
		return "mqtts://" + a.String()
	case "unix":
		path, err := filepath.Abs(e.address)
		if err != nil {
			path = e.address
		}
		return "unix://" + path
	}
	return e.scheme + "://" + a.String() + webPath
}
