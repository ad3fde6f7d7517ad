package bridge

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/mqttcore"
	"sluice/mqttcore/store"
)

// A gateway of the kill test is this test program, started again with these.
const (
	childDir   = "SLUICE_TEST_CHILD_DIR"
	childAddr  = "SLUICE_TEST_CHILD_ADDR"
	childRun   = "SLUICE_TEST_CHILD_RUN"
	childQoS   = "SLUICE_TEST_CHILD_QOS"
	childMQTT  = "SLUICE_TEST_CHILD_MQTT"
	childOrder = "SLUICE_TEST_CHILD_ORDER"
	// childTaking makes it one that takes messages down instead.
	childTaking = "SLUICE_TEST_CHILD_TAKING"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := runChild(dir, os.Getenv(childAddr)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func runChild(dir, addr string) error {
	version, err := strconv.Atoi(os.Getenv(childMQTT))
	if err != nil {
		return err
	}
	if os.Getenv(childTaking) != "" {
		return childTakes(dir, addr, version)
	}
	return child(dir, addr, os.Getenv(childRun), version)
}

// child publishes and forwards until it is killed. It tells each message that
// the local broker has accepted.
func child(dir, addr, run string, version int) error {
	log := slog.New(slog.DiscardHandler)
	st, err := store.Open(store.Options{Dir: dir, Log: log, CommitInterval: time.Millisecond})
	if err != nil {
		return err
	}
	qos := byte(os.Getenv(childQoS)[0] - '0')
	b := mqttcore.New(mqttcore.Config{}, st, log)
	l := New(childConfig(version, addr, qos, Order(os.Getenv(childOrder))), b, log)
	ctx := context.Background()
	failed := make(chan error, 4)
	go func() { failed <- st.Run(ctx) }()
	<-st.Ready()
	go func() { failed <- b.Run(ctx) }()
	<-b.Ready()
	go func() { failed <- l.Run(ctx) }()
	<-l.Ready()
	accepted := make(chan int, 200)
	go func() {
		room := make(chan struct{}, cap(accepted))
		tick := time.NewTicker(time.Millisecond)
		for n := 1; ; n++ {
			for n%50 == 0 && l.Stats().Backlog > 2000 {
				<-tick.C // what is to be killed is the sending, not a long queue
			}
			room <- struct{}{}
			m := mqttcore.Message{Topic: "home/x", Payload: fmt.Appendf(nil, "%s-%06d", run, n), QoS: qos}
			err := b.PublishAsync(m, func(err error) {
				<-room
				if err != nil {
					failed <- err
					return
				}
				accepted <- n
			})
			if err != nil {
				failed <- err
				return
			}
		}
	}()
	out := bufio.NewWriter(os.Stdout)
	for {
		select {
		case err := <-failed:
			return fmt.Errorf("a task ended: %w", err)
		case n := <-accepted:
			fmt.Fprintln(out, n)
			if len(accepted) == 0 {
				if err := out.Flush(); err != nil {
					return err
				}
			}
		}
	}
}

// TestKilledGatewayLosesNothing kills a gateway at moments drawn by lot, again
// and again, while it takes messages in and sends them up.
func TestKilledGatewayLosesNothing(t *testing.T) {
	inEachVersion(t, func(t *testing.T, version int) { killAgainAndAgain(t, version, FIFO) })
}

// TestKilledGatewayLosesNoLane is the same with a backlog beside what is new:
// each restart meets the lanes that the last have left.
func TestKilledGatewayLosesNoLane(t *testing.T) { killAgainAndAgain(t, 5, LiveFirst) }

func killAgainAndAgain(t *testing.T, version int, order Order) {
	for _, qos := range []byte{1, 2} {
		t.Run(fmt.Sprintf("qos %d", qos), func(t *testing.T) {
			kills := 12
			if version == 3 {
				kills = 6 // what differs is the packets, not what is on disk
			}
			up := newUpstream(t, "max_inflight_messages 0").start()
			w := newWitness(t, up.addr, "site7/#", qos)
			dir := t.TempDir()
			lot := rand.New(rand.NewPCG(7, uint64(qos)))
			accepted := make([]int, kills)
			for run := range kills {
				accepted[run] = runAndKill(t, dir, up.addr, run, version, qos, order, time.Duration(lot.IntN(150))*time.Millisecond)
			}
			g := startGateway(t, dir, childConfig(version, up.addr, qos, order))
			lanes := len(g.link.Stats().Lanes)
			settledAll(t, g)
			// The last word shows that all before it is with the witness.
			if err := g.broker.Publish(t.Context(), message("home/x", "end", qos)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the last word", func() bool { return w.has("site7/home/x", "end") })
			total, twice, disorder := checkRuns(t, w, accepted, order)
			t.Logf("%d kills, %d messages in %d lanes: %d twice, %d runs out of order", kills, total, lanes, twice, disorder)
			if (lanes > 1) != (order == LiveFirst) {
				t.Errorf("%d lanes", lanes)
			}
			if disorder > 0 || qos == 2 && twice > 0 {
				t.Errorf("%d twice, %d out of order", twice, disorder)
			}
			if total < 10*kills {
				t.Errorf("only %d messages were accepted: the test proves nothing", total)
			}
			if s := g.link.Stats(); s.DeadLettered > 0 || s.Downgraded > 0 {
				t.Errorf("figures: %+v", s)
			}
		})
	}
}

// childConfig is the configuration of a gateway that is to be killed. With
// LiveFirst its window is small, so that what a kill has left is a backlog.
func childConfig(version int, addr string, qos byte, order Order) Config {
	cfg := linkIn(version, addr, qos)
	if cfg.Order = order; order == LiveFirst {
		cfg.Window = 10
	}
	return cfg
}

// runAndKill runs a gateway, kills it some time after its first message was
// accepted, and returns how many it had accepted.
func runAndKill(t *testing.T, dir, addr string, run, version int, qos byte, order Order, after time.Duration) (accepted int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childAddr+"="+addr,
		childRun+"="+strconv.Itoa(run), childQoS+"="+strconv.Itoa(int(qos)), childMQTT+"="+strconv.Itoa(version), childOrder+"="+string(order))
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
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			break // cut short by the kill
		}
		if accepted == 0 {
			time.AfterFunc(after, func() { cmd.Process.Kill() })
		}
		accepted = max(accepted, n)
	}
	io.Copy(io.Discard, out)
	cmd.Wait()
	return accepted
}

