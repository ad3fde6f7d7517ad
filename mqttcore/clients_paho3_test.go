package mqttcore

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"sluice/mqttcore/packet"
)

// pahoV3 is paho.mqtt.golang: MQTT 3.1.1. It hands each PUBLISH on, also one
// that it has answered with PUBREC before.
var pahoV3 = library{
	repeats: true,
	receive: func(ctx context.Context, t *testing.T, addr string, qos byte, ready func(), got func(arrival)) {
		subscribed := false
		pahoKeep3(ctx, addr, "receiver", func(m mqtt.Message) {
			got(arrival{topic: m.Topic(), payload: string(m.Payload()), id: m.MessageID(), dup: m.Duplicate()})
		}, func(_ context.Context, c mqtt.Client) {
			if subscribed {
				return
			}
			s := c.Subscribe("flow/#", qos, nil)
			if !s.WaitTimeout(patience) || s.Error() != nil {
				t.Error("not subscribed: ", s.Error())
			}
			subscribed = true
			ready()
		})
	},
	publish: func(ctx context.Context, t *testing.T, addr string, qos byte, n int) {
		paho3Publish(ctx, addr, qos, n, func(context.Context, mqtt.Token) {})
	},
}

// paho3Publish publishes a flow and calls sent after each message.
func paho3Publish(ctx context.Context, addr string, qos byte, n int, sent func(up context.Context, t mqtt.Token)) {
	i := 0
	pahoKeep3(ctx, addr, "publisher", nil, func(up context.Context, c mqtt.Client) {
		for ; i < n; i++ {
			topic, payload := flowMessage(i)
			token := c.Publish(topic, qos, false, payload)
			if errors.Is(token.Error(), mqtt.ErrNotConnected) {
				return // after any other error its store has the message
			}
			sent(up, token)
		}
	})
}

// pahoKeep3 keeps a client with a session connected until ctx ends. use is
// called for each connection, when all that is older was sent again; up ends
// with it.
func pahoKeep3(ctx context.Context, addr, id string, got func(mqtt.Message), use func(up context.Context, c mqtt.Client)) {
	var lost atomic.Pointer[context.CancelFunc]
	o := mqtt.NewClientOptions().AddBroker("tcp://" + addr).SetClientID(id).SetProtocolVersion(4).SetCleanSession(false)
	o.SetStore(mqtt.NewOrderedMemoryStore()).SetKeepAlive(0).SetAutoReconnect(false).SetConnectTimeout(patience)
	o.SetWriteTimeout(100 * time.Millisecond) // it waits so long when the link is cut under a Publish
	o.SetConnectionLostHandler(func(mqtt.Client, error) { (*lost.Load())() })
	if got != nil {
		o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { got(m) })
	}
	c := mqtt.NewClient(o)
	defer c.Disconnect(uint(patience / time.Millisecond))
	for ctx.Err() == nil {
		up, cancel := context.WithCancel(ctx)
		lost.Store(&cancel)
		token := c.Connect()
		<-token.Done()
		if token.Error() == nil {
			use(up, c)
			<-up.Done()
		}
		cancel()
	}
}

// TestPaho3OverCuts: paho.mqtt.golang as receiver at QoS 1 and 2, and as
// publisher at QoS 1. As publisher at QoS 2 it does not keep that it sent
// PUBREL and may publish again what was released (1.5.1, against
// MQTT-4.3.3-1), so that cuts anywhere do not judge the broker; see
// TestPaho3LosesPubrec.
func TestPaho3OverCuts(t *testing.T) {
	t.Run("QoS 1", func(t *testing.T) {
		t.Parallel()
		overCuts(t, pahoV3, pahoV3, 1)
	})
	t.Run("QoS 2", func(t *testing.T) {
		t.Parallel()
		overCuts(t, pahoV5, pahoV3, 2)
	})
}

// TestPaho3LosesPubrec: one message at a time at QoS 2, so that nothing is
// released when the link is lost with a PUBREC: what it publishes again is
// known.
func TestPaho3LosesPubrec(t *testing.T) {
	t.Parallel()
	one := library{publish: func(ctx context.Context, t *testing.T, addr string, qos byte, n int) {
		paho3Publish(ctx, addr, qos, n, func(up context.Context, token mqtt.Token) {
			select {
			case <-token.Done():
			case <-up.Done():
			}
		})
	}}
	overLosses(t, one, pahoV3, 2, packet.PUBREC, packet.PUBREL)
}
