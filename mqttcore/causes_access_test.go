package mqttcore

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/mqttcore/packet"
)

// guarded is a broker with users a and b; everyone writes, a and b read.
func guarded(t *testing.T, rules ...Rule) *rig {
	t.Helper()
	if rules == nil {
		rules = []Rule{{User: "*", Read: []string{"#"}, Write: []string{"#"}}}
	}
	return start(t, Config{Users: usersOf(t, "a", "1", "b", "2"), ACL: rules})
}

// rules puts other rules into force.
func (r *rig) rules(rules ...Rule) {
	r.t.Helper()
	cfg := r.cfg
	cfg.ACL = rules
	if err := r.Reload(cfg); err != nil {
		r.t.Fatal(err)
	}
}

func causeSubscriptionOutlivesRight(t *testing.T) {
	open := []Rule{{User: "*", Read: []string{"x/#", "y/#"}, Write: []string{"#"}}}
	closed := []Rule{{User: "*", Read: []string{"y/#"}, Write: []string{"#"}}}
	each(t, func(t *testing.T, v packet.Version) {
		r := guarded(t, open...)
		pub, _ := r.connect(v, "pub", as("a", "1"))
		say := func(topic, text string, pid uint16) {
			pub.send(message(topic, text, 1, pid))
			expect[*packet.Ack](pub)
		}
		live, _ := r.connect(v, "live", as("b", "2"))
		live.subscribe(1, "#")
		shared, _ := r.connect(v, "shared", as("b", "2"))
		shared.subscribe(1, "$share/g/x/+")
		away, _ := r.connect(v, "away", as("b", "2"), keep)
		away.subscribe(2, "x/#", "y/#")
		away.close()
		await(t, "away is away", func() bool { return r.Stats().Connected == 3 })

		say("x/1", "before", 1)
		live.send(answer(packet.PUBACK, live.expectMessage("before").PacketID))
		shared.send(answer(packet.PUBACK, shared.expectMessage("before").PacketID))
		r.rules(closed...)
		say("x/2", "after", 2)
		say("y/1", "other", 3)
		live.send(answer(packet.PUBACK, live.expectMessage("other").PacketID))
		live.silent()
		shared.silent()
		queued, _ := r.st.Backlog(r.sessions["away"].sid)
		if queued != 2 {
			t.Errorf("%d messages wait for away, want the one from before and the other", queued)
		}
		away, _ = r.connect(v, "away", as("b", "2"), keep)
		away.send(answer(packet.PUBACK, away.expectMessage("other").PacketID))
		away.silent()
		if n := r.Stats().DeniedDeliveries; n != 1 {
			t.Errorf("%d queued messages were withheld", n)
		}
		// Given back, it goes on without a new SUBSCRIBE.
		r.rules(open...)
		say("x/3", "again", 4)
		live.expectMessage("again")
		shared.expectMessage("again")
		away.expectMessage("again")
	})
}

// What a publisher has left behind stays: who may read the topic sees it. The
// publisher can no longer replace or clear it.
func causeRetainedOfRevoked(t *testing.T) {
	r := guarded(t)
	pub, _ := r.connect(packet.V5, "pub", as("a", "1"))
	m := message("state", "left", 1, 1)
	m.Retain = true
	pub.send(m)
	pub.expectAck(packet.PUBACK, 1, packet.NoMatchingSubscribers)
	r.rules(Rule{User: "b", Read: []string{"state"}, Write: []string{"state"}}, Rule{User: "a", Read: []string{"other"}})
	for i, payload := range []string{"replaced", ""} {
		m := message("state", payload, 1, uint16(i+2))
		m.Retain = true
		pub.send(m)
		pub.expectAck(packet.PUBACK, uint16(i+2), packet.NotAuthorized)
	}
	b, _ := r.connect(packet.V5, "b", as("b", "2"))
	b.subscribe(1, "#")
	b.expectMessage("left")
	// Who may not read it does not see it, whatever the filter.
	r.rules(Rule{User: "b", Read: []string{"other"}})
	b.send(&packet.Subscribe{PacketID: 5, Filters: []packet.Filter{{Topic: []byte("#")}, {Topic: []byte("state")}}})
	if ack := expect[*packet.Suback](b); ack.Reasons[0] != 0 || ack.Reasons[1] != packet.NotAuthorized {
		t.Errorf("answered %v", ack.Reasons)
	}
	b.silent()
}

