package bridge

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"sluice/mqttcore"
)

// cloud is a scripted server that has the limits of AWS IoT Core and ends the
// connection where one is passed, as that does.
type cloud struct {
	*script
	metered

	mu       sync.Mutex
	faults   []string
	flying   int
	filters  int
	aliases  resolver
	cut      func() bool // whether to end the connection for no reason
	got      map[string]string
	accepted time.Time
}

func newCloud(t *testing.T) *cloud {
	c := &cloud{script: &script{keep: true}, got: map[string]string{}}
	c.connack.Properties = &packets.Properties{
		MaximumQOS: new(byte(1)), ReceiveMaximum: new(uint16(100)), MaximumPacketSize: new(uint32(149_504)), TopicAliasMaximum: new(uint16(8)),
	}
	c.after = func(func(packets.Packet)) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if gap := time.Since(c.accepted); gap < time.Second {
			c.fault("CONNECT comes %v after the last", gap)
		}
		c.accepted, c.flying, c.filters, c.aliases = time.Now(), 0, 0, resolver{}
		if k := c.connect.KeepAlive; k < 30 || k > 1200 {
			c.fault("keep alive is %d s", k)
		}
		if len(c.connect.ClientID) > 128 {
			c.fault("client id has %d bytes", len(c.connect.ClientID))
		}
		return true
	}
	c.subscribe = func(p *packets.Subscribe) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.filters += len(p.Subscriptions)
		return !(len(p.Subscriptions) > 8 && c.fault("%d filters in a SUBSCRIBE", len(p.Subscriptions)) ||
			c.filters > 50 && c.fault("%d subscriptions", c.filters))
	}
	c.publish = func(p *packets.Publish, reply func(packets.Packet)) bool {
		c.note(p)
		bytes, messages := c.most(time.Second)
		c.mu.Lock()
		defer c.mu.Unlock()
		alias := uint16(0)
		if p.Properties.TopicAlias != nil {
			alias = *p.Properties.TopicAlias
		}
		topic, err := c.aliases.resolve(p.Topic, alias, 8)
		if err != nil {
			c.fault("%v", err)
			return false
		}
		if p.QoS > 0 {
			c.flying++
		}
		measured := strings.TrimPrefix(topic, "$aws/rules/x/")
		if p.QoS > 1 && c.fault("QoS %d", p.QoS) ||
			len(p.Payload) > 128<<10 && c.fault("payload of %d bytes", len(p.Payload)) ||
			len(measured) > 256 && c.fault("topic of %d bytes", len(measured)) ||
			strings.Count(measured, "/") > 7 && c.fault("topic %s", measured) ||
			messages > 100 && c.fault("%d publishes in a second", messages) ||
			bytes > 512<<10 && c.fault("%d bytes in a second", bytes) ||
			c.flying > 100 && c.fault("%d in flight", c.flying) {
			return false
		}
		if c.cut != nil && c.cut() {
			return false
		}
		c.got[string(p.Payload[:min(len(p.Payload), 20)])] = topic
		c.flying--
		acknowledge(p, 0, reply)
		return true
	}
	return c
}

// fault notes what passes a limit.
func (c *cloud) fault(format string, args ...any) bool {
	if len(c.faults) < 10 {
		c.faults = append(c.faults, fmt.Sprintf(format, args...))
	}
	return true
}

// awsConfig is a link to it.
func awsConfig() Config {
	cfg := scripted(1)
	cfg.Profile, cfg.KeepAlive = "aws-iot", 30*time.Second
	cfg.In = nil
	for i := range 50 {
		cfg.In = append(cfg.In, fmt.Sprintf("home/%d/set", i))
	}
	cfg.Availability = "sluice/pi/availability"
	return cfg
}

