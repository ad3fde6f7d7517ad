package bridge

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"sluice/mqttcore/packet"
)

func good() Config {
	return Config{
		Name: "cloud", URL: "mqtts://mq.example.com", ClientID: "pi", Username: "pi", Password: []byte("x"),
		Out: []string{"home/#"}, In: []string{"home/+/+/set"}, Prefix: "site7/", QoS: 1, Availability: "sluice/pi/availability",
	}
}

func TestValidateTakesAGoodConfig(t *testing.T) {
	c := good()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if c = c.withDefaults(); c.KeepAlive != DefaultKeepAlive || c.Window != DefaultWindow || c.SessionExpiry != DefaultSessionExpiry {
		t.Errorf("defaults are missing: %+v", c)
	}
	if err := c.Validate(); err != nil {
		t.Errorf("the defaults are not valid: %v", err)
	}
}

func TestValidateNamesEachWrongKey(t *testing.T) {
	c := Config{
		URL: "http://x", Version: 4, Password: []byte("x"), KeepAlive: time.Millisecond, SessionExpiry: -1,
		Out: []string{"a/#/b", "$share/g/x"}, In: []string{""}, Prefix: "a+", QoS: 3, Window: -1, Availability: "a/#",
	}
	err := c.Validate()
	if err == nil {
		t.Fatal("a config that is wrong in every key is valid")
	}
	var keys []string
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		keys = append(keys, e.(interface{ Field() string }).Field())
	}
	want := []string{"name", "url", "version", "client_id", "username", "keepalive", "session_expiry",
		"out.0", "out.1", "in.0", "prefix", "availability", "qos", "window"}
	if !slices.Equal(keys, want) {
		t.Errorf("wrong keys are %v,\nwant %v", keys, want)
	}
	c = good()
	c.Version, c.Out, c.In = 3, []string{"a/+", "b/#"}, []string{"b/c", "a/#"}
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), `out.0: "a/+": nothing of it would go up`) || strings.Contains(err.Error(), "out.1") {
		t.Errorf("a filter that is down and up in MQTT 3.1.1: %v", err)
	}
	c = good()
	c.In, c.Out = nil, nil
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "nothing goes up") {
		t.Errorf("a link that carries nothing: %v", err)
	}
}

func TestParseURL(t *testing.T) {
	for in, want := range map[string]endpoint{
		"mqtt://h":             {scheme: "mqtt", host: "h", addr: "h:1883"},
		"mqtts://h:443":        {scheme: "mqtts", host: "h", addr: "h:443"},
		"mqtt://[::1]:1884":    {scheme: "mqtt", host: "::1", addr: "[::1]:1884"},
		"ws://h":               {scheme: "ws", host: "h", addr: "h:80", url: "ws://h/mqtt"},
		"wss://h:8443/bus?x=1": {scheme: "wss", host: "h", addr: "h:8443", url: "wss://h:8443/bus?x=1"},
	} {
		if got, err := parseURL(in); err != nil || got != want {
			t.Errorf("parseURL(%q) = %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "h:1883", "mqtt://", "tcp://h", "mqtt://u:p@h", "mqtt://h/path", "mqtt://h?x", "mqtt://h:port"} {
		if e, err := parseURL(in); err == nil {
			t.Errorf("parseURL(%q) = %+v, want an error", in, e)
		}
	}
}

func TestLimitsAreTheLowerOnes(t *testing.T) {
	c := good().withDefaults()
	c.QoS = 2
	if got, want := limitsOf(&c, &paho.Connack{}), (limits{version: packet.V5, window: DefaultWindow, qos: 2, birth: 1, retain: true, packet: maxPacket}); got != want {
		t.Errorf("a server without limits: %+v, want %+v", got, want)
	}
	ca := &paho.Connack{Properties: &paho.ConnackProperties{
		ReceiveMaximum: new(uint16(20)), MaximumQoS: new(byte(1)), MaximumPacketSize: new(uint32(2000)), RetainAvailable: false,
		TopicAliasMaximum: new(uint16(7)), WildcardSubAvailable: false, SessionExpiryInterval: new(uint32(3600)),
	}}
	if got, want := limitsOf(&c, ca), (limits{version: packet.V5, window: 19, qos: 1, birth: 1, packet: 2000, aliases: 7, noWildcards: true, remembered: time.Hour, less: true}); got != want {
		t.Errorf("limits are %+v, want %+v", got, want)
	}
	ca.Properties.ReceiveMaximum = new(uint16(1))
	if got := limitsOf(&c, ca); got.window != 1 || got.birth != 0 {
		t.Errorf("no place for two: %+v", got)
	}
	c.QoS, c.Window = 0, 5
	ca.Properties.ReceiveMaximum = new(uint16(20))
	if got := limitsOf(&c, ca); got.qos != 0 || got.window != 5 {
		t.Errorf("the server raised what the configuration lowered: %+v", got)
	}
}
