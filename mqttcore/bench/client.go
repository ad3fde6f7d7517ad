package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"time"
)

// handshake bounds connecting and subscribing.
const handshake = 10 * time.Second

// client is one MQTT 3.1.1 client on a raw TCP connection. One goroutine at a
// time reads; writes of whole packets may come from others.
type client struct {
	net.Conn
	in      packets
	present bool // the broker had a session for it
}

// dial connects a client and waits for its CONNACK.
func dial(addr, id string, clean bool) (*client, error) { return dialSized(addr, id, clean, 64<<10) }

func dialSized(addr, id string, clean bool, buffer int) (*client, error) {
	nc, err := net.DialTimeout("tcp", addr, handshake)
	if err != nil {
		return nil, err
	}
	c := &client{Conn: nc, in: newPackets(nc, buffer)}
	if err := c.connect(id, clean); err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("connecting %s: %w", id, err)
	}
	return c, nil
}

func (c *client) connect(id string, clean bool) error {
	body, err := c.ask(appendConnect(nil, id, clean), typeConnack, 2)
	if err != nil {
		return err
	}
	if body[1] != 0 {
		return fmt.Errorf("refused with code %d", body[1])
	}
	c.present = body[0]&1 == 1
	return nil
}

// subscribe asks for one filter and gives the granted QoS, or 0x80 where the
// broker refused.
func (c *client) subscribe(filter string, qos byte) (granted byte, err error) {
	body, err := c.ask(appendSubscribe(nil, 1, filter, qos), typeSuback, 3)
	if err != nil {
		return 0, fmt.Errorf("subscribing to %s: %w", filter, err)
	}
	return body[2], nil
}

// ask writes a request and waits for its answer of at least size bytes.
func (c *client) ask(request []byte, answer byte, size int) ([]byte, error) {
	if err := c.SetDeadline(time.Now().Add(handshake)); err != nil {
		return nil, err
	}
	if _, err := c.Write(request); err != nil {
		return nil, err
	}
	first, body, _, err := c.in.next()
	if err != nil {
		return nil, err
	}
	if first&0xf0 != answer || len(body) < size {
		return nil, fmt.Errorf("answered with packet %#x of %d bytes, want %#x", first, len(body), answer)
	}
	return body, c.SetDeadline(time.Time{})
}

// mustSubscribe is subscribe where the case makes no sense with less than qos.
func (c *client) mustSubscribe(filter string, qos byte) error {
	granted, err := c.subscribe(filter, qos)
	if err == nil && granted != qos {
		err = fmt.Errorf("subscribing to %s: granted %#x, want QoS %d", filter, granted, qos)
	}
	return err
}

// ackID gives the packet identifier of an acknowledgement.
func ackID(body []byte) (uint16, error) {
	if len(body) < 2 {
		return 0, errMalformed
	}
	return binary.BigEndian.Uint16(body), nil
}
