package mqttcore

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"sluice/mqttcore/packet"
)

// as logs a client in.
func as(user, password string) func(*packet.Connect) {
	return func(p *packet.Connect) {
		p.HasUsername, p.Username = true, user
		p.HasPassword, p.Password = true, []byte(password)
	}
}

// refuse connects a client, which must be refused for reason.
func (r *rig) refuse(v packet.Version, id string, reason packet.Reason, mod ...func(*packet.Connect)) {
	r.t.Helper()
	c := r.dial(v)
	p := &packet.Connect{Version: v, CleanStart: true, ClientID: id}
	for _, m := range mod {
		m(p)
	}
	c.send(p)
	if ack := expect[*packet.Connack](c); ack.Reason != reason {
		r.t.Fatalf("CONNECT of %q answered %v, want %v", id, ack.Reason, reason)
	}
	c.expectClosed(packet.Success)
}

// forgive forgets the failed logins, as time would.
func (r *rig) forgive() {
	b := &r.login.backoff
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = nil
}

// record collects what is logged.
type record struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *record) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *record) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.String()
}

// startLogged is start with all that is logged.
func startLogged(t testing.TB, cfg Config) (*rig, *record) {
	t.Helper()
	if cfg.Listen == nil {
		cfg.Listen = []string{"tcp://127.0.0.1:0"}
	}
	l := &record{}
	r := &rig{t: t, dir: t.TempDir(), cfg: cfg,
		log: slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	r.up()
	t.Cleanup(func() { r.stop() })
	return r, l
}

func TestLogin(t *testing.T) {
	r := start(t, Config{Users: usersOf(t, "anna", "secret", "bob", "other")})
	each(t, func(t *testing.T, v packet.Version) {
		c, _ := r.connect(v, "a", as("anna", "secret"))
		c.silent()
		r.refuse(v, "a", packet.NotAuthorized)
		for _, wrong := range [][2]string{{"anna", "other"}, {"eve", "secret"}, {"", ""}} {
			r.forgive()
			r.refuse(v, "a", packet.BadUserNameOrPassword, as(wrong[0], wrong[1]))
		}
		c.silent()
	})
	t.Run("a user without a password", func(t *testing.T) {
		r.forgive()
		r.refuse(packet.V5, "a", packet.BadUserNameOrPassword, func(p *packet.Connect) { p.HasUsername, p.Username = true, "anna" })
		r.forgive()
		r.refuse(packet.V5, "a", packet.BadUserNameOrPassword, func(p *packet.Connect) { p.HasPassword, p.Password = true, []byte("secret") })
	})
	if s := r.Stats(); s.LoginsFailed != 11 {
		t.Errorf("%d failed logins were counted", s.LoginsFailed)
	}
}

// TestLoginOfMosquitto: what other people's clients say and get.
func TestLoginOfMosquitto(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("pass word"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	u, err := parseUsers("users", []byte("anna:"+cheapSecret("pass word")+"\nbob:"+string(hash)+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, Config{Users: u, ACL: []Rule{{User: "anna", Write: []string{"a/#"}}, {User: "bob", Read: []string{"a/b"}}}})
	host, port, _ := net.SplitHostPort(r.addr())
	run := func(program string, args ...string) (string, error) {
		path, err := exec.LookPath(program)
		if err != nil {
			t.Fatalf("%s is missing: run `make peers`", program)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		out, err := exec.CommandContext(ctx, path, append([]string{"-h", host, "-p", port}, args...)...).CombinedOutput()
		return string(out), err
	}
	for _, version := range []string{"mqttv311", "mqttv5"} {
		t.Run(version, func(t *testing.T) {
			login := func(user, password string) []string { return []string{"-V", version, "-u", user, "-P", password} }
			if out, err := run("mosquitto_pub", append(login("anna", "pass word"), "-q", "1", "-r", "-t", "a/b", "-m", version)...); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if out, err := run("mosquitto_sub", append(login("bob", "pass word"), "-q", "1", "-t", "a/#", "-C", "1", "-W", "10")...); err != nil || strings.TrimSpace(out) != version {
				t.Errorf("bob got %q, %v", out, err)
			}
			// 5: not authorised. v5: its reason code.
			for _, wrong := range [][]string{login("anna", "wrong"), login("eve", "pass word"), {"-V", version}} {
				r.forgive()
				if out, err := run("mosquitto_pub", append(wrong, "-t", "a/b", "-m", "x")...); err == nil {
					t.Errorf("%v was let in: %s", wrong, out)
				}
			}
			if out, err := run("mosquitto_sub", append(login("anna", "pass word"), "-q", "1", "-t", "a/#", "-C", "1", "-W", "10")...); !strings.Contains(out, "denied") {
				t.Errorf("anna may not read, and got %q, %v", out, err)
			}
		})
	}
	out, err := run("mosquitto_pub", "-V", "mqttv5", "-u", "bob", "-P", "pass word", "-q", "1", "-t", "a/b", "-m", "x")
	if !strings.Contains(out, "Not authorized") {
		t.Errorf("bob may not write: said %q, %v", out, err)
	}
}

func TestAnonymous(t *testing.T) {
	people := usersOf(t, "anna", "secret")
	far, near := pretend("192.0.2.1"), pretend("127.0.0.1")
	for _, c := range []struct {
		cfg       Config
		near, far bool
	}{
		{Config{}, true, false},
		{Config{Anonymous: true}, true, true},
		{Config{Users: people}, false, false},
		{Config{Users: people, Anonymous: true}, true, true},
	} {
		a := newAccess(&c.cfg)
		if got := a.admits(&proof{}, near); got != c.near {
			t.Errorf("users %v, anonymous %v: from here %v", c.cfg.Users.Len(), c.cfg.Anonymous, got)
		}
		if got := a.admits(&proof{}, far); got != c.far {
			t.Errorf("users %v, anonymous %v: from afar %v", c.cfg.Users.Len(), c.cfg.Anonymous, got)
		}
	}
	t.Run("beside users", func(t *testing.T) {
		r := start(t, Config{Users: people, Anonymous: true})
		c, _ := r.connect(packet.V5, "a")
		c.silent()
		r.refuse(packet.V5, "b", packet.BadUserNameOrPassword, as("anna", "wrong")) // no second chance as nobody
		r.connect(packet.V5, "b", as("anna", "secret"))
	})
	t.Run("without users a name is not looked at", func(t *testing.T) {
		r := start(t, Config{})
		c, _ := r.connect(packet.V311, "a", as("anyone", "anything"))
		c.silent()
	})
}

// pretend is a connection from an address of which nothing else is asked.
type pretend string

func (p pretend) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(string(p)), 1))
}
func (pretend) Read([]byte) (int, error)         { return 0, net.ErrClosed }
func (pretend) Write([]byte) (int, error)        { return 0, net.ErrClosed }
func (pretend) Close() error                     { return nil }
func (pretend) LocalAddr() net.Addr              { return nil }
func (pretend) SetDeadline(time.Time) error      { return nil }
func (pretend) SetReadDeadline(time.Time) error  { return nil }
func (pretend) SetWriteDeadline(time.Time) error { return nil }

func TestBackoff(t *testing.T) {
	ip := netip.MustParseAddr("192.0.2.1")
	var b backoff
	now := time.Hour
	for i := range freeFailures {
		if first, held, begins := b.failed(ip, now); held > 0 || begins || first != (i == 0) {
			t.Fatalf("failure %d: first %v, held %v", i+1, first, held)
		}
		if b.held(ip, now) > 0 {
			t.Fatalf("held off after %d", i+1)
		}
	}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60} {
		_, held, begins := b.failed(ip, now)
		if held != want*time.Second || begins != (i == 0) || b.held(ip, now) != held {
			t.Errorf("held off %v, begins %v; want %d s", held, begins, want)
		}
		if b.held(ip, now+held) > 0 || b.held(netip.MustParseAddr("192.0.2.2"), now) > 0 {
			t.Error("held off too long, or for another's failures")
		}
		now += held
	}
	now += failuresForget + 1
	if first, held, _ := b.failed(ip, now); !first || held > 0 {
		t.Error("old failures are not forgotten")
	}

	for i := range 3 * maxAddresses {
		b.failed(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now+time.Duration(i))
	}
	if n := b.len(); n != maxAddresses {
		t.Errorf("%d addresses are remembered", n)
	}
}

