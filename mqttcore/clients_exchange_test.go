package mqttcore

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/extensions/rpc"
	"github.com/eclipse/paho.golang/paho/extensions/topicaliases"
)

// pahoConnect connects paho.golang for the length of a test.
func pahoConnect(ctx context.Context, t *testing.T, r *rig, id string, cfg paho.ClientConfig) *paho.Client {
	t.Helper()
	nc, err := net.Dial("tcp", r.addr())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Conn = nc
	c := paho.NewClient(cfg)
	if _, err := c.Connect(ctx, &paho.Connect{ClientID: id, CleanStart: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = nc.Close()
		<-c.Done()
	})
	return c
}

// TestPahoRequests: paho.golang asks by response topic and correlation data
// and gets the answer to each question, whoever asked before.
func TestPahoRequests(t *testing.T) {
	t.Parallel()
	r := start(t, Config{})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	asked := make(chan *paho.Publish, 10)
	server := pahoConnect(ctx, t, r, "server", paho.ClientConfig{
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			asked <- p.Packet
			return true, nil
		}}})
	if _, err := server.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "double", QoS: 1}}}); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			select {
			case q := <-asked:
				_, err := server.Publish(ctx, &paho.Publish{Topic: q.Properties.ResponseTopic, QoS: 1, Payload: append(q.Payload, q.Payload...),
					Properties: &paho.PublishProperties{CorrelationData: q.Properties.CorrelationData}})
				if err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	for _, id := range []string{"anna", "bert"} {
		ask, err := rpc.NewHandler(ctx, pahoConnect(ctx, t, r, id, paho.ClientConfig{}))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			question := fmt.Sprint(id, i)
			a, err := ask.Request(ctx, &paho.Publish{Topic: "double", QoS: 1, Payload: []byte(question)})
			if err != nil {
				t.Fatal(err)
			}
			if got := string(a.Payload); got != question+question {
				t.Errorf("the answer to %q is %q", question, got)
			}
		}
	}
}

// TestPahoAliases: as many topics as the broker takes aliases for, each sent
// in full once and by alias afterwards.
func TestPahoAliases(t *testing.T) {
	t.Parallel()
	r := start(t, Config{})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	heard := make(chan *Message, 4*aliasMaximum)
	defer r.Subscribe("alias/#", func(m *Message) { heard <- m })()
	aliases := topicaliases.NewTAHandler(aliasMaximum)
	full := 0
	c := pahoConnect(ctx, t, r, "short", paho.ClientConfig{PublishHook: func(p *paho.Publish) {
		aliases.PublishHook(p)
		if p.Topic != "" {
			full++
		}
	}})
	for round := range 3 {
		for i := range aliasMaximum {
			topic := fmt.Sprint("alias/", i)
			if _, err := c.Publish(ctx, &paho.Publish{Topic: topic, QoS: byte(round), Payload: []byte{byte(round)}}); err != nil {
				t.Fatal(err)
			}
			if m := awaitOn(ctx, t, heard); m.Topic != topic || m.QoS != byte(round) {
				t.Fatalf("round %d: %s comes as %+v", round, topic, m)
			}
		}
	}
	if full != aliasMaximum {
		t.Errorf("%d of %d messages were sent with their topic, want %d", full, 3*aliasMaximum, aliasMaximum)
	}
}
