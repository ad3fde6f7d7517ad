package mqttcore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	pahosession "github.com/eclipse/paho.golang/paho/session"
	"github.com/eclipse/paho.golang/paho/session/state"

	"sluice/mqttcore/packet"
)

// pahoV5 is paho.golang: MQTT 5.0, the session kept by its own state package.
var pahoV5 = library{
	receive: func(ctx context.Context, t *testing.T, addr string, qos byte, ready func(), got func(arrival)) {
		subscribed := false
		pahoKeep(ctx, addr, "receiver", func(m *paho.Publish) {
			got(arrival{topic: m.Topic, payload: string(m.Payload), id: m.PacketID, dup: m.Duplicate()})
		}, func(c *paho.Client) {
			if subscribed {
				return
			}
			_, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "flow/#", QoS: qos}}})
			if err != nil {
				t.Error(err)
			}
			subscribed = true
			ready()
		})
	},
	publish: func(ctx context.Context, t *testing.T, addr string, qos byte, n int) {
		i := 0
		pahoKeep(ctx, addr, "publisher", nil, func(c *paho.Client) {
			for i < n {
				topic, payload := flowMessage(i)
				_, err := c.PublishWithOptions(ctx, &paho.Publish{Topic: topic, Payload: []byte(payload), QoS: qos},
					paho.PublishOptions{Method: paho.PublishMethod_AsyncSend})
				switch {
				case err == nil, errors.Is(err, paho.ErrNetworkErrorAfterStored): // the session has it
					i++
				case errors.Is(err, pahosession.ErrNoConnection), ctx.Err() != nil:
					return
				default:
					t.Error(err)
					return
				}
			}
		})
	},
}

// pahoKeep keeps a client with a session connected until ctx ends. use is
// called for each connection.
func pahoKeep(ctx context.Context, addr, id string, got func(*paho.Publish), use func(*paho.Client)) {
	kept := state.NewInMemory()
	defer kept.Close()
	for ctx.Err() == nil {
		nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			continue
		}
		client := paho.NewClient(paho.ClientConfig{Conn: nc, Session: kept,
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
				if got != nil {
					got(p.Packet)
				}
				return true, nil
			}}})
		_, err = client.Connect(ctx, &paho.Connect{ClientID: id,
			Properties: &paho.ConnectProperties{SessionExpiryInterval: paho.Uint32(3600)}})
		if err == nil {
			use(client)
			select {
			case <-client.Done():
			case <-ctx.Done():
			}
		}
		_ = nc.Close()
		if err == nil {
			<-client.Done()
		}
	}
}

// TestPahoOverCuts: paho.golang to itself.
func TestPahoOverCuts(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			t.Parallel()
			overCuts(t, pahoV5, pahoV5, qos)
		})
	}
}

// TestPahoLosesPackets: each packet of the handshakes is lost once in a while.
func TestPahoLosesPackets(t *testing.T) {
	for _, c := range []struct {
		qos      byte
		up, down packet.Type
	}{
		{1, packet.PUBACK, packet.PUBLISH},
		{2, packet.PUBREC, packet.PUBLISH},
		{2, packet.PUBCOMP, packet.PUBREL},
	} {
		t.Run(fmt.Sprint(c.up, " ", c.down), func(t *testing.T) {
			t.Parallel()
			overLosses(t, pahoV5, pahoV5, c.qos, c.up, c.down)
		})
	}
}
