// The bench program compares MQTT brokers under the same load: this one,
// mosquitto, nats-server and a bare byte mover.
//
//	cd mqttcore/bench && go run . -n 5
//	go run . -cases 'q0_*,off_20k' -peers sluice,mosq-tuned,nats
//	go run . -cases q1_pairs_20 -peers core -time 10s -profile /tmp/profiles
//
// # How to read the result
//
// One run is interleaved: each round starts every broker afresh for every
// case, one after the other, so that a busy minute of the machine meets all of
// them. Figures are minimum / median / maximum of the rounds. Compare brokers
// only within one case of one run; the lines with an × say how many times the
// figure of the other broker this broker's median is.
//
// "cpu µs/msg" is the broker's processor time, of all its threads, per message
// delivered (offline: acknowledged, then drained). It is the figure to trust:
// messages per second vary with what else the machine does and with the cost
// of the load generator, which is "gen µs/msg". "peak MB" is the most memory
// the broker had resident, "lost" what was published and never came (from
// QoS 1 on: acknowledged and never came), "dup" what came twice, "late" what
// came after a later message of the same publisher. A case in which nothing
// moves any more is given up after -stall; what is missing then is lost, and
// "stalled" counts the rounds.
//
// Senders keep at most -window messages on their way in all, so that no broker
// has to drop any; a message is on its way until its last receiver has it and,
// from QoS 1 on, the sender its acknowledgement. Only the burst sends
// everything at once. mosquitto and nats acknowledge QoS 1 before the message
// is on the disk, except nats-sync; this broker syncs what an offline session
// is owed first. "syncs/s" is what the disk did beside: pages synced one after
// the other, the most that window 1 can reach. Folders of the brokers are made in -dir, which must be on the
// disk to be measured.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// options say how much is run, and how.
type options struct {
	rounds  int
	time    time.Duration // that publishers of a throughput case send
	scale   float64       // of the number of messages of offline cases
	window  int           // undelivered messages
	idle    int           // connections of the case idle
	stall   time.Duration // without progress, after which a case is given up
	settle  time.Duration // rest before idle memory is read
	limit   time.Duration // of one case with one broker
	dir     string        // holds the brokers' folders
	profile string        // holds profiles of the peer core
	current string        // the case under way, for the names of profiles
}

func defaults() options {
	return options{
		rounds: 3, time: time.Second, scale: 1, window: 800, idle: 5000, stall: 3 * time.Second,
		settle: time.Second, limit: 5 * time.Minute, dir: os.TempDir(),
	}
}

func main() {
	if played, err := playRole(); played {
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o := defaults()
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	caseNames := fs.String("cases", "", "cases to run, as names or patterns with *, separated by commas (default: all but those marked +)")
	peerNames := fs.String("peers", "", "brokers to run, likewise")
	binary := fs.String("sluice", "", "the sluice program to measure (default: built from this checkout)")
	raw := fs.String("json", "", "also write every sample to this file, one JSON object per line")
	fs.IntVar(&o.rounds, "n", o.rounds, "rounds")
	fs.DurationVar(&o.time, "time", o.time, "how long a throughput case publishes")
	fs.Float64Var(&o.scale, "scale", o.scale, "multiplies the number of messages of the offline cases")
	fs.IntVar(&o.window, "window", o.window, "undelivered messages on their way")
	fs.IntVar(&o.idle, "idle", o.idle, "connections of the case idle")
	fs.DurationVar(&o.stall, "stall", o.stall, "give a case up after so long without progress")
	fs.DurationVar(&o.settle, "settle", o.settle, "rest before idle memory is read")
	fs.DurationVar(&o.limit, "limit", o.limit, "longest time of one case with one broker")
	fs.StringVar(&o.dir, "dir", o.dir, "where the brokers' folders are made, on the disk to be measured")
	fs.StringVar(&o.profile, "profile", "", "write CPU and allocation profiles of the peer core to this folder")
	fs.Usage = func() { usage(fs) }
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: see -h", fs.Arg(0))
	}
	if o.rounds < 1 || o.time <= 0 || o.scale <= 0 || o.idle < 1 || o.window < 1 || o.window > 60_000 || o.stall < 100*time.Millisecond {
		return errors.New("out of range: -n, -scale and -idle must be above 0, as must -time, -window from 1 to 60000, -stall at least 100ms")
	}
	cases, err := choose(scenarios(), *caseNames, func(s scenario) (string, bool) { return s.name, s.more })
	if err != nil {
		return fmt.Errorf("-cases: %w", err)
	}
	chosen, err := choose(peers(*binary), *peerNames, func(p peer) (string, bool) { return p.name, p.more })
	if err != nil {
		return fmt.Errorf("-peers: %w", err)
	}
	for _, folder := range []*string{&o.dir, &o.profile} {
		if *folder == "" {
			continue
		}
		if *folder, err = filepath.Abs(*folder); err != nil {
			return err
		}
		if err := os.MkdirAll(*folder, 0o700); err != nil {
			return err
		}
	}
	if o.dir, err = os.MkdirTemp(o.dir, "sluice-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(o.dir)
	if chosen, err = built(ctx, chosen, *binary, o.dir); err != nil {
		return err
	}
	if err := prepare(o, out); err != nil {
		return err
	}
	r := newResults(cases, chosen)
	if *raw != "" {
		f, err := os.Create(*raw)
		if err != nil {
			return err
		}
		defer f.Close()
		r.raw = f
	}
	err = rounds(ctx, o, cases, chosen, r)
	r.print(out)
	return err
}

// choose picks by names and patterns; without any, what is not marked more.
func choose[T any](all []T, names string, of func(T) (name string, more bool)) ([]T, error) {
	var some []T
	if names == "" {
		for _, v := range all {
			if _, more := of(v); !more {
				some = append(some, v)
			}
		}
		return some, nil
	}
	for pattern := range strings.SplitSeq(names, ",") {
		found := false
		for _, v := range all {
			name, _ := of(v)
			ok, err := path.Match(pattern, name)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", pattern, err)
			}
			if ok {
				some, found = append(some, v), true
			}
		}
		if !found {
			return nil, fmt.Errorf("nothing is called %q: see -h", pattern)
		}
	}
	return some, nil
}

