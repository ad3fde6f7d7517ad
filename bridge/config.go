package bridge

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"sluice/mqttcore"
	"sluice/mqttcore/packet"
	"sluice/mqttcore/topic"
)

// Limits and defaults of a Config.
const (
	// DefaultWindow is how many messages may be on their way upstream
	// without an acknowledgement. AWS IoT Core allows 100, mosquitto 20; the
	// server's Receive Maximum lowers it.
	DefaultWindow = 100
	// DefaultWindow3 is the same for MQTT 3.1.1, where the server cannot say
	// what it takes: as much as mosquitto.
	DefaultWindow3 = 20
	// MaxWindow bounds Config.Window: packet identifiers repeat after
	// laneIDs messages, and the window must stay far below that.
	MaxWindow = 10_000
	// DefaultKeepAlive is used where Config.KeepAlive is zero.
	DefaultKeepAlive = 30 * time.Second
	// DefaultSessionExpiry is used where Config.SessionExpiry is zero. It is
	// how long an outage may last before the upstream forgets which QoS 2
	// messages it has seen.
	DefaultSessionExpiry = 7 * 24 * time.Hour
)

// Config describes one upstream link.
type Config struct {
	// Name tells this link from others: it names the durable consumer in the
	// local broker, so a renamed link starts with an empty queue.
	Name string
	// URL is mqtt://, mqtts://, ws:// or wss:// with a host and an optional
	// port (1883, 8883, 80, 443); WebSocket URLs may have a path, and "/mqtt"
	// is used where they have none.
	URL string
	// Version is that of MQTT: 5, or 3 for 3.1.1. 0 is 5.
	Version int
	// ClientID is the client identifier upstream. Two clients with the same
	// one throw each other out.
	ClientID string
	// Username and Password are sent where Username is not empty.
	Username string
	Password []byte
	// KeepAlive is 1s to 18h12m15s in whole seconds; zero is
	// DefaultKeepAlive. A dead upstream is noticed within twice of it. The
	// server may ask for another value in its CONNACK.
	KeepAlive time.Duration
	// SessionExpiry is how long the upstream keeps our session while we are
	// away, in whole seconds; zero is DefaultSessionExpiry.
	SessionExpiry time.Duration
	// Out are the filters of local topics that go up.
	Out []string
	// In are the filters of topics that come down, as local names.
	In []string
	// Prefix is put before a local name to make the remote one, and taken
	// off again on the way down.
	Prefix string
	// QoS is the highest quality of service used upstream, 0 to 2; the
	// server's Maximum QoS lowers it. With 0 messages are still kept through
	// an outage, but nothing tells whether the upstream took them.
	QoS byte
	// Window bounds the messages in flight; 0 is DefaultWindow, or
	// DefaultWindow3. After a cut
	// at QoS 1 no more than this many messages arrive twice.
	Window int
	// Order is which messages go first after an outage; empty is FIFO.
	Order Order
	// Rate bounds the PUBLISH packets that go up, in bytes a second; 0: none.
	// New messages go before a backlog with LiveFirst.
	Rate int64
	// Profile names the provider of the upstream, see Profiles, whose limits are
	// then kept; empty: none but those that the server tells.
	Profile string
	// NoRetain sends messages without RETAIN, as a server that does not take
	// it would ask for.
	NoRetain bool
	// Queue bounds what waits in the log for this link, and says what becomes of
	// the rest. Without MaxBytes only the log's own bound holds.
	Queue mqttcore.Limit
	// TLS is for mqtts:// and wss://.
	TLS TLS
	// Proxy is http://, https:// or socks5:// with a host, perhaps a port and
	// perhaps a user name and password; empty: what HTTPS_PROXY, ALL_PROXY and
	// NO_PROXY say; NoProxy: none.
	Proxy string
	// Via marks messages that come down with a user property, by which a
	// message is known and ignored that comes down a second time. A single
	// link needs none, as the upstream does not send us our own messages.
	// With several links, or gateways that are linked to each other, give
	// each link a value that is its own, like "pi-cellar/cloud".
	Via string
	// MarkUp puts the mark of Via, which must be there, on what goes up as
	// well, for an upstream that may hand it on to our own broker. MQTT 5 only.
	MarkUp bool
	// Rewrite is called for each message of the queue before it is sent, and
	// again before it is sent again, on the link's goroutine. It may put slices
	// of its own in the place of Payload and Props, but not change what is in
	// them; nil leaves all as it is.
	Rewrite func(*mqttcore.Delivery)
	// Now is the time of day by which certificates are judged; nil is time.Now.
	// A machine without a battery clock starts in a year in which none is valid.
	Now func() time.Time
	// Availability is the local topic of which the link keeps the remote
	// copy itself: "online" retained at each connect, "offline" as its will.
	// Messages of that local topic are not forwarded. Empty turns it off.
	Availability string
}

func (c *Config) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

// fieldError is an error of one key of a Config.
type fieldError struct {
	field string
	err   error
}

func (e *fieldError) Error() string { return e.field + ": " + e.err.Error() }
func (e *fieldError) Unwrap() error { return e.err }

// Field returns the dotted key that is wrong.
func (e *fieldError) Field() string { return e.field }

