package bridge

import (
	"time"

	"github.com/eclipse/paho.golang/paho"

	"sluice/mqttcore/packet"
)

// limits are what the server said in CONNACK (MQTT 5.0, 3.2.2.3), brought
// together with the configuration.
type limits struct {
	version packet.Version

	window int  // messages in flight
	qos    byte // highest quality of service
	birth  byte // quality of service of the birth message
	retain bool // retained messages are taken
	packet int  // largest packet in bytes

	aliases     int  // topic aliases that the server takes
	noWildcards bool // in subscriptions
	// remembered is how long the server keeps our session where that is shorter
	// than we asked for, less is set.
	remembered time.Duration
	less       bool
	profile    profile
}

func limitsOf(cfg *Config, ca *paho.Connack) limits {
	lim := limitsFrom(cfg, packet.V5)
	p := ca.Properties
	if p == nil {
		return lim
	}
	if p.MaximumQoS != nil {
		lim.qos = min(lim.qos, *p.MaximumQoS)
		lim.birth = min(lim.birth, *p.MaximumQoS)
	}
	if p.ReceiveMaximum != nil {
		// One place is the birth message's. It is published while all that a
		// resumed session holds may still be in flight, and mosquitto answers
		// one message too many with 0x97 and ends the connection.
		lim.window = max(1, min(lim.window, int(*p.ReceiveMaximum)-1))
		if *p.ReceiveMaximum == 1 {
			lim.birth = 0
		}
	}
	if p.MaximumPacketSize != nil && *p.MaximumPacketSize > 0 {
		lim.packet = int(min(maxPacket, *p.MaximumPacketSize))
	}
	lim.retain = lim.retain && p.RetainAvailable
	lim.noWildcards = !p.WildcardSubAvailable
	if granted := p.SessionExpiryInterval; granted != nil {
		lim.remembered = time.Duration(*granted) * time.Second
		lim.less = lim.remembered < cfg.SessionExpiry
	}
	if p.TopicAliasMaximum != nil {
		lim.aliases = int(*p.TopicAliasMaximum)
		if most := lim.profile.aliases; most > 0 {
			lim.aliases = min(lim.aliases, most)
		}
	}
	return lim
}

// limitsFrom are those that are known before the server says anything.
func limitsFrom(cfg *Config, v packet.Version) limits {
	lim := limits{version: v, window: cfg.Window, qos: cfg.QoS, birth: min(1, cfg.QoS), retain: !cfg.NoRetain, packet: maxPacket, profile: cfg.profile()}
	if most := lim.profile.qos; most > 0 {
		lim.qos = min(lim.qos, byte(most))
	}
	if most := lim.profile.inFlight; most > 0 {
		lim.window = min(lim.window, most-1) // one place is the birth message's
	}
	return lim
}

// limitsOf3 are those of a server of MQTT 3.1.1, which tells none.
func limitsOf3(cfg *Config) limits { return limitsFrom(cfg, packet.V311) }

// noteGranted says once what the server gives us less of than we asked for, as
// far as that costs something later.
func (l *Link) noteGranted(lim *limits) {
	if lim.less && !l.toldGranted {
		l.toldGranted = true
		l.log.Warn("the upstream remembers us for a shorter time than session_expiry: after a longer outage messages may arrive twice",
			"session_expiry", l.cfg.SessionExpiry, "granted", lim.remembered)
	}
}
