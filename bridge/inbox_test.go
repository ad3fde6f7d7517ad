package bridge

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"sluice/mqttcore"
	"sluice/mqttcore/store"
)

// sink is where the messages of these tests come to rest.
func sink(t testing.TB, b *mqttcore.Broker) *mqttcore.Consumer {
	t.Helper()
	k, err := b.Consumer(t.Context(), "sink", []mqttcore.Filter{{Topic: "home/+/set", QoS: 2}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

// childTakes takes messages down until it is killed, and tells each.
func childTakes(dir, addr string, version int) error {
	log := slog.New(slog.DiscardHandler)
	st, err := store.Open(store.Options{Dir: dir, Log: log, CommitInterval: time.Millisecond})
	if err != nil {
		return err
	}
	ctx := context.Background()
	b := mqttcore.New(mqttcore.Config{}, st, log)
	failed := make(chan error, 4)
	go func() { failed <- st.Run(ctx) }()
	<-st.Ready()
	go func() { failed <- b.Run(ctx) }()
	<-b.Ready()
	k, err := b.Consumer(ctx, "sink", []mqttcore.Filter{{Topic: "home/+/set", QoS: 2}})
	if err != nil {
		return err
	}
	defer k.Close()
	heard := make(chan struct{}, 1000)
	b.Subscribe("home/+/set", func(*mqttcore.Message) {
		select {
		case heard <- struct{}{}:
		default:
		}
	})
	cfg := linkIn(version, addr, 2)
	cfg.Availability = "sluice/pi/availability"
	l := New(cfg, b, log)
	go func() { failed <- l.Run(ctx) }()
	for n := 1; ; n++ {
		select {
		case err := <-failed:
			return fmt.Errorf("a task ended: %w", err)
		case <-heard:
			fmt.Println(n)
		}
	}
}

// TestKilledGatewayTakesEachOnce kills a gateway at moments drawn by lot while
// messages of QoS 2 come down: each is in the log once, in order.
func TestKilledGatewayTakesEachOnce(t *testing.T) {
	inEachVersion(t, func(t *testing.T, version int) {
		const kills = 20
		up := newUpstream(t, "max_inflight_messages 0").start()
		w := newWitness(t, up.addr, "site7/sluice/pi/availability", 1)
		dir := t.TempDir()
		lot := rand.New(rand.NewPCG(11, uint64(version)))
		batches, sent := make(chan struct{}, kills), make(chan int, 1)
		go func() {
			n := 0
			for range batches {
				for range 400 {
					n++
					w.publish(t, &paho.Publish{Topic: "site7/home/a/set", Payload: fmt.Appendf(nil, "%06d", n), QoS: 2})
				}
			}
			sent <- n
		}()
		g := startGateway(t, dir, linkIn(version, up.addr, 2)) // its session upstream begins
		sink(t, g.broker)
		connected(t, g)
		g.halt()
		for range kills {
			batches <- struct{}{}
			runAndKillTaking(t, dir, up.addr, version, time.Duration(lot.IntN(120))*time.Millisecond)
		}
		close(batches)
		n := <-sent
		// Kills are told by the will; one before the birth by that alone.
		eventually(t, "the upstream knows that the gateway is away", func() bool {
			words := w.messages()
			return len(words) > kills && string(words[len(words)-1].Payload) == offline && w.has("site7/sluice/pi/availability", online)
		})
		g = startGateway(t, dir, linkIn(version, up.addr, 2))
		k := sink(t, g.broker)
		w.publish(t, &paho.Publish{Topic: "site7/home/a/set", Payload: []byte("end"), QoS: 2})
		seen, twice, disorder, last := make([]int, n+1), 0, 0, 0
		var d mqttcore.Delivery
		eventually(t, "the last word", func() bool {
			for {
				ok, err := k.Next(&d)
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					return false
				}
				if string(d.Payload) == "end" {
					return true
				}
				i, err := strconv.Atoi(string(d.Payload))
				if err != nil || i > n {
					t.Fatalf("the log has %q", d.Payload)
				}
				if seen[i]++; seen[i] > 1 {
					twice++
				}
				if i < last {
					disorder++
				}
				last = i
			}
		})
		lost := 0
		for _, c := range seen[1:] {
			if c == 0 {
				lost++
			}
		}
		t.Logf("%d kills, %d messages", kills, n)
		if lost+twice+disorder > 0 {
			t.Errorf("of %d messages %d were lost, %d came twice, %d out of order", n, lost, twice, disorder)
		}
	})
}

// runAndKillTaking runs a gateway that takes messages and kills it some time
// after its first.
func runAndKillTaking(t *testing.T, dir, addr string, version int, after time.Duration) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childAddr+"="+addr, childTaking+"=1", childMQTT+"="+strconv.Itoa(version))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	bound := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer bound.Stop()
	first := true
	for lines := bufio.NewScanner(out); lines.Scan(); first = false {
		if first {
			time.AfterFunc(after, func() { cmd.Process.Kill() })
		}
	}
	if first {
		t.Error("nothing came down before the kill")
	}
	cmd.Wait()
}

// TestReceivedOutlivesARestart walks one exchange of QoS 2 through restarts of
// the gateway: after PUBREC, and after PUBCOMP, when the identifier is used
// for the next message.
func TestReceivedOutlivesARestart(t *testing.T) {
	inEachVersion(t, func(t *testing.T, version int) {
		dir := t.TempDir()
		s := &script{version: version, keep: true}
		down := func(payload string, dup bool) func(func(packets.Packet)) bool {
			return func(reply func(packets.Packet)) bool {
				reply(&packets.Publish{Topic: "site7/home/a/set", QoS: 2, PacketID: 7, Duplicate: dup,
					Payload: []byte(payload), Properties: &packets.Properties{}})
				return true
			}
		}
		release := func(reply func(packets.Packet)) bool {
			reply(&packets.Pubrel{PacketID: 7, Properties: &packets.Properties{}})
			return true
		}
		cfg := linkIn(version, "127.0.0.1:1", 2)
		start := func(after func(func(packets.Packet)) bool) *gateway {
			s.set(func() { s.after = after })
			g := startGateway(t, dir, cfg, func(l *Link) { l.dial = s.dial })
			sink(t, g.broker)
			return g
		}
		start(nil).halt() // the sink is there before the first message
		g := start(down("first", false))
		eventually(t, "PUBREC", func() bool { return s.answers("PUBREC") == 1 })
		g.halt()
		g = start(down("first", true))
		eventually(t, "PUBREC again", func() bool { return s.answers("PUBREC") == 2 })
		g.halt()
		g = start(release)
		eventually(t, "PUBCOMP", func() bool { return s.answers("PUBCOMP") == 1 })
		g.halt()
		g = start(release)
		eventually(t, "PUBCOMP again", func() bool { return s.answers("PUBCOMP") == 2 })
		g.halt()
		g = start(down("second", false))
		eventually(t, "PUBREC for the second", func() bool { return s.answers("PUBREC") == 3 })
		g.halt()
		s.set(func() { s.keep = false }) // the upstream loses our session
		g = start(down("third", false))
		defer g.halt()
		eventually(t, "PUBREC for the third", func() bool { return s.answers("PUBREC") == 4 })
		k := sink(t, g.broker)
		var d mqttcore.Delivery
		for _, want := range []string{"first", "second", "third"} {
			if ok, err := k.Next(&d); err != nil || !ok || string(d.Payload) != want {
				t.Fatalf("%q: %v, %v, want %q", d.Payload, ok, err, want)
			}
		}
		if ok, _ := k.Next(&d); ok {
			t.Errorf("%q came too", d.Payload)
		}
	})
}
