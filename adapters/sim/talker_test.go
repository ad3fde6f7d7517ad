package sim

import (
	"context"
	"testing"
	"time"
)

func greenhouse() LineConfig {
	return LineConfig{Name: "greenhouse", Kind: "uart", Baud: 115200, Talkers: []TalkerConfig{{
		Every: 2 * time.Second, Template: "T={temp},H={hum},V={vent}\n", Turnaround: 5 * ms, Unknown: "ERR\n",
		Points: []TalkerPoint{{"temp", Wave{Base: 21.44}, 1}, {"hum", Wave{Base: 47.6}, 0}},
		Answers: []AnswerConfig{
			{"VENT {vent}\n", "OK\n"}, {"VENT?\n", "VENT={vent}\n"}, {"@", "ping"},
		},
	}}}
}

func TestTalkerInTime(t *testing.T) {
	d, _ := newDesk(t, greenhouse())
	d.until(time.Second)
	if len(d.got) != 0 {
		t.Fatalf("it spoke before a second had passed: %v", d.got)
	}
	d.until(1500 * ms)
	char := 10 * time.Second / 115200
	const line = "T=21.4,H=48,V=0\n"
	if len(d.got) != 2 || d.got[0].at != time.Second+8*char || d.got[1].at != time.Second+16*char {
		t.Errorf("arrived at %v, want two groups of 8", d.got)
	}
	if got := string(d.all()); got != line {
		t.Errorf("said %q, want %q", got, line)
	}
	d.write(2*time.Second, []byte("VENT "))
	d.write(2*time.Second+ms, []byte("30.5\r\nVENT?\nBOO\n"))
	d.write(2500*ms, []byte("@"))
	d.until(2600 * ms)
	if got := string(d.all()); got != "OK\nVENT=30.5\nERR\nping" {
		t.Errorf("answered %q", got)
	}
	d.until(3500 * ms)
	if got := string(d.all()); got != "T=21.4,H=48,V=30.5\n" {
		t.Errorf("said %q", got)
	}
}

func TestTalkerAnswersAfterItsLine(t *testing.T) {
	// At 300 baud the line takes half a second: the answer has to wait.
	c := greenhouse()
	c.Baud = 300
	d, _ := newDesk(t, c)
	d.write(1050*ms, []byte("@"))
	d.until(1950 * ms)
	if got := string(d.all()); got != "T=21.4,H=48,V=0\nping" {
		t.Errorf("heard %q", got)
	}
}

func TestTalkerDropsEndlessCommands(t *testing.T) {
	d, _ := newDesk(t, greenhouse())
	d.write(0, make([]byte, 300))
	d.write(100*ms, []byte("VENT?\n"))
	d.until(200 * ms)
	if got := string(d.all()); got != "VENT=0\n" || d.counters().Bad != 1 {
		t.Errorf("heard %q, %+v", got, d.counters())
	}
}

func TestTalkerOverAPty(t *testing.T) {
	c := greenhouse()
	c.Talkers[0].Every = 20 * ms
	f := play(t, c)
	talker := f.Talker("greenhouse", 0)
	m := open(t, f.Path("greenhouse"))
	const line = "T=21.4,H=48,V=0\n"
	if got := string(m.take(2*len(line), 5*time.Second)); got != line+line {
		t.Fatalf("heard %q", got)
	}
	m.send([]byte("VENT 30\n"))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := talker.Wait(ctx, func() bool { return talker.Value("vent") == "30" }); err != nil {
		t.Fatalf("the command did not arrive: %v", err)
	}
	talker.SetSilent(true)
	if err := talker.Set("temp", 5); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if !talker.HeldValue("temp", 21.4, 0.05, now.Add(-time.Minute), now) || !talker.HeldValue("temp", 5, 0, now, now.Add(ms)) || talker.HeldValue("temp", 21.4, 0.05, now, now.Add(ms)) {
		t.Error("the past of the temperature is wrong")
	}
	talker.SetSilent(false)
	lines := talker.Stats().Lines
	if err := talker.Wait(ctx, func() bool { return talker.Stats().Lines > lines }); err != nil {
		t.Fatalf("it does not speak again: %v", err)
	}
}
