package bridge

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"golang.org/x/net/http/httpproxy"
	socks "golang.org/x/net/proxy"
)

// NoProxy as Config.Proxy is the direct way, whatever the environment says.
const NoProxy = "none"

// parseProxy reads Config.Proxy; nil is none. What it says of a URL never
// holds its password.
func parseProxy(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("cannot be read as a URL")
	}
	port, known := map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	switch {
	case !known:
		return nil, fmt.Errorf("%q begins with none of http:// https:// socks5://", u.Redacted())
	case u.Hostname() == "":
		return nil, fmt.Errorf("%q has no host", u.Redacted())
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("%q has more than a host and a port", u.Redacted())
	}
	u.Host = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
	return u, nil
}

// CheckProxy judges a value of Config.Proxy.
func CheckProxy(s string) error {
	if s == NoProxy {
		return nil
	}
	_, err := parseProxy(s)
	return err
}

// proxyTo returns the proxy on the way to an address; nil is none. Without one
// in the configuration it is that of HTTPS_PROXY or ALL_PROXY, except for what
// NO_PROXY names and for this machine.
func proxyTo(configured, addr string) (*url.URL, error) {
	switch configured {
	case NoProxy:
		return nil, nil
	case "":
	default:
		u, err := parseProxy(configured)
		if err != nil {
			return nil, fmt.Errorf("proxy %w", err)
		}
		return u, nil
	}
	env := func(upper, lower string) string { return cmp.Or(os.Getenv(upper), os.Getenv(lower)) }
	conf := httpproxy.Config{
		HTTPSProxy: cmp.Or(env("HTTPS_PROXY", "https_proxy"), env("ALL_PROXY", "all_proxy")),
		NoProxy:    env("NO_PROXY", "no_proxy"),
	}
	u, err := conf.ProxyFunc()(&url.URL{Scheme: "https", Host: addr})
	if u == nil || err != nil {
		return nil, nil // like other programs: what makes no sense there is none
	}
	u, err = parseProxy(u.String())
	if err != nil {
		return nil, fmt.Errorf("proxy of the environment %w", err)
	}
	return u, nil
}

// reachBy makes a connection to addr through a proxy.
func reachBy(ctx context.Context, p *url.URL, addr string) (net.Conn, error) {
	c, err := reach(ctx, p.Host)
	if err != nil {
		return nil, &proxyUnreached{p.Host, err}
	}
	c.SetDeadline(time.Now().Add(handshakeTimeout))
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	through := c
	if p.Scheme == "socks5" || p.Scheme == "socks5h" {
		err = askSOCKS(ctx, c, p, addr)
	} else {
		through, err = askHTTP(ctx, c, p, addr)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	c.SetDeadline(time.Time{})
	return through, nil
}

// proxyUnreached is why there is no connection to a proxy.
type proxyUnreached struct {
	addr string
	err  error
}

func (p *proxyUnreached) Error() string { return fmt.Sprintf("proxy %s: %s", p.addr, plain(p.err)) }
func (p *proxyUnreached) Unwrap() error { return p.err }

// askHTTP has an HTTP proxy make a tunnel (RFC 9110, 9.3.6).
func askHTTP(ctx context.Context, c net.Conn, p *url.URL, addr string) (net.Conn, error) {
	if p.Scheme == "https" {
		secure := tls.Client(c, &tls.Config{ServerName: p.Hostname(), MinVersion: tls.VersionTLS12})
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS handshake with the proxy: %w", err)
		}
		c = secure
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if p.User != nil {
		password, _ := p.User.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(p.User.Username()+":"+password)))
	}
	if err := req.Write(c); err != nil {
		return nil, fmt.Errorf("%w: proxy %s: %w", errUnreached, p.Host, err)
	}
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, fmt.Errorf("proxy %s answers with no HTTP: is it one of socks5://?", p.Host)
	}
	switch {
	case res.StatusCode == http.StatusProxyAuthRequired:
		return nil, fmt.Errorf("proxy %s wants a user name and a password: http://USER:PASSWORD@…", p.Host)
	case res.StatusCode >= 500:
		return nil, fmt.Errorf("%w: proxy %s does not reach %s: %s", errUnreached, p.Host, addr, res.Status)
	case res.StatusCode/100 != 2:
		return nil, fmt.Errorf("proxy %s does not let us through to %s: %s", p.Host, addr, res.Status)
	case r.Buffered() > 0:
		return nil, fmt.Errorf("proxy %s: %s speaks before it is asked: that is no MQTT", p.Host, addr)
	}
	return c, nil
}

// askSOCKS has a SOCKS5 proxy make a connection (RFC 1928). The proxy resolves
// the name.
func askSOCKS(ctx context.Context, c net.Conn, p *url.URL, addr string) error {
	var auth *socks.Auth
	if p.User != nil {
		password, _ := p.User.Password()
		auth = &socks.Auth{User: p.User.Username(), Password: password}
	}
	d, err := socks.SOCKS5("tcp", p.Host, auth, made{c})
	if err == nil {
		_, err = d.(socks.ContextDialer).DialContext(ctx, "tcp", addr)
	}
	if err != nil {
		return fmt.Errorf("%w: proxy %s does not reach %s: %w", errUnreached, p.Host, addr, err)
	}
	return nil
}

// made is a dialer whose connection was made already.
type made struct{ conn net.Conn }

// Dial implements socks.Dialer.
func (m made) Dial(string, string) (net.Conn, error) { return m.conn, nil }

// DialContext implements socks.ContextDialer.
func (m made) DialContext(context.Context, string, string) (net.Conn, error) { return m.conn, nil }
