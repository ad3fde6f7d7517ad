package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"sync"
	"time"

	"sluice/mqttcore"
	"sluice/mqttcore/store"
)

const profileSocket = "profile.sock"

// serveCore runs broker and store until standard input ends. It can be told
// over a socket in dir to profile itself.
func serveCore(addr, dir string) error {
	runtime.MemProfileRate = 64 << 10
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	cfg := mqttcore.Config{Listen: []string{"tcp://" + addr}, MaxConnections: 20000, SessionQueue: mqttcore.Limit{MaxBytes: 4 << 30}}
	if err := cfg.Validate(); err != nil {
		return err
	}
	st, err := store.Open(store.Options{Dir: filepath.Join(dir, "data"), Log: log})
	if err != nil {
		return err
	}
	b := mqttcore.New(cfg, st, log)
	l, err := net.Listen("unix", filepath.Join(dir, profileSocket))
	if err != nil {
		return errors.Join(err, st.Close())
	}
	profiler := &http.Server{Handler: &profiler{}, ReadHeaderTimeout: handshake}
	go func() { _ = profiler.Serve(l) }() // ends with the process
	ctx, stop := context.WithCancel(context.Background())
	storeCtx, stopStore := context.WithCancel(context.Background())
	var storeErr error
	var all sync.WaitGroup
	all.Go(func() { storeErr = st.Run(storeCtx) })
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	err = b.Run(ctx)
	stop()
	stopStore()
	all.Wait()
	return errors.Join(err, storeErr, st.Close())
}

// profiler starts and stops profiles: POST /start?file=F, POST /stop?file=F.
type profiler struct {
	mu  sync.Mutex
	cpu *os.File
}

func (p *profiler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	switch file := r.URL.Query().Get("file"); r.URL.Path {
	case "/start":
		if p.cpu, err = os.Create(file); err == nil {
			err = pprof.StartCPUProfile(p.cpu)
		}
	case "/stop":
		pprof.StopCPUProfile()
		err = errors.Join(p.cpu.Close(), writeAllocs(file))
	default:
		err = fmt.Errorf("no such request: %s", r.URL.Path)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func writeAllocs(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}

// profile makes the broker write a CPU profile until the function given back
// is called, and a profile of its allocations then. Only the peer "core" can.
func (b *process) profile(o options, phase string) (stop func() error, err error) {
	if o.profile == "" || b.peer != "core" {
		return func() error { return nil }, nil
	}
	name := filepath.Join(o.profile, o.current+"."+time.Now().Format("150405"))
	if phase != "" {
		name = filepath.Join(o.profile, o.current+"."+phase+"."+time.Now().Format("150405"))
	}
	dialer := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(b.dir, profileSocket))
	}
	c := &http.Client{Timeout: handshake, Transport: &http.Transport{DialContext: dialer, DisableKeepAlives: true}}
	post := func(path, file string) error {
		resp, err := c.Post("http://broker"+path+"?file="+url.QueryEscape(file), "", nil)
		if err != nil {
			return fmt.Errorf("profiling: %w", err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("profiling: %s", text)
		}
		return err
	}
	if err := post("/start", name+".cpu.pprof"); err != nil {
		return nil, err
	}
	return func() error { return post("/stop", name+".allocs.pprof") }, nil
}