// checkRuns finds what each run's accepted messages came to.
func checkRuns(t *testing.T, w *witness, accepted []int, order Order) (total, twice, disorder int) {
	t.Helper()
	seen := make([]map[int]int, len(accepted))
	came := make([][]int, len(accepted))
	for _, p := range w.messages() {
		r, n, ok := strings.Cut(string(p.Payload), "-")
		if !ok {
			continue
		}
		run, err1 := strconv.Atoi(r)
		num, err2 := strconv.Atoi(n)
		if err1 != nil || err2 != nil {
			t.Fatalf("the witness has %q", p.Payload)
		}
		if seen[run] == nil {
			seen[run] = map[int]int{}
		}
		if seen[run][num]++; seen[run][num] > 1 {
			twice++
			continue
		}
		came[run] = append(came[run], num)
	}
	for _, nums := range came {
		if order == FIFO && !slices.IsSorted(nums) || order == LiveFirst && !areTwoLanes(nums) {
			disorder++
		}
	}
	for run, n := range accepted {
		total += n
		for i := 1; i <= n; i++ {
			if seen[run][i] == 0 {
				t.Errorf("message %d of run %d was accepted and is lost", i, run)
			}
		}
	}
	return total, twice, disorder
}

// areTwoLanes tells whether what came of a run may be a backlog, which is what
// was published before some moment, and what came after, each in its order.
func areTwoLanes(nums []int) bool {
	before, after := 0, math.MaxInt // what is at least before the moment, and after it
	var earlier []int               // sorted
	for _, n := range nums {
		i, _ := slices.BinarySearch(earlier, n)
		if i < len(earlier) {
			before, after = max(before, n), min(after, earlier[i])
		}
		earlier = slices.Insert(earlier, i, n)
	}
	return before < after
}
