package bridge

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// profile is what is known of a provider that its CONNACK does not tell. Zero
// bounds nothing.
type profile struct {
	qos       int           // highest quality of service, where there is a bound
	payload   int           // bytes
	topic     int           // bytes, prefix included
	slashes   int           // in a topic
	exempt    string        // topics below it and one level more are measured behind that
	clientID  int           // bytes
	keepAlive time.Duration // shortest
	silence   time.Duration // longest keep alive
	filters   int           // subscriptions of one connection
	inFlight  int           // messages without an answer
	aliases   int           // topic aliases

	publishesPerSecond, bytesPerSecond float64       // of one connection
	burst                              time.Duration // of both: what may pass at once
	connectEvery                       time.Duration // at least, from one CONNECT to the next

	alpn string // the protocol that port 443 wants to be asked for in TLS
}

// profiles are the providers that are known by name.
var profiles = map[string]profile{
	// The limits and quotas of AWS IoT Core's message broker, per connection
	// where they say so. No second may have more than 100 publishes or 512 KiB,
	// wherever it begins: what is at hand, the burst and one packet of the largest
	// size stay below that.
	"aws-iot": {
		qos: 1, payload: 128 << 10, topic: 256, slashes: 7, exempt: "$aws/rules/",
		clientID: 128, keepAlive: 30 * time.Second, silence: 1200 * time.Second,
		filters: 50, inFlight: 100, aliases: 8,
		publishesPerSecond: 93, bytesPerSecond: 350 << 10, burst: 50 * time.Millisecond,
		connectEvery: time.Second, alpn: "x-amzn-mqtt-ca",
	},
}

// Profiles returns the names that Config.Profile may have.
func Profiles() []string { return slices.Sorted(maps.Keys(profiles)) }

func (c *Config) profile() profile { return profiles[c.Profile] }

// measured returns the part of a remote topic that the limits are about.
func (p *profile) measured(topic string) string {
	if p.exempt == "" {
		return topic
	}
	if rest, ok := strings.CutPrefix(topic, p.exempt); ok {
		if _, rest, ok = strings.Cut(rest, "/"); ok {
			return rest
		}
	}
	return topic
}

// unfit says what is wrong with the name of a topic, as the class of the fault
// and in words; "" where nothing is.
func (p *profile) unfit(name string) (class, why string) {
	m := p.measured(name)
	if p.topic > 0 && len(m) > p.topic {
		return "topic too long for the upstream", fmt.Sprintf("topic has %d bytes with its prefix, and the upstream allows %d", len(m), p.topic)
	}
	if n := strings.Count(m, "/"); p.slashes > 0 && n > p.slashes {
		return "topic too deep for the upstream", fmt.Sprintf("topic has %d slashes with its prefix, and the upstream allows %d", n, p.slashes)
	}
	return "", ""
}

// validateProfile reports what the provider would refuse for sure.
func (c *Config) validateProfile(bad func(field, format string, args ...any)) {
	if c.Profile == "" {
		return
	}
	p, known := profiles[c.Profile]
	if !known {
		bad("profile", "%q is not one of %s", c.Profile, strings.Join(Profiles(), ", "))
		return
	}
	if p.clientID > 0 && len(c.ClientID) > p.clientID {
		bad("client_id", "has %d bytes, and %s allows %d", len(c.ClientID), c.Profile, p.clientID)
	}
	if k := c.KeepAlive; p.keepAlive > 0 && k != 0 && (k < p.keepAlive || k > p.silence) {
		bad("keepalive", "%v is outside the %v … %v of %s", k, p.keepAlive, p.silence, c.Profile)
	}
	if p.qos > 0 && int(c.QoS) > p.qos {
		bad("qos", "%d is more than %s takes: use %d", c.QoS, c.Profile, p.qos)
	}
	if p.filters > 0 && len(c.In) > p.filters {
		bad("in", "has %d filters, and %s allows %d", len(c.In), c.Profile, p.filters)
	}
	for i, f := range c.In {
		if _, why := p.unfit(c.Prefix + f); why != "" {
			bad(fmt.Sprintf("in.%d", i), "%q: %s", f, why)
		}
	}
	for i, f := range c.Out {
		// What it matches has at least as many levels; "a/#" is also "a".
		if _, why := p.unfit(strings.TrimSuffix(c.Prefix+strings.ReplaceAll(f, "+", ""), "/#")); why != "" {
			bad(fmt.Sprintf("out.%d", i), "%q: %s", f, why)
		}
	}
}

// tlsFor returns the TLS settings for an endpoint.
func (c *Config) tlsFor(e endpoint) TLS {
	t := c.TLS
	if alpn := c.profile().alpn; t.ALPN == "" && e.scheme == "mqtts" && strings.HasSuffix(e.addr, ":443") {
		t.ALPN = alpn
	}
	return t
}