func causeResumedQoS2(t *testing.T) {
	each(t, func(t *testing.T, v packet.Version) {
		r := guarded(t)
		sub, _ := r.connect(v, "sub", as("b", "2"), keep)
		sub.subscribe(2, "x/#")
		sub.close()
		pub, _ := r.connect(v, "pub", as("a", "1"), keep)
		pub.send(message("x/1", "once", 2, 7))
		pub.expectAck(packet.PUBREC, 7, packet.Success)
		pub.close()
		await(t, "both are gone", func() bool { return r.Stats().Connected == 0 })

		r.rules(Rule{User: "*", Read: []string{"y"}, Write: []string{"y"}})
		pub, ack := r.connect(v, "pub", as("a", "1"), keep)
		if v != packet.V31 && !ack.SessionPresent {
			t.Error("the session is gone")
		}
		again := message("x/1", "once", 2, 7)
		again.Dup = true
		pub.send(again) // was taken when it was allowed: ends as it began
		pub.expectAck(packet.PUBREC, 7, packet.Success)
		pub.send(answer(packet.PUBREL, 7))
		pub.expectAck(packet.PUBCOMP, 7, packet.Success)
		denied := packet.Success
		if v == packet.V5 {
			denied = packet.NotAuthorized
		}
		pub.send(message("x/2", "denied", 2, 7))
		pub.expectAck(packet.PUBREC, 7, denied)
		pub.send(message("x/2", "denied", 1, 8))
		pub.expectAck(packet.PUBACK, 8, denied)
		pub.send(message("x/2", "denied", 0, 0))
		pub.silent()
		sub, _ = r.connect(v, "sub", as("b", "2"), keep)
		sub.silent()
		r.rules(Rule{User: "*", Read: []string{"#"}, Write: []string{"#"}})
		pub.send(message("x/3", "allowed", 2, 9))
		pub.expectAck(packet.PUBREC, 9, packet.Success)
		sub.expectMessage("allowed") // and nothing of what was denied
		if n := r.Stats().DeniedPublishes; n != 3 {
			t.Errorf("%d denied messages were counted", n)
		}
	})
}

func withWill(topic string) func(*packet.Connect) {
	return func(p *packet.Connect) { p.Will = &packet.Will{Topic: topic, Payload: []byte("will"), QoS: 1} }
}

func causeWillBypasses(t *testing.T) {
	each(t, func(t *testing.T, v packet.Version) {
		r := guarded(t, Rule{User: "*", Read: []string{"#"}, Write: []string{"from/{client}"}})
		watch, _ := r.connect(v, "watch", as("b", "2"))
		watch.subscribe(0, "#")
		r.refuse(v, "w", packet.NotAuthorized, as("a", "1"), withWill("home/door"))
		r.refuse(v, "w", packet.NotAuthorized, as("a", "1"), withWill("from/other"))
		r.refuse(v, "w", packet.NotAuthorized, as("a", "1"), withWill("$SYS/broker/version"))
		c, _ := r.connect(v, "w", as("a", "1"), withWill("from/w"))
		c.close()
		watch.expectMessage("will")
		// The right is gone when the will is due.
		c, _ = r.connect(v, "w", as("a", "1"), withWill("from/w"))
		r.rules(Rule{User: "*", Read: []string{"#"}})
		c.close()
		await(t, "the will is due", func() bool { return r.Stats().DeniedWills == 4 })
		watch.silent()
	})
}

func causeSessionOfAnother(t *testing.T) {
	each(t, func(t *testing.T, v packet.Version) {
		r := guarded(t)
		mine, _ := r.connect(v, "shared-id", as("a", "1"), keep)
		mine.subscribe(1, "x")
		for _, how := range []func(*packet.Connect){keep, func(*packet.Connect) {}} { // to take over, to wipe
			r.refuse(v, "shared-id", packet.NotAuthorized, as("b", "2"), how)
		}
		mine.silent() // still there
		mine.close()
		await(t, "it is away", func() bool { return r.Stats().Connected == 0 })
		other, _ := r.connect(v, "other", as("b", "2"))
		other.send(message("x", "for a", 1, 1))
		other.expectAck(packet.PUBACK, 1, packet.Success)
		for _, how := range []func(*packet.Connect){keep, func(*packet.Connect) {}} { // to resume, to wipe
			r.refuse(v, "shared-id", packet.NotAuthorized, as("b", "2"), how)
		}
		r.restart() // whose it is survives
		r.refuse(v, "shared-id", packet.NotAuthorized, as("b", "2"), keep)
		mine, ack := r.connect(v, "shared-id", as("a", "1"), keep)
		if v != packet.V31 && !ack.SessionPresent {
			t.Error("the session is gone")
		}
		mine.expectMessage("for a")
	})
}

