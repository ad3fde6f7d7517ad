package bridge

import (
	"sluice/mqttcore"
	"sluice/mqttcore/packet"
	"sluice/mqttcore/topic"
)

// liveQueue bounds the QoS 0 messages that wait to be written upstream. Where
// it is full, the newest is dropped and counted.
const liveQueue = 256

// subscribeLive forwards messages that the log does not hold while there is a
// connection: those of QoS 0, and all where the disk takes nothing any more.
func (l *Link) subscribeLive() (live <-chan mqttcore.Message, cancel func()) {
	out := make(chan mqttcore.Message, liveQueue)
	var cancels []func()
	for i, filter := range l.cfg.Out {
		earlier := l.cfg.Out[:i]
		cancels = append(cancels, l.broker.Subscribe(filter, func(m *mqttcore.Message) {
			if m.QoS > 0 && l.broker.DiskFault() == nil || m.Retain || m.Origin == l.consumer() || l.staysHere([]byte(m.Topic)) {
				return
			}
			for _, f := range earlier {
				if topic.Match(f, m.Topic) {
					return // it came by that filter
				}
			}
			select {
			case out <- *m:
			default:
				l.liveDropped.Add(1)
			}
		}))
	}
	return out, func() {
		for _, c := range cancels {
			c()
		}
	}
}

// sendLive writes a message at QoS 0.
func (f *forwarder) sendLive(m *mqttcore.Message) {
	var list packet.Properties
	setProperties(&list, &m.Properties)
	props := listOf(&list)
	if f.l.wasHere(props) {
		f.l.looped.Add(1)
		return
	}
	out := packet.Outgoing{Props: f.marked(props)}
	if _, why := f.unsendable([]byte(m.Topic), m.Payload, &out); why != "" {
		f.l.liveDropped.Add(1)
		return
	}
	f.put(m.Payload, &out)
	f.l.liveSent.Add(1)
}

// setProperties puts the properties that travel with a message into to.
func setProperties(to *packet.Properties, p *mqttcore.Properties) {
	if p.UTF8 {
		to.SetUint(packet.PropPayloadFormat, 1)
	}
	if p.HasExpiry {
		to.SetUint(packet.PropMessageExpiry, p.Expiry)
	}
	if p.ContentType != "" {
		to.SetBytes(packet.PropContentType, []byte(p.ContentType))
	}
	if p.ResponseTopic != "" {
		to.SetBytes(packet.PropResponseTopic, []byte(p.ResponseTopic))
	}
	if len(p.Correlation) > 0 {
		to.SetBytes(packet.PropCorrelationData, p.Correlation)
	}
	for _, u := range p.User {
		to.User = append(to.User, packet.UserProperty{Key: []byte(u.Key), Value: []byte(u.Value)})
	}
}