// TestProfileOfAWS drains backlogs of all kinds of messages into a server with
// the limits of AWS IoT Core, which is never given a reason to end a
// connection; what it would never take is given up with the reason.
func TestProfileOfAWS(t *testing.T) {
	for _, order := range []Order{FIFO, LiveFirst} {
		t.Run(string(order), func(t *testing.T) {
			c := newCloud(t)
			c.away = true
			synctest.Test(t, func(t *testing.T) {
				cfg := awsConfig()
				cfg.Order = order
				g := startGateway(t, t.TempDir(), cfg, func(l *Link) { l.dial = c.dial })
				lot := rand.New(rand.NewPCG(3, 3))
				publish := func(n int, name string, payload string) {
					m := mqttcore.Message{Topic: name, Payload: fmt.Appendf(nil, "%06d%s", n, payload), QoS: 1, Retain: n%9 == 0}
					if err := g.broker.Publish(t.Context(), m); err != nil {
						t.Fatal(err)
					}
				}
				const n = 3000
				for i := range n {
					size := lot.IntN(200)
					if i%100 == 7 || i >= 1000 && i < 1020 {
						size = 100_000 + lot.IntN(31_000)
					}
					publish(i, fmt.Sprintf("home/meter/%d", i%20), strings.Repeat("x", size))
				}
				publish(n, "home/large", strings.Repeat("x", 128<<10))
				publish(n+1, "home/"+strings.Repeat("long", 64), "")
				publish(n+2, "home/1/2/3/4/5/6/7", "")
				c.script.set(func() { c.away = false })
				for i := range 50 {
					publish(n+3+i, "home/live", "")
					time.Sleep(time.Second)
				}
				time.Sleep(5 * time.Minute)
				synctest.Wait()
				st := g.link.Stats()
				if len(c.faults) > 0 {
					t.Errorf("the server was asked too much: %q", c.faults)
				}
				if st.Backlog != 0 || st.Connects != 1 || st.DeadLettered != 3 || st.Forwarded != n+50 || st.RateWaited == 0 {
					t.Errorf("figures: %+v", st)
				}
				for _, reason := range []string{tooLarge, "topic too long for the upstream", "topic too deep for the upstream"} {
					if st.DroppedBy[reason] != 1 {
						t.Errorf("given up: %v", st.DroppedBy)
					}
				}
				if len(c.got) != n+50+1 { // and the birth message
					t.Errorf("%d arrived", len(c.got))
				}
				g.halt()
			})
		})
	}
}

// TestReconnectsToAWS: a line that is cut all the time brings no more than one
// CONNECT a second, and nothing is given up for it.
func TestReconnectsToAWS(t *testing.T) {
	c := newCloud(t)
	left := 0
	c.cut = func() bool { // the lock is held
		if left--; left < 0 {
			left = 20
			return true
		}
		return false
	}
	synctest.Test(t, func(t *testing.T) {
		g := startGateway(t, t.TempDir(), awsConfig(), func(l *Link) { l.dial = c.dial })
		g.publish(t, "home/x", 1, 1, 1000)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if st := g.link.Stats(); st.Backlog != 0 || st.Connects < 20 || st.DeadLettered != 0 {
			t.Errorf("figures: %+v", st)
		}
		if len(c.faults) > 0 {
			t.Errorf("the server was asked too much: %q", c.faults)
		}
		g.halt()
	})
}

// TestServerWithoutWildcards: of what comes down, topics without wildcards do.
func TestServerWithoutWildcards(t *testing.T) {
	s := &script{}
	s.connack.Properties = &packets.Properties{WildcardSubAvailable: new(byte(0)), SessionExpiryInterval: new(uint32(60))}
	var asked []string
	s.subscribe = func(p *packets.Subscribe) bool {
		for _, f := range p.Subscriptions {
			asked = append(asked, f.Topic)
		}
		return true
	}
	cfg := scripted(1)
	cfg.In = []string{"home/+/set", "home/a/set", "home/#"}
	underScript(t, s, cfg, func(t *testing.T, g *gateway) {
		time.Sleep(time.Second)
		synctest.Wait()
		if !g.link.Stats().Connected || !slices.Equal(asked, []string{"site7/home/a/set"}) {
			t.Errorf("asked for %v: %+v", asked, g.link.Stats())
		}
		if !g.link.toldGranted || !g.link.toldWildcards {
			t.Error("nothing was said about the shorter session or the wildcards")
		}
	})
}

