package bridge

import (
	"github.com/eclipse/paho.golang/packets"

	"sluice/mqttcore"
	"sluice/mqttcore/topic"
)

// liveQueue bounds the QoS 0 messages that wait to be written upstream. Where
// it is full, the newest is dropped and counted.
const liveQueue = 256

// subscribeLive forwards messages of QoS 0, which the log does not hold, while
// there is a connection.
func (l *Link) subscribeLive() (live <-chan mqttcore.Message, cancel func()) {
	out := make(chan mqttcore.Message, liveQueue)
	var cancels []func()
	for i, filter := range l.cfg.Out {
		earlier := l.cfg.Out[:i]
		cancels = append(cancels, l.broker.Subscribe(filter, func(m *mqttcore.Message) {
			if m.QoS > 0 || m.Retain || m.Origin == l.consumer() || l.cfg.Availability == m.Topic {
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

// sendLive writes a message of QoS 0.
func (f *forwarder) sendLive(m *mqttcore.Message) {
	p := packets.Publish{Topic: f.l.cfg.Prefix + m.Topic, Payload: m.Payload, Properties: packetProperties(&m.Properties)}
	size := mqttcore.Delivery{Topic: []byte(m.Topic), Payload: m.Payload, Props: p.Properties.Pack(packets.PUBLISH)}
	if unsendable(f.l.cfg.Prefix, &size, 0, f.lim.packet) != "" {
		f.l.liveDropped.Add(1)
		return
	}
	if _, err := p.WriteTo(f.conn); err == nil {
		f.l.liveSent.Add(1)
	}
}

func packetProperties(p *mqttcore.Properties) *packets.Properties {
	out := &packets.Properties{
		ContentType:     p.ContentType,
		ResponseTopic:   p.ResponseTopic,
		CorrelationData: p.Correlation,
	}
	if p.UTF8 {
		out.PayloadFormat = new(byte(1))
	}
	if p.HasExpiry {
		out.MessageExpiry = new(p.Expiry)
	}
	for _, u := range p.User {
		out.User = append(out.User, packets.User{Key: u.Key, Value: u.Value})
	}
	return out
}
