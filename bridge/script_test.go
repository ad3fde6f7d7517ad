package bridge

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
)

// script is a server that does what mosquitto never would. It runs in a
// bubble, over pipes, so that an hour of waiting takes no time.
type script struct {
	version int // of MQTT: 3 or else 5
	connack packets.Connack
	keep    bool // keep the session from the first connection on
	// publish answers a PUBLISH; nil: as a server should. False ends the
	// connection.
	publish func(p *packets.Publish, reply func(packets.Packet)) bool
	after   func(reply func(packets.Packet)) bool // after CONNACK; false ends the connection
	mute    bool                                  // no PINGRESP
	// subscribe looks at a SUBSCRIBE; false ends the connection.
	subscribe func(p *packets.Subscribe) bool

	mu       sync.Mutex
	away     bool // nobody answers
	connects []time.Time
	connect  *packets.Connect // the last
	up       []packets.Publish
	rel      []uint16
	answered map[string]int // to what the script sent, by type of packet
}

func (s *script) dial(context.Context) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, fmt.Errorf("%w: nobody is there", errUnreached)
	}
	here, there := net.Pipe()
	s.connects = append(s.connects, time.Now())
	go s.serve(there)
	return here, nil
}

func (s *script) serve(c net.Conn) {
	// A pipe holds nothing, and the link must never be found waiting with a
	// lock held: so reading goes on to the end, whatever is written.
	out := make(chan packets.Packet, 1000)
	go func() {
		for p := range out {
			if err := s.write(c, p); err != nil {
				break
			}
		}
		c.Close()
	}()
	reply := func(p packets.Packet) { out <- p }
	for over := false; ; {
		cp, err := s.read(c)
		if err == nil && !over && s.handle(cp, reply) {
			continue
		}
		if !over {
			over = true
			close(out) // what was said goes out before the end
		}
		if err != nil {
			return
		}
	}
}

func (s *script) handle(cp *packets.ControlPacket, reply func(packets.Packet)) bool {
	none := &packets.Properties{}
	s.mu.Lock()
	after, mute, publish := s.after, s.mute, s.publish
	s.mu.Unlock()
	switch p := cp.Content.(type) {
	case *packets.Connect:
		s.mu.Lock()
		s.connect = p
		ca := s.connack
		ca.SessionPresent = s.keep && len(s.connects) > 1 && !p.CleanStart
		s.mu.Unlock()
		if ca.Properties == nil {
			ca.Properties = none
		}
		reply(&ca)
		return after == nil || after(reply)
	case *packets.Subscribe:
		if s.subscribe != nil && !s.subscribe(p) {
			return false
		}
		reply(&packets.Suback{PacketID: p.PacketID, Reasons: make([]byte, len(p.Subscriptions)), Properties: none})
	case *packets.Pingreq:
		if !mute {
			reply(&packets.Pingresp{})
		}
	case *packets.Publish:
		s.mu.Lock()
		s.up = append(s.up, *p)
		s.mu.Unlock()
		if publish != nil {
			return publish(p, reply)
		}
		acknowledge(p, 0, reply)
	case *packets.Pubrel:
		s.mu.Lock()
		s.rel = append(s.rel, p.PacketID)
		s.mu.Unlock()
		reply(&packets.Pubcomp{PacketID: p.PacketID, Properties: none})
	case *packets.Puback, *packets.Pubrec, *packets.Pubcomp:
		s.mu.Lock()
		if s.answered == nil {
			s.answered = map[string]int{}
		}
		s.answered[cp.PacketType()]++
		s.mu.Unlock()
	case *packets.Disconnect:
		return false
	}
	return true
}

// read and write speak the version of the script.
func (s *script) read(c net.Conn) (*packets.ControlPacket, error) {
	if s.version == 3 {
		return read3(c)
	}
	return packets.ReadPacket(c)
}

func (s *script) write(c net.Conn, p packets.Packet) error {
	if s.version == 3 {
		return write3(c, p)
	}
	_, err := p.WriteTo(c)
	return err
}

// acknowledge answers a PUBLISH with a reason code.
func acknowledge(p *packets.Publish, reason byte, reply func(packets.Packet)) {
	switch p.QoS {
	case 1:
		reply(&packets.Puback{PacketID: p.PacketID, ReasonCode: reason, Properties: &packets.Properties{}})
	case 2:
		reply(&packets.Pubrec{PacketID: p.PacketID, ReasonCode: reason, Properties: &packets.Properties{}})
	}
}

// answers counts the packets of a type, such as "PUBREC", that came.
func (s *script) answers(kind string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answered[kind]
}

// sent returns the PUBLISH packets that came.
func (s *script) sent() []packets.Publish {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.up)
}

func (s *script) payloads() []string {
	var all []string
	for _, p := range s.sent() {
		all = append(all, string(p.Payload))
	}
	return all
}

func (s *script) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

func (s *script) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.connects)
}

// inEachVersion runs a test in MQTT 5 and in 3.1.1.
func inEachVersion(t *testing.T, test func(t *testing.T, version int)) {
	for _, v := range []int{5, 3} {
		t.Run(fmt.Sprintf("version %d", v), func(t *testing.T) { test(t, v) })
	}
}

// underScript runs a gateway against a scripted server in a bubble.
func underScript(t *testing.T, s *script, cfg Config, test func(t *testing.T, g *gateway)) {
	t.Helper()
	cfg.Version = s.version
	synctest.Test(t, func(t *testing.T) {
		g := startGateway(t, t.TempDir(), cfg, func(l *Link) { l.dial = s.dial })
		test(t, g)
		g.halt()
	})
}

func scripted(qos byte) Config { return linkTo("127.0.0.1:1", qos) }