// TestNoRetain: nothing goes up with RETAIN where that is switched off.
func TestNoRetain(t *testing.T) {
	s := &script{}
	cfg := scripted(1)
	cfg.NoRetain = true
	underScript(t, s, cfg, func(t *testing.T, g *gateway) {
		if err := g.broker.Publish(t.Context(), mqttcore.Message{Topic: "home/x", Payload: []byte("1"), QoS: 1, Retain: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := s.sent(); len(got) != 1 || got[0].Retain {
			t.Errorf("sent: %+v", got)
		}
	})
}

func TestProfileFaults(t *testing.T) {
	cfg := awsConfig()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	fields := func(change func(c *Config)) (all []string) {
		c := awsConfig()
		change(&c)
		err := c.Validate()
		if err == nil {
			return nil
		}
		for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
			if f, ok := errors.AsType[*fieldError](e); ok {
				all = append(all, f.Field())
			}
		}
		return all
	}
	for name, c := range map[string]struct {
		change func(c *Config)
		want   []string
	}{
		"unknown":      {func(c *Config) { c.Profile = "aws" }, []string{"profile"}},
		"client id":    {func(c *Config) { c.ClientID = strings.Repeat("x", 129) }, []string{"client_id"}},
		"short":        {func(c *Config) { c.KeepAlive = 29 * time.Second }, []string{"keepalive"}},
		"long":         {func(c *Config) { c.KeepAlive = 1201 * time.Second }, []string{"keepalive"}},
		"qos":          {func(c *Config) { c.QoS = 2 }, []string{"qos"}},
		"many filters": {func(c *Config) { c.In = append(c.In, "one/more") }, []string{"in"}},
		"deep filters": {func(c *Config) { c.In = []string{"1/2/3/4/5/6/7", "1/2/3/4/5/6/7/8"} }, []string{"in.1"}},
		"long filter":  {func(c *Config) { c.In = []string{strings.Repeat("x", 256)} }, []string{"in.0"}},
		"deep out":     {func(c *Config) { c.Out = []string{"#", "+/+/+/+/+/+/+/#", "+/+/+/+/+/+/+/+/#"} }, []string{"out.2"}},
		"rule":         {func(c *Config) { c.Prefix, c.Out, c.In = "$aws/rules/x/", []string{"1/2/3/4/5/6/7/8"}, nil }, nil},
	} {
		if got := fields(c.change); !slices.Equal(got, c.want) {
			t.Errorf("%s: wrong are %v, want %v", name, got, c.want)
		}
	}
}

// TestALPNOfAWS: port 443 is asked for MQTT by name, and no other port.
func TestALPNOfAWS(t *testing.T) {
	for url, want := range map[string]string{
		"mqtts://x.iot.eu-west-1.amazonaws.com:443":    "x-amzn-mqtt-ca",
		"mqtts://x.iot.eu-west-1.amazonaws.com":        "",
		"wss://x.iot.eu-west-1.amazonaws.com:443/mqtt": "",
	} {
		e, err := parseURL(url)
		if err != nil {
			t.Fatal(err)
		}
		cfg := Config{Profile: "aws-iot", TLS: TLS{ServerName: "kept"}}
		if got := cfg.tlsFor(e); got.ALPN != want || got.ServerName != "kept" {
			t.Errorf("%s: asks for %q as %q", url, got.ALPN, got.ServerName)
		}
		cfg.TLS.ALPN = "mine"
		if got := cfg.tlsFor(e); got.ALPN != "mine" {
			t.Errorf("%s: what is configured becomes %q", url, got.ALPN)
		}
	}
}
