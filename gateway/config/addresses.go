package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"sluice/bridge"
)

// address wants the number of a register or a bit; which numbers are good
// depends on the device's numbering and is checked later.
func address(b *binder, path string, v any) (int64, bool) {
	n, whole := v.(int64)
	if !whole {
		b.mismatch(path, v, "the number of a register or bit")
	}
	return n, whole
}

// checkWebListen accepts host:port or nothing.
func checkWebListen(s string) error {
	if s == "" {
		return nil
	}
	if strings.Contains(s, "://") {
		return fmt.Errorf("%q has a scheme, which is not written here", s)
	}
	return checkHostPort(s)
}

func checkHostPort(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q is not host:port", s)
	}
	if strings.ContainsAny(host, "/ @") {
		return fmt.Errorf("%q is no host", host)
	}
	if err := checkIPv4(host); err != nil {
		return err
	}
	return checkPort(port, 0)
}

// checkIPv4 refuses a host of digits and points that is no IPv4 address.
func checkIPv4(host string) error {
	if _, err := netip.ParseAddr(host); err != nil && host != "" && strings.Trim(host, "0123456789.") == "" {
		return fmt.Errorf("%s is no IPv4 address, which has four numbers from 0 to 255", host)
	}
	return nil
}

func checkPort(port string, least int) error {
	if n, err := strconv.Atoi(port); err != nil || n < least || n > math.MaxUint16 {
		return fmt.Errorf("port %q is not in %d to %d", port, least, math.MaxUint16)
	}
	return nil
}

// upstreamURL wants mqtt://, mqtts://, ws:// or wss:// and a host. A password in
// it is refused and never repeated.
func upstreamURL(b *binder, path string, v any) (string, bool) {
	s, isText := v.(string)
	const expected = `a URL such as "mqtts://mq.example.com:8883"`
	if !isText {
		b.mismatch(path, v, expected)
		return "", false
	}
	if _, rest, _ := strings.Cut(s, "://"); strings.Contains(rest, "@") {
		b.secret(path, "use the keys username and password_file", "expected %s without a user name or a password", expected)
		return "", false
	}
	if err := checkUpstreamURL(s); err != nil {
		b.bad(path, "", "expected %s: %v", expected, err)
		return "", false
	}
	return s, true
}

func checkUpstreamURL(s string) error {
	u, err := url.Parse(s)
	var fault *url.Error
	switch {
	case errors.As(err, &fault):
		return fmt.Errorf("%q: %w", s, fault.Err)
	case err != nil:
		return err
	case u.Hostname() == "" && (u.Scheme == "mqtt" || u.Scheme == "mqtts" || u.Scheme == "ws" || u.Scheme == "wss"):
		return fmt.Errorf("%q names no host", s)
	}
	switch u.Scheme {
	case "mqtt", "mqtts":
		if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("%q has more than a host and a port, which only ws:// and wss:// may", s)
		}
	case "ws", "wss":
		if u.Fragment != "" {
			return fmt.Errorf("%q has a fragment", s)
		}
	case "tcp", "ssl", "tls":
		return fmt.Errorf("%q: write mqtt:// for TCP and mqtts:// for TLS", s)
	default:
		return fmt.Errorf("%q begins with none of mqtt:// mqtts:// ws:// wss://", s)
	}
	if u.Port() != "" {
		if err := checkPort(u.Port(), 1); err != nil {
			return err
		}
	}
	return checkIPv4(u.Hostname())
}

// proxyURL wants the URL of a proxy or "none". It may hold a password, so it is
// never repeated.
func proxyURL(b *binder, path string, v any) (string, bool) {
	s, isText := v.(string)
	const expected = `a proxy such as "http://10.0.0.1:3128", "socks5://10.0.0.1:1080", or "none"`
	if !isText {
		b.mismatch(path, v, expected)
		return "", false
	}
	if err := bridge.CheckProxy(s); err != nil {
		b.secret(path, "", "expected %s: %v", expected, err)
		return "", false
	}
	return s, true
}

// loopback reports whether host:port can be reached from this machine only.
func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// mqttVersion wants 5 or 3, which is MQTT 3.1.1.
func mqttVersion(b *binder, path string, v any) (int, bool) {
	n, isNumber := v.(int64)
	text, _ := v.(string)
	switch {
	case text == "3.1.1" || text == "5.0":
		b.bad(path, "write "+text[:1], "expected a whole number, 5 or 3, not %s", describe(v))
	case !isNumber:
		b.mismatch(path, v, "a whole number, 5 or 3")
	case n == 4:
		b.bad(path, "write 3", "4 is no version here: expected 5, or 3 for MQTT 3.1.1")
	case n != 3 && n != 5:
		b.bad(path, "", "%d is no version here: expected 5, or 3 for MQTT 3.1.1", n)
	default:
		return int(n), true
	}
	return 0, false
}
