package bridge

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/google/go-cmp/cmp"
)

// TestRefusalsAreWorded: in MQTT 5, too, the one that every typing error ends in
// says what to look at.
func TestRefusalsAreWorded(t *testing.T) {
	s := &script{connack: packets.Connack{ReasonCode: 0x87}}
	underScript(t, s, scripted(1), func(t *testing.T, g *gateway) {
		time.Sleep(time.Second)
		if got, want := g.link.Stats().LastError, "connection refused: not authorized (0x87): user name, password, certificate or client_id"; got != want {
			t.Errorf("LastError is %q, want %q", got, want)
		}
	})
}

// TestReturnCodesAreWorded: each refusal of a CONNECT in MQTT 3.1.1 says what
// to do about it.
func TestReturnCodesAreWorded(t *testing.T) {
	for reason, want := range map[byte]string{
		0x84: "connection refused: it does not speak MQTT 3.1.1: try version = 5 (return code 1)",
		0x85: "connection refused: it does not take our client_id (return code 2)",
		0x88: "connection refused: MQTT is not available there now (return code 3)",
		0x86: "connection refused: bad user name or password (return code 4)",
		0x87: "connection refused: not authorized: user name, password, certificate or client_id (return code 5)",
	} {
		s := &script{version: 3, connack: packets.Connack{ReasonCode: reason}}
		underScript(t, s, scripted(1), func(t *testing.T, g *gateway) {
			time.Sleep(10 * time.Minute)
			if got := g.link.Stats().LastError; got != want {
				t.Errorf("LastError is %q, want %q", got, want)
			}
			if n := s.count(); n > 40 {
				t.Errorf("%d connections in ten minutes", n)
			}
		})
	}
}

// TestSilentServerIsNoticed: a server of MQTT 3.1.1 that no longer says
// anything is left within twice the keep alive.
func TestSilentServerIsNoticed(t *testing.T) {
	s := &script{version: 3, mute: true}
	underScript(t, s, scripted(1), func(t *testing.T, g *gateway) {
		time.Sleep(2 * g.link.cfg.KeepAlive)
		if st := g.link.Stats(); st.Connects < 2 || !strings.Contains(st.LastError, "silent") {
			t.Errorf("after twice the keep alive: %+v", st)
		}
	})
}

// TestWindowOfVersion3: where the server cannot say what it takes, no more
// than the configured number is in flight.
func TestWindowOfVersion3(t *testing.T) {
	s := &script{version: 3}
	s.publish = func(*packets.Publish, func(packets.Packet)) bool { return true }
	underScript(t, s, scripted(1), func(t *testing.T, g *gateway) {
		g.publish(t, "home/x", 1, 1, 100)
		time.Sleep(time.Second)
		if n := len(s.sent()); n != DefaultWindow3 || g.link.Stats().InFlight != n {
			t.Errorf("%d were sent without an answer: %+v", n, g.link.Stats())
		}
	})
}

// TestManyComeDownAtOnce: a server that sends without a bound is held up, not
// thrown out, as it would do the same on the next connection.
func TestManyComeDownAtOnce(t *testing.T) {
	inEachVersion(t, manyAtOnce)
}

func manyAtOnce(t *testing.T, version int) {
	const n = 5 * receiveMaximum
	s := &script{version: version}
	s.after = func(reply func(packets.Packet)) bool {
		for i := range n {
			reply(&packets.Publish{Topic: "site7/home/a/set", QoS: 1, PacketID: uint16(1 + i), Payload: fmt.Append(nil, i), Properties: &packets.Properties{}})
		}
		return true
	}
	underScript(t, s, scripted(1), func(t *testing.T, g *gateway) {
		time.Sleep(5 * time.Second)
		if st := g.link.Stats(); st.Received != n || st.Connects != 1 {
			t.Errorf("of %d: %+v", n, st)
		}
	})
}

// TestNoEchoInVersion3: a topic that comes down does not go up, because a
// server without No Local would send it back. All else goes up.
func TestNoEchoInVersion3(t *testing.T) {
	up := newUpstream(t, "").start()
	w := newWitness(t, up.addr, "site7/#", 1)
	g := startGateway(t, t.TempDir(), linkIn(3, up.addr, 1))
	l := listen(t, g, "home/a/set")
	connected(t, g)
	g.publish(t, "home/a/set", 1, 1, 1)
	if err := g.broker.Publish(t.Context(), message("home/a/set", "live", 0)); err != nil {
		t.Fatal(err)
	}
	g.publish(t, "home/a/state", 1, 2, 2)
	settledAll(t, g)
	w.publish(t, &paho.Publish{Topic: "site7/home/a/set", Payload: []byte("command"), QoS: 1})
	eventually(t, "the command is here", func() bool { return len(l.payloads()) == 3 })
	if diff := cmp.Diff([]string{"000001", "live", "command"}, l.payloads()); diff != "" {
		t.Errorf("here (-want +got):\n%s", diff)
	}
	var got []string
	for _, p := range w.messages() {
		got = append(got, string(p.Payload))
	}
	if diff := cmp.Diff([]string{"000002", "command"}, got); diff != "" {
		t.Errorf("upstream (-want +got):\n%s", diff)
	}
}

// TestVersionIsSuggested: a server that closes the connection on a CONNECT of
// MQTT 5 may know only 3.1.1.
func TestVersionIsSuggested(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			packets.ReadPacket(c)
			c.Close()
		}
	}()
	g := startGateway(t, t.TempDir(), linkTo(l.Addr().String(), 1))
	eventually(t, "the remedy is named", func() bool {
		return strings.HasSuffix(g.link.Stats().LastError, "if it speaks MQTT 3.1.1 only, set version = 3")
	})
}
