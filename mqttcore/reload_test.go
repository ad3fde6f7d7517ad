package mqttcore

import (
	"testing"

	"sluice/mqttcore/packet"
)

// take puts another configuration into force.
func (r *rig) take(cfg Config) {
	r.t.Helper()
	cfg.Listen = r.cfg.Listen
	if err := r.Reload(cfg); err != nil {
		r.t.Fatal(err)
	}
	r.cfg = cfg
}

func TestReload(t *testing.T) {
	each(t, func(t *testing.T, v packet.Version) {
		r := start(t, Config{Users: usersOf(t, "anna", "1", "bob", "2", "carl", "3"), Anonymous: true})
		clients := map[string]*client{}
		for user, password := range map[string]string{"anna": "1", "bob": "2", "carl": "3"} {
			clients[user], _ = r.connect(v, user, as(user, password))
		}
		nobody, _ := r.connect(v, "nobody")
		// anna stays, bob has another password, carl and anonymous clients go.
		r.take(Config{Users: usersOf(t, "anna", "1", "bob", "new")})
		clients["bob"].expectClosed(packet.NotAuthorized)
		clients["carl"].expectClosed(packet.NotAuthorized)
		nobody.expectClosed(packet.NotAuthorized)
		clients["anna"].silent()
		r.refuse(v, "bob", packet.BadUserNameOrPassword, as("bob", "2"))
		r.refuse(v, "carl", packet.BadUserNameOrPassword, as("carl", "3"))
		r.refuse(v, "nobody", packet.NotAuthorized)
		r.connect(v, "bob", as("bob", "new"))
		clients["anna"].silent()
	})
}

// TestUsersArrive: when a gateway gets users, clients keep the sessions that
// they have left as nobody, each for the user who comes for it first; and when
// it loses them again, nobody is locked out.
func TestUsersArrive(t *testing.T) {
	each(t, func(t *testing.T, v packet.Version) {
		r := start(t, Config{})
		back := func(present bool, mod ...func(*packet.Connect)) *client {
			t.Helper()
			c, ack := r.connect(v, "c", append(mod, keep)...)
			if v != packet.V31 && ack.SessionPresent != present {
				t.Errorf("session present: %v", ack.SessionPresent)
			}
			return c
		}
		leave := func(c *client) {
			t.Helper()
			c.close()
			await(t, "it is away", func() bool { return r.Stats().Connected == 0 })
		}
		queue := func(text string, mod ...func(*packet.Connect)) {
			t.Helper()
			c, _ := r.connect(v, "other", mod...)
			c.send(message("x", text, 1, 1))
			c.expectAck(packet.PUBACK, 1, packet.Success)
			leave(c)
		}
		c := back(false)
		c.subscribe(1, "x")
		leave(c)
		queue("one")

		people := usersOf(t, "anna", "1", "bob", "2")
		r.take(Config{Users: people})
		c = back(true, as("anna", "1"))
		c.send(answer(packet.PUBACK, c.expectMessage("one").PacketID))
		leave(c)
		queue("two", as("bob", "2"))
		r.refuse(v, "c", packet.NotAuthorized, as("bob", "2"), keep)
		r.restart()
		r.refuse(v, "c", packet.NotAuthorized, as("bob", "2"), keep)

		r.take(Config{})
		c = back(true)
		c.send(answer(packet.PUBACK, c.expectMessage("two").PacketID))
		leave(c)

		// Beside users who are nobody, what is nobody's stays so.
		r.take(Config{Users: people, Anonymous: true})
		r.refuse(v, "c", packet.NotAuthorized, as("bob", "2"), keep)
		back(true)
	})
}

// TestRulesMeetTraffic: rules may change at any time under load.
func TestRulesMeetTraffic(t *testing.T) {
	open, closed := []Rule{{User: "*", Read: []string{"#"}, Write: []string{"#"}}}, []Rule{{User: "*", Read: []string{"y"}, Write: []string{"x"}}}
	r := start(t, Config{ACL: open})
	sub, _ := r.connect(packet.V5, "sub")
	sub.subscribe(0, "x")
	done := make(chan error, 1)
	go func() {
		var err error
		for i := range 200 {
			cfg := r.cfg
			if cfg.ACL = open; i%2 == 0 {
				cfg.ACL = closed
			}
			if err = r.Reload(cfg); err != nil {
				break
			}
		}
		done <- err
	}()
	pub, _ := r.connect(packet.V5, "pub")
	for pid := uint16(1); pid <= 500; pid++ {
		pub.send(message("x", "m", 1, pid))
		a := expect[*packet.Ack](pub)
		if a.PacketID != pid || a.Reason != packet.Success && a.Reason != packet.NoMatchingSubscribers {
			t.Fatalf("answered %+v", a)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	// The last rules are open.
	pub.send(message("x", "last", 1, 501))
	pub.expectAck(packet.PUBACK, 501, packet.Success)
	for p := expect[*packet.Publish](sub); string(p.Payload) != "last"; p = expect[*packet.Publish](sub) {
	}
}