func causeCleanStartBeforeLogin(t *testing.T) {
	each(t, func(t *testing.T, v packet.Version) {
		r := guarded(t)
		c, _ := r.connect(v, "c", as("a", "1"), keep)
		c.subscribe(1, "x")
		r.refuse(v, "c", packet.BadUserNameOrPassword, as("a", "wrong"))
		r.refuse(v, "c", packet.NotAuthorized)
		r.refuse(v, "c", packet.NotAuthorized, as("a", "1"), withWill("$SYS/x"))
		c.silent()
		c.close()
		await(t, "it is away", func() bool { return r.Stats().Connected == 0 })
		r.refuse(v, "c", packet.BadUserNameOrPassword, as("a", "wrong"))
		c, ack := r.connect(v, "c", as("a", "1"), keep)
		if v != packet.V31 && !ack.SessionPresent {
			t.Error("the session is gone")
		}
		c.send(message("x", "still subscribed", 0, 0))
		c.expectMessage("still subscribed")
	})
}

func causeWildcardNames(t *testing.T) {
	r := start(t, Config{Users: usersOf(t, "+", "1", "x#", "2", "a/b", "3"),
		ACL: []Rule{{User: "*", Read: []string{"u/{user}/#", "c/{client}/#", "{client}/#"}, Write: []string{"u/{user}", "c/{client}"}}}})
	for user, password := range map[string]string{"+": "1", "x#": "2", "a/b": "3"} {
		for _, id := range []string{"+", "#", "a/b", "$SYS"} {
			c, _ := r.connect(packet.V5, id, as(user, password))
			c.send(&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{
				{Topic: []byte("u/#")}, {Topic: []byte("u/x/y")}, {Topic: []byte("u/a/b")}, {Topic: []byte("$SYS/#")}, {Topic: []byte("x/#")}}})
			for i, reason := range expect[*packet.Suback](c).Reasons {
				if reason != packet.NotAuthorized {
					t.Errorf("user %s client %s: filter %d answered %v", user, id, i, reason)
				}
			}
			c.send(message("u/a/b", "", 1, 2))
			c.expectAck(packet.PUBACK, 2, packet.NotAuthorized)
			c.close()
			// Its session is its user's for as long as it is there.
			await(t, "it is gone", func() bool { return r.Stats().Connected == 0 })
		}
	}
}

func causeFailingOpen(t *testing.T) {
	t.Run("rules that allow nothing", func(t *testing.T) {
		r := start(t, Config{ACL: []Rule{{User: "*"}}})
		c, _ := r.connect(packet.V311, "c")
		c.send(&packet.Subscribe{PacketID: 1, Filters: []packet.Filter{{Topic: []byte("#")}, {Topic: []byte("$SYS/#")}, {Topic: []byte("$share/g/#")}}})
		for _, reason := range expect[*packet.Suback](c).Reasons {
			if !reason.Failed() {
				t.Errorf("granted: %v", reason)
			}
		}
	})
	t.Run("a users file without users", func(t *testing.T) {
		r := start(t, Config{Users: usersOf(t)})
		r.refuse(packet.V5, "c", packet.NotAuthorized)
		r.refuse(packet.V5, "c", packet.BadUserNameOrPassword, as("", ""))
		r.refuse(packet.V5, "c", packet.BadUserNameOrPassword, as("root", ""))
	})
	t.Run("a users file with an error", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "users")
		for _, text := range []string{"a", "a:", ":", "a:x\n", "a:" + cheapSecret("1") + "\nb", strings.Repeat("\x00", 4096)} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if u, err := LoadUsers(path); err == nil || u != nil {
				t.Errorf("%.20q was taken", text)
			}
		}
	})
}

// A process that can open no more files keeps the rules that it has.
func causeReloadWithoutDescriptors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	if _, err := SetUser(path, "a", []byte("1")); err != nil {
		t.Fatal(err)
	}
	users, err := LoadUsers(path)
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, Config{Users: users})
	c, _ := r.connect(packet.V5, "c", as("a", "1"))
	var usual unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &usual); err != nil {
		t.Fatal(err)
	}
	none := usual
	none.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	again, err := LoadUsers(path)
	if e := unix.Setrlimit(unix.RLIMIT_NOFILE, &usual); e != nil {
		t.Fatal(e)
	}
	if again != nil || err == nil || !strings.Contains(err.Error(), syscall.EMFILE.Error()) {
		t.Fatalf("loaded %v, %v", again, err)
	}
	// Nor is a configuration taken that is not valid.
	cfg := r.cfg
	cfg.Users, cfg.ACL = nil, []Rule{{User: ""}}
	if err := r.Reload(cfg); err == nil {
		t.Error("rules without a user were taken")
	}
	c.silent()
	r.refuse(packet.V5, "d", packet.NotAuthorized)
	r.refuse(packet.V5, "d", packet.BadUserNameOrPassword, as("a", "2"))
}

func causeReadableFiles(t *testing.T) {
	r := guarded(t)
	c, _ := r.connect(packet.V5, "c", as("a", "1"), keep)
	c.subscribe(1, "x")
	c.send(message("x", "secret", 1, 1))
	c.read()
	r.restart() // with a snapshot
	files := 0
	err := filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == r.dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files++
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("%d files, %v", files, err)
	}
}