func TestAddressOf(t *testing.T) {
	for a, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "::1": "::1", "2001:db8::1": "2001:db8::", "2001:db8:0:1::5": "2001:db8:0:1::",
	} {
		if got := addressOf(pretend(a)); got.String() != want {
			t.Errorf("%s counts as %s, want %s", a, got, want)
		}
	}
}

// TestHeldOff: guessing is stopped, those who are known are not.
func TestHeldOff(t *testing.T) {
	r, log := startLogged(t, Config{Users: usersOf(t, "anna", "secret", "bob", "other")})
	c, _ := r.connect(packet.V5, "a", as("anna", "secret"))
	for range freeFailures + 1 {
		r.refuse(packet.V5, "guess", packet.BadUserNameOrPassword, as("bob", "guess"))
	}
	r.refuse(packet.V5, "guess", packet.ConnectionRateExceeded, as("bob", "other"))
	r.refuse(packet.V311, "guess", packet.ServerUnavailable, as("bob", "other"))
	c.silent()
	r.connect(packet.V5, "a2", as("anna", "secret")) // verified before
	r.forgive()
	r.connect(packet.V5, "b", as("bob", "other"))
	if n := strings.Count(log.text(), "level=WARN"); n != 2 {
		t.Errorf("%d lines for the first failure and the hold:\n%s", n, log.text())
	}
	if s := r.Stats(); s.LoginsFailed != freeFailures+1 || s.LoginsHeld != 2 {
		t.Errorf("counted %d failed, %d held", s.LoginsFailed, s.LoginsHeld)
	}
}

