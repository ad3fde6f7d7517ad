package mqttcore

import "sluice/mqttcore/packet"

// welcome adds the CONNACK that accepts the client, before which it is told
// nothing else (MQTT-3.2.0-1, -3.14.0-1).
func (c *conn) welcome(connack []byte) {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return
	}
	k := o.buffer()
	k.b = append(k.b, connack...)
	o.greeted = true
	c.account()
}

// lastWords gives the connection up because of err and tells a client of MQTT
// 5 why. What others have for it meanwhile does not get behind that
// (MQTT-3.14.4-1).
func (c *conn) lastWords(reason packet.Reason, err error) {
	o := &c.out
	o.mu.Lock()
	if o.err == nil && o.greeted && c.version == packet.V5 {
		d := packet.Disconnect{Reason: reason}
		k := o.buffer()
		k.b = d.Append(k.b, c.version)
		o.parting = true
	}
	c.giveUpLocked(err)
	o.mu.Unlock()
	c.flush()
}
