package store_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"sluice/mqttcore/store"
)

const childDir = "STORE_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child publishes from several goroutines until it is killed, and says on its
// standard output what has been promised to whom. Another goroutine consumes.
func child(dir string) error {
	s, err := store.Open(killOptions(dir))
	if err != nil {
		return err
	}
	go s.Run(context.Background())
	<-s.Ready()
	sid := store.SID(1)
	if len(s.Sessions()) == 0 {
		c := make(chan error, 1)
		sid = s.CreateSession("a", "", 0, func(err error) { c <- err })
		if err := <-c; err != nil {
			return err
		}
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(os.Stdout, format+"\n", args...)
	}
	failed := make(chan error)
	for p := range 4 {
		go func() {
			for i := 0; ; i++ {
				word := fmt.Sprintf("%d.%d.%d", os.Getpid(), p, i)
				say("try %s", word)
				m := message(sid, word+"|"+strings.Repeat("x", i%2000))
				if err := s.AppendSync(context.Background(), m); err != nil {
					failed <- err
					return
				}
				say("promised %s", word)
			}
		}()
	}
	woken := make(chan struct{}, 1)
	q := s.OpenQueue(sid, func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	})
	go func() {
		var d store.Delivery
		for n := 0; ; {
			ok, err := q.Next(&d)
			if err != nil {
				failed <- err
				return
			}
			if !ok {
				<-woken
				continue
			}
			if n++; n%3 > 0 { // leave a backlog
				word, _, _ := strings.Cut(string(d.Payload), "|")
				say("consumed %s", word)
				q.Ack(d.Seq)
			}
		}
	}()
	return <-failed
}

func killOptions(dir string) store.Options {
	return store.Options{Dir: dir, SegmentSize: segment, MaxBytes: 1024 * segment}
}

// TestKill kills a process that publishes and consumes, again and again: what it
// had promised is there, once and in order.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(5, 6))
	tried, promised, consumed := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for range killRounds {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		left := 50 + rng.IntN(1000)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			verb, word, _ := strings.Cut(lines.Text(), " ")
			switch verb {
			case "try":
				tried[word] = true
			case "promised":
				promised[word] = true
			case "consumed":
				consumed[word] = true
			default:
				t.Fatal(lines.Text())
			}
			if left--; left == 0 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		cmd.Wait() // says that it was killed
		if left > 0 {
			t.Fatalf("the child ended by itself: %v", cmd.ProcessState)
		}
		checkKilled(t, dir, tried, promised, consumed)
	}
	t.Logf("%d promised, %d consumed, %d kills", len(promised), len(consumed), killRounds)
}

func checkKilled(t *testing.T, dir string, tried, promised, consumed map[string]bool) {
	t.Helper()
	s, err := store.Open(killOptions(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if len(s.Sessions()) == 0 && len(promised) == 0 {
		return
	}
	q := s.OpenQueue(1, nil)
	if q == nil {
		t.Fatal("session is lost")
	}
	newest := map[string]int{}
	there := map[string]bool{}
	for _, m := range strings.Fields(drain(t, q)) {
		_, word, _ := strings.Cut(m, ":")
		if there[word] {
			t.Fatalf("%s is there twice", word)
		}
		there[word] = true
		if !tried[word] {
			t.Fatalf("%s was never published", word)
		}
		i := strings.LastIndex(word, ".")
		var n int
		fmt.Sscan(word[i+1:], &n)
		if last, ok := newest[word[:i]]; ok && n <= last {
			t.Fatalf("%s after %d", word, last)
		}
		newest[word[:i]] = n
	}
	for word := range promised {
		if !there[word] && !consumed[word] {
			t.Fatalf("%s was promised and is lost", word)
		}
	}
	if st := s.Stats(); st.CorruptFrames > 0 || st.Dropped[store.ReasonCorrupt] > 0 {
		t.Fatalf("a kill was taken for damage: %+v", st)
	}
	balance(t, s)
}