// built builds the product where it is to be measured and was not given.
func built(ctx context.Context, chosen []peer, binary, dir string) ([]peer, error) {
	for i, p := range chosen {
		if p.name != "sluice" {
			continue
		}
		if binary == "" {
			binary = filepath.Join(dir, "sluice")
			cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "./gateway")
			cmd.Dir = filepath.Join("..", "..")
			if text, err := cmd.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("building sluice (run this in mqttcore/bench, or give -sluice): %w\n%s", err, text)
			}
		}
		abs, err := filepath.Abs(binary)
		if err != nil {
			return nil, err
		}
		chosen[i].command = sluice(abs)
	}
	return chosen, nil
}

// prepare readies this program and warns of what would falsify figures.
func prepare(o options, out io.Writer) error {
	debug.SetGCPercent(400) // the generator's memory is not measured
	var fsys unix.Statfs_t
	if err := unix.Statfs(o.dir, &fsys); err != nil {
		return err
	}
	if fsys.Type == unix.TMPFS_MAGIC {
		fmt.Fprintf(out, "note: %s is in memory, not on a disk: durable figures mean nothing there\n", o.dir)
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return err
	}
	files.Cur = files.Max // set, not only read: children inherit it only then
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return err
	}
	if uint64(o.idle)+200 > files.Max {
		fmt.Fprintf(out, "note: the limit of %d open files is too low for %d idle connections (ulimit -Hn)\n", files.Max, o.idle)
	}
	return nil
}

// rounds runs everything and notes what it measured. A case that fails is
// noted as well and does not stop the others.
func rounds(ctx context.Context, o options, cases []scenario, chosen []peer, r *results) error {
	failed := 0
	for round := range o.rounds {
		for _, c := range cases {
			for i := range chosen {
				p := chosen[(i+round)%len(chosen)] // nobody is always the first
				if p.bare && c.full {
					continue
				}
				o.current = c.name
				s, err := once(ctx, o, c, p)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err != nil {
					failed++
				}
				if err := r.add(c.name, p.name, round, s, err); err != nil {
					return err
				}
			}
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d runs failed: see the notes below the tables", failed)
	}
	return nil
}

// once runs one case with one broker.
func once(ctx context.Context, o options, c scenario, p peer) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, o.limit)
	defer cancel()
	b, err := start(ctx, p, o.dir)
	if err != nil {
		return nil, err
	}
	s, err := c.run(ctx, b, o)
	if err == nil {
		err = ctx.Err()
	}
	b.stop()
	if err != nil {
		if said := strings.TrimSpace(b.out.String()); said != "" {
			err = fmt.Errorf("%w; the broker said:\n%s", err, tail(said, 2000))
		}
	}
	return s, err
}

func tail(s string, n int) string { return s[max(len(s)-n, 0):] }

func usage(fs *flag.FlagSet) {
	w := fs.Output()
	fmt.Fprintln(w, "bench compares MQTT brokers under the same load; `go doc .` tells how to read the result.\n\nflags:")
	fs.PrintDefaults()
	mark := func(more bool) string {
		if more {
			return "+"
		}
		return " "
	}
	fmt.Fprintln(w, "\nbrokers (+ only when named):")
	for _, p := range peers("") {
		fmt.Fprintf(w, " %s %-12s %s\n", mark(p.more), p.name, p.what)
	}
	fmt.Fprintln(w, "\ncases (+ only when named):")
	for _, c := range scenarios() {
		fmt.Fprintf(w, " %s %-14s %s\n", mark(c.more), c.name, c.what)
	}
}
