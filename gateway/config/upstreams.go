package config

import (
	"fmt"

	"sluice/bridge"
	"sluice/mqttcore/topic"
)

// buildUpstreams settles the upstream links.
func (b *binder) buildUpstreams(f *rawFile, cfg *Config) {
	names := uses{}
	clients := map[string]string{}
	for i := range f.upstreams {
		u := &f.upstreams[i]
		names.claim(b, u.name, u.at("name"), fmt.Sprintf("there is an upstream %q already", u.name))
		out := Upstream{
			Config: bridge.Config{
				Name: u.name, URL: u.url, Version: u.version, ClientID: u.clientID, Username: u.username,
				KeepAlive: u.keepAlive, SessionExpiry: u.sessionExpiry,
				Out: u.out, In: u.in, Prefix: u.prefix, QoS: u.qos, Window: u.window, Proxy: u.proxy,
				Order: u.order, Rate: u.rate, Profile: u.profile, NoRetain: !u.retain, MarkUp: u.mark,
				Availability: "sluice/" + cfg.Gateway.ID + "/availability",
				Queue:        u.queue.limit(),
			},
		}
		if !u.has("client_id") {
			out.ClientID = cfg.Gateway.ID
		}
		b.checkWholeSeconds(u)
		out.Password = b.secretOf(u)
		out.TLS = b.tls(u)
		b.checkVersion3(u)
		b.checkEcho(u)
		if !u.has("out") && !u.has("in") {
			b.badKey(u.path, "", `%s needs "out", "in" or both: the topics that go up and come down`, u.title())
		}
		if u.has("url") && b.fine(u.at("url"), u.at("client_id"), u.at("name")) {
			client := u.url + " " + out.ClientID
			if other, taken := clients[client]; taken {
				b.bad(u.at("url"), "give one of them another client_id",
					"%s would throw upstream %q out: both are client %q of %s", u.title(), other, out.ClientID, u.url)
			}
			clients[client] = u.name
		}
		cfg.Upstreams = append(cfg.Upstreams, out)
	}
}

func (u *rawUpstream) title() string {
	if u.name == "" {
		return "[[upstream]]"
	}
	return "upstream " + shorten(u.name)
}

// checkWholeSeconds checks the times that MQTT tells in seconds.
func (b *binder) checkWholeSeconds(u *rawUpstream) {
	if u.keepAlive%second != 0 {
		b.bad(u.at("keepalive"), "", "expected whole seconds, not %s", spell(u.keepAlive))
	}
	if u.sessionExpiry%second != 0 {
		b.bad(u.at("session_expiry"), "", "expected whole seconds, not %s", spell(u.sessionExpiry))
	}
}

// checkVersion3 warns of what MQTT 3.1.1 cannot do.
func (b *binder) checkVersion3(u *rawUpstream) {
	if u.version != 3 {
		return
	}
	if u.mark {
		b.bad(u.at("mark"), "use version = 5", "messages of MQTT 3.1.1 have no room for a mark")
	}
	if u.has("session_expiry") && b.fine(u.at("session_expiry")) {
		b.warn(u.at("session_expiry"), "take it out, or use version = 5",
			"with version = 3 the other side alone decides how long it remembers us")
	}
}

// checkEcho refuses what could never go up. MQTT 3.1.1 has no No Local: the
// upstream sends back what goes up on a topic that comes down, so messages of
// such topics stay here.
func (b *binder) checkEcho(u *rawUpstream) {
	if u.version != 3 {
		return
	}
	for i, out := range u.out {
		for _, in := range u.in {
			if at := element(u.at("out"), i); topic.Covers(in, out) && b.fine(at, u.at("in")) {
				b.bad(at, "take it out of one of them, or use version = 5",
					"nothing of %q would go up: %q comes down, and with version = 3 a topic cannot do both", out, in)
			}
		}
	}
}
