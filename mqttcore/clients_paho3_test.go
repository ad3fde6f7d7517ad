package mqttcore

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// pahoV3 is paho.mqtt.golang: MQTT 3.1.1. It hands each PUBLISH on, also one
// that it has answered with PUBREC before.
var pahoV3 = library{
	repeats: true,
	receive: func(ctx context.Context, t *testing.T, addr string, qos byte, ready func(), got func(arrival)) {
		subscribed := false
		pahoKeep3(ctx, addr, "receiver", func(m mqtt.Message) {
			got(arrival{topic: m.Topic(), payload: string(m.Payload()), id: m.MessageID(), dup: m.Duplicate()})
		}, func(c mqtt.Client) {
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
		i := 0
		pahoKeep3(ctx, addr, "publisher", nil, func(c mqtt.Client) {
			for ; i < n; i++ {
				topic, payload := flowMessage(i)
				if sent := c.Publish(topic, qos, false, payload); errors.Is(sent.Error(), mqtt.ErrNotConnected) {
					return // after any other error its store has the message
				}
			}
		})
	},
}

// pahoKeep3 keeps a client with a session connected until ctx ends. use is
// called for each connection, when all that is older was sent again.
func pahoKeep3(ctx context.Context, addr, id string, got func(mqtt.Message), use func(mqtt.Client)) {
	lost := make(chan struct{}, 1)
	o := mqtt.NewClientOptions().AddBroker("tcp://" + addr).SetClientID(id).SetProtocolVersion(4).SetCleanSession(false)
	o.SetStore(mqtt.NewOrderedMemoryStore()).SetKeepAlive(0).SetAutoReconnect(false).SetConnectTimeout(patience)
	o.SetWriteTimeout(100 * time.Millisecond) // it waits so long when the link is cut under a Publish
	o.SetConnectionLostHandler(func(mqtt.Client, error) { lost <- struct{}{} })
	if got != nil {
		o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { got(m) })
	}
	c := mqtt.NewClient(o)
	defer c.Disconnect(uint(patience / time.Millisecond))
	for ctx.Err() == nil {
		up := c.Connect()
		<-up.Done()
		if up.Error() != nil {
			continue
		}
		use(c)
		select {
		case <-lost:
		case <-ctx.Done():
		}
	}
}

// TestPaho3OverCuts: paho.mqtt.golang as receiver at QoS 1 and 2, and as
// publisher at QoS 1. As publisher at QoS 2 see TestPaho3LosesPubrec.
func TestPaho3OverCuts(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			t.Parallel()
			from := pahoV3
			if qos == 2 {
				from = pahoV5
			}
			overCuts(t, from, pahoV3, qos)
		})
	}
}