// TestVerified: a credential is hashed once however many clients come with it,
// what is remembered is bounded, and another password makes it void.
func TestVerified(t *testing.T) {
	l := newLogin()
	u := usersOf(t, "anna", "secret")
	if ok, err := l.verify(t.Context(), u, "anna", []byte("wrong")); ok || err != nil {
		t.Fatal(ok, err)
	}
	if l.known(u, "anna", []byte("wrong")) {
		t.Error("a wrong password is remembered")
	}
	if ok, err := l.verify(t.Context(), u, "anna", []byte("secret")); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if !l.known(u, "anna", []byte("secret")) || l.known(u, "anna", []byte("secrets")) || l.known(u, "annas", []byte("ecret")) {
		t.Error("not remembered as should be")
	}
	if l.known(usersOf(t, "anna", "new"), "anna", []byte("secret")) || l.known(usersOf(t, "bob", "secret"), "anna", []byte("secret")) {
		t.Error("known after the password has changed or the user has gone")
	}
	for i := range 2*maxVerified + 1 {
		l.remember(l.digest(fmt.Append(nil, i)))
	}
	if len(l.verified) != maxVerified || len(l.order) != maxVerified {
		t.Errorf("%d credentials are remembered", len(l.verified))
	}
	if l.known(u, "anna", []byte("secret")) {
		t.Error("the oldest was not forgotten")
	}
	// With all turns taken, who comes waits no longer than it may.
	for range hashesAtOnce {
		l.turns <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if ok, err := l.verify(ctx, u, "anna", []byte("secret")); ok || err == nil {
		t.Error("hashed out of turn")
	}
}

// TestDecoy: who is not there is compared with someone who is, always the same.
func TestDecoy(t *testing.T) {
	l := newLogin()
	u := usersOf(t, "anna", "1", "bob", "2", "carl", "3")
	s := l.decoy(u, "eve")
	if again := l.decoy(u, "eve"); again.text != s.text || s.text == "" {
		t.Error("not always the same")
	}
	none := l.decoy(&Users{}, "eve")
	if none.memory != argonMemory || none.time != argonTime {
		t.Error("without users it costs nothing")
	}
	for _, password := range []string{"1", "2", "3"} { // no password of someone else lets one in
		if ok, _ := l.verify(t.Context(), u, "eve", []byte(password)); ok {
			t.Error("let in by another's password")
		}
	}
}

// TestSecretsStayInside: a password is in no log line, figure or answer,
// whatever field it was typed into.
func TestSecretsStayInside(t *testing.T) {
	const sentinel = "Tr0ub4dor&3"
	r, log := startLogged(t, Config{SysInterval: 20 * time.Millisecond, Users: usersOf(t, "anna", sentinel)})
	each(t, func(t *testing.T, v packet.Version) {
		c, _ := r.connect(v, "good", as("anna", sentinel))
		r.forgive()
		r.refuse(v, "bad", packet.BadUserNameOrPassword, as("anna", sentinel+"x"))
		r.refuse(v, "bad", packet.BadUserNameOrPassword, as(sentinel, sentinel))
		c.subscribe(0, "#", "$SYS/#")
		for seen := 0; seen < 40; seen++ {
			p := expect[*packet.Publish](c)
			if bytes.Contains(p.Payload, []byte(sentinel)) || bytes.Contains(p.Topic, []byte(sentinel)) {
				t.Errorf("told on %s", p.Topic)
			}
		}
		c.send(&packet.Connect{Version: v, ClientID: "twice", HasUsername: true, Username: "anna", HasPassword: true, Password: []byte(sentinel)})
		for p := c.read(); p != nil; p = c.read() {
		}
	})
	if s := fmt.Sprintf("%+v", r.Stats()); strings.Contains(s, sentinel) {
		t.Error("told in the figures")
	}
	r.stop()
	if text := log.text(); strings.Contains(text, sentinel) || !strings.Contains(text, "login failed") {
		t.Errorf("logged:\n%s", text)
	}
}