// Validate reports everything that is wrong with c, joined. Each error has a
// method Field() string that names its key.
func (c *Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &fieldError{field, fmt.Errorf(format, args...)})
	}
	if c.Name == "" {
		bad("name", "is missing: give the link a name, like \"cloud\"")
	}
	if _, err := parseURL(c.URL); err != nil {
		bad("url", "%w", err)
	}
	if c.Proxy != "" {
		if err := CheckProxy(c.Proxy); err != nil {
			bad("proxy", "%w", err)
		}
	}
	if v := c.Version; v != 0 && v != 3 && v != 5 {
		bad("version", "%d is neither 5 nor 3, which is MQTT 3.1.1", v)
	}
	if c.ClientID == "" {
		bad("client_id", "is empty: the upstream needs one to keep our session")
	} else if len(c.ClientID) > 65535 {
		bad("client_id", "has %d bytes, and MQTT allows 65535", len(c.ClientID))
	}
	if c.Username == "" && len(c.Password) > 0 {
		bad("username", "is empty while a password is given")
	}
	if k := c.KeepAlive; k != 0 && (k < time.Second || k > 65535*time.Second) {
		bad("keepalive", "%v is outside 1s … 65535s", k)
	}
	if s := c.SessionExpiry; s != 0 && (s < time.Second || s > (1<<32-1)*time.Second) {
		bad("session_expiry", "%v is outside 1s … 49710d", s)
	}
	if c.MarkUp && (c.Via == "" || c.version() != packet.V5) {
		bad("mark", "needs MQTT 5, and a value to mark with")
	}
	if len(c.Out) == 0 && len(c.In) == 0 {
		bad("out", "nothing goes up and nothing comes down: give filters in out or in")
	}
	c.validateTopics(bad)
	if c.QoS > 2 {
		bad("qos", "%d is not 0, 1 or 2", c.QoS)
	}
	if c.Window < 0 || c.Window > MaxWindow {
		bad("window", "%d is outside 1 … %d", c.Window, MaxWindow)
	}
	if c.Order != "" && c.Order != FIFO && c.Order != LiveFirst {
		bad("order", "%q is neither %q nor %q", c.Order, FIFO, LiveFirst)
	}
	if c.Rate < 0 {
		bad("rate", "%d is negative", c.Rate)
	}
	c.validateProfile(bad)
	if c.Queue.MaxAge < 0 {
		bad("queue.max_age", "%v is negative", c.Queue.MaxAge)
	}
	return errors.Join(errs...)
}

func (c *Config) validateTopics(bad func(field, format string, args ...any)) {
	filters := func(field string, list []string) {
		for i, f := range list {
			key := fmt.Sprintf("%s.%d", field, i)
			switch {
			case topic.ValidFilter(f) != nil:
				bad(key, "%q: %w", f, topic.ValidFilter(f))
			case strings.HasPrefix(f, "$share/"):
				bad(key, "%q: a link cannot use a shared subscription", f)
			case len(c.Prefix)+len(f) > 65535:
				bad(key, "is longer than 65535 bytes with its prefix")
			}
		}
	}
	filters("out", c.Out)
	filters("in", c.In)
	for i, f := range c.Out {
		if c.version() == packet.V5 {
			break
		}
		for _, in := range c.In {
			if topic.Covers(in, f) {
				bad(fmt.Sprintf("out.%d", i), "%q: nothing of it would go up, as %q comes down, and with version = 3 "+
					"what comes down cannot go up too: the upstream would send it back", f, in)
				break
			}
		}
	}
	if c.Prefix != "" {
		// A prefix may end in a slash or within a level, so it is judged as
		// the beginning of a name.
		if err := topic.ValidName(c.Prefix + "x"); err != nil {
			bad("prefix", "%q: %w", c.Prefix, err)
		}
	}
	if c.Availability != "" {
		if err := topic.ValidName(c.Availability); err != nil {
			bad("availability", "%q: %w", c.Availability, err)
		}
	}
}

// version is Version as the codec names it.
func (c *Config) version() packet.Version {
	if c.Version == 3 {
		return packet.V311
	}
	return packet.V5
}

// withDefaults returns c with its zero values replaced.
func (c Config) withDefaults() Config {
	if c.KeepAlive == 0 {
		c.KeepAlive = DefaultKeepAlive
	}
	if c.SessionExpiry == 0 {
		c.SessionExpiry = DefaultSessionExpiry
	}
	if c.Window == 0 {
		c.Window = DefaultWindow
		if c.version() != packet.V5 {
			c.Window = DefaultWindow3
		}
	}
	return c
}

// endpoint is a parsed Config.URL.
type endpoint struct {
	scheme string // mqtt mqtts ws wss
	host   string // name or address, for TLS
	addr   string // host:port
	url    string // ws and wss: what the handshake asks for
}

func (e endpoint) tls() bool { return e.scheme == "mqtts" || e.scheme == "wss" }

var defaultPorts = map[string]string{"mqtt": "1883", "mqtts": "8883", "ws": "80", "wss": "443"}

func parseURL(s string) (endpoint, error) {
	if s == "" {
		return endpoint{}, errors.New("is missing: give something like mqtts://mq.example.com:8883")
	}
	u, err := url.Parse(s)
	if err != nil {
		return endpoint{}, fmt.Errorf("cannot be read: %w", err)
	}
	port, known := defaultPorts[u.Scheme]
	if !known {
		return endpoint{}, fmt.Errorf("%q begins with none of mqtt:// mqtts:// ws:// wss://", s)
	}
	if u.User != nil {
		return endpoint{}, errors.New("holds a user name: use the keys username and password_file")
	}
	if u.Hostname() == "" {
		return endpoint{}, fmt.Errorf("%q has no host", s)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	e := endpoint{scheme: u.Scheme, host: u.Hostname(), addr: net.JoinHostPort(u.Hostname(), port)}
	switch {
	case e.scheme == "ws" || e.scheme == "wss":
		if u.Path == "" {
			u.Path = "/mqtt"
		}
		e.url = u.String()
	case u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		return endpoint{}, fmt.Errorf("%q has a path, which only ws:// and wss:// use", s)
	}
	return e, nil
}
