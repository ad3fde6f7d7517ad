package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"sluice/adapters"
	"sluice/adapters/line"
	"sluice/adapters/modbus"
	"sluice/adapters/sim"
	"sluice/adapters/uart"
	"sluice/bridge"
	"sluice/gateway/cli"
	"sluice/gateway/config"
	"sluice/gateway/web"
	"sluice/mqttcore"
	"sluice/mqttcore/store"
)

// stopLimit bounds an orderly stop.
const stopLimit = 5 * time.Second

// startEnds is after what time devices are known and readings come.
const startEnds = 5 * time.Second

// run is `sluice run`.
func run(ctx context.Context, o cli.RunOptions) error {
	// Before all else: one that comes early must not end the program.
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGHUP)
	defer signal.Stop(told)
	cfg, err := config.Load(o.Config)
	if err != nil {
		return cli.ConfigError(err)
	}
	board := newBoard()
	shown, log := newOutput(o, board)
	for _, w := range cfg.Warnings {
		log.Warn(w.Text, "file", w.File, "line", w.Line, "hint", w.Hint)
	}
	asRead := *cfg // the simulated field puts its ports into the other
	asRead.Lines = slices.Clone(cfg.Lines)
	g, err := newGateway(cfg, thisMachine(), board, log)
	if err != nil {
		return err
	}
	g.group.add(newReloader(&asRead, g.broker, told, log), newFootprint(startEnds, log))
	defer g.close()
	return g.run(ctx, shown)
}

// newOutput decides where readings and logs go. The screen is nil where no
// readings are shown.
func newOutput(o cli.RunOptions, b *board) (*screen, *slog.Logger) {
	onTerminal := term.IsTerminal(int(os.Stdout.Fd()))
	var shown *screen
	if !o.Quiet {
		shown = newScreen(os.Stdout, b, onTerminal, func() (int, int) {
			w, h, err := term.GetSize(int(os.Stdout.Fd()))
			if err != nil {
				return 80, 24
			}
			return w, h
		})
	}
	var logTo io.Writer = os.Stderr
	errTerminal := term.IsTerminal(int(os.Stderr.Fd()))
	if shown != nil && onTerminal && errTerminal {
		logTo = shown // both on one terminal: keep the table whole
	}
	format := o.LogFormat
	if format == "" {
		format = "text"
		if errTerminal {
			format = "human"
		}
	}
	level := slog.LevelInfo
	_ = level.UnmarshalText([]byte(o.LogLevel)) // checked with the command line
	return shown, newLogger(logTo, format, level)
}

// gateway is all rooms, wired.
type gateway struct {
	cfg     *config.Config
	log     *slog.Logger
	started time.Time

	clock      *clock
	durability durability
	store      *store.Store
	broker     *mqttcore.Broker
	links      []*bridge.Link
	field      *sim.Field // nil where no line is simulated
	lines      []*line.Line
	pollers    map[string]*modbus.Poller // by line
	doors      map[string]*modbus.Door   // by line
	taps       map[string]*modbus.Tap    // by line
	listeners  map[string]*uart.Listener // by line
	readings   *readings
	commands   *commands
	health     *health
	web        *web.Server
	watchdog   *watchdog
	board      *board
	group      group
}

// newGateway builds everything the configuration asks for. It opens the
// durable log and the simulated field; nothing runs yet.
func newGateway(cfg *config.Config, m machine, b *board, log *slog.Logger) (*gateway, error) {
	g := &gateway{
		cfg: cfg, log: log, board: b, started: time.Now(),
		pollers: map[string]*modbus.Poller{}, doors: map[string]*modbus.Door{}, taps: map[string]*modbus.Tap{}, listeners: map[string]*uart.Listener{},
	}
	var err error
	if g.watchdog, err = newWatchdog(log); err != nil {
		return nil, err
	}
	opts := cfg.Store
	g.clock = newClock(m, cfg.Gateway.Clock == config.ClockTrusted, log)
	opts.Log, opts.Clock = log, g.clock
	g.durability = settle(&opts, cfg, log)
	if g.store, err = store.Open(opts); err != nil {
		return nil, err
	}
	g.clock.recall(g.store.Known())
	cfg.Broker.Version = cli.BuildVersion().Version
	g.broker = mqttcore.New(cfg.Broker, g.store, log)
	g.readings = newReadings(g.broker, b, g.clock, cfg.Gateway.Payload == config.PayloadValue, log)
	g.commands = newCommands(g.broker, g.clock, log)
	g.commands.resumed = g.resumed
	g.health = newHealth(g)
	g.web = web.New(cfg.Web, g.health, log)
	late := corrector{g.clock, g.store.WallOf}
	for i := range cfg.Upstreams {
		up := cfg.Upstreams[i].Config
		up.Rewrite = late.correct
		up.Now = g.clock.now
		up.Availability = g.health.availability()
		if len(cfg.Upstreams) > 1 || up.MarkUp {
			// What comes down from one goes up to the others, and may come back.
			up.Via = cfg.Gateway.ID + "/" + up.Name
		}
		g.links = append(g.links, bridge.New(up, g.broker, log))
	}
	if g.field, err = newField(cfg, log); err != nil {
		g.close()
		return nil, err
	}
	for i := range cfg.Lines {
		g.addLine(&cfg.Lines[i])
	}
	for i := range cfg.Devices {
		if err = g.addDevice(&cfg.Devices[i]); err != nil {
			g.close()
			return nil, err
		}
	}
	b.summary = g.health.sentence

	// From the log upwards; stopped from the pollers downwards.
	g.group.stopLimit = stopLimit
	g.group.add(g.store)
	g.group.add(g.broker)
	consumers := []task{g.clock, g.readings, g.commands}
	for _, l := range g.links {
		consumers = append(consumers, l)
	}
	g.group.add(consumers...)
	if g.field != nil {
		g.group.add(g.field)
	}
	var lines, devices []task
	for _, l := range g.lines {
		lines = append(lines, l)
		if p := g.pollers[l.Config().Name]; p != nil {
			devices = append(devices, p)
		}
		if u := g.listeners[l.Config().Name]; u != nil {
			devices = append(devices, u)
		}
		if t := g.taps[l.Config().Name]; t != nil {
			devices = append(devices, t)
		}
		if d := g.doors[l.Config().Name]; d != nil {
			devices = append(devices, d)
		}
	}
	g.group.add(lines...)
	g.group.add(devices...)
	g.group.add(g.health, g.web, newProgress(g), g.watchdog)
	return g, nil
}

// addLine makes one line and what speaks on it.
func (g *gateway) addLine(lc *config.Line) {
	l := line.New(lc.Config, g.log)
	g.lines = append(g.lines, l)
	var masters []modbus.DeviceConfig
	var talkers []uart.DeviceConfig
	for _, d := range g.cfg.DevicesOn(lc.Name) {
		if d.Modbus != nil {
			masters = append(masters, *d.Modbus)
		}
		if d.UART != nil {
			talkers = append(talkers, *d.UART)
		}
	}
	if lc.Listen {
		g.taps[lc.Name] = modbus.NewTap(l, masters, g.readings, g.log)
	} else if len(masters) > 0 || lc.Share.Listen != "" {
		g.pollers[lc.Name] = modbus.NewPoller(l, masters, g.readings, g.log)
	}
	if lc.Share.Listen != "" {
		g.doors[lc.Name] = modbus.NewDoor(g.pollers[lc.Name], lc.Share)
	}
	if len(talkers) > 0 {
		g.listeners[lc.Name] = uart.NewListener(l, talkers, g.readings, g.log)
	}
}

// addDevice tells readings and commands where the device's points belong.
func (g *gateway) addDevice(d *config.Device) error {
	g.readings.availability[d.Name] = d.Availability()
	var writer adapters.Writer
	if p := g.pollers[d.Line]; p != nil {
		writer = p.Device(d.Name)
	} else if u := g.listeners[d.Line]; u != nil {
		writer = u.Device(d.Name)
	}
	var w *worker
	var outlets []*outlet
	for _, p := range d.Points {
		g.board.add(p.Point, p.Topic)
		out := &outlet{
			point: p.Point, topic: p.Topic, quotedUnit: quoteJSON(p.Unit), quotedName: quoteJSON(p.Name), qos: p.QoS, retain: p.Retain,
			change: change{on: p.OnChange, deadband: p.Deadband, heartbeat: p.Heartbeat, slack: min(p.Every, p.Heartbeat) / 2},
		}
		if d.Publish == config.PublishDevice {
			out.topic = ""
		}
		g.readings.outlets[p.Point] = out
		outlets = append(outlets, out)
		if p.Writable {
			if w == nil {
				w = g.commands.device(writer, d.OnOffline == config.KeepCommand, d.MaxCommandAge)
			}
			g.commands.add(p.Point, p.SetTopic(), p.ResultTopic(), w)
			if p.SafeAfter > 0 {
				g.commands.guard(p.SetTopic(), p.Safe, p.SafeAfter, g.commanders(p.SetTopic()))
			}
		}
	}
	object, err := joinObject(d, outlets, d.Modbus != nil && !g.listened(d))
	if err != nil {
		return fmt.Errorf("device %q: %w", d.Name, err)
	}
	g.readings.objects[d.Name] = object
	g.commands.answerFor(d.Name, d.Topic)
	if w != nil {
		g.readings.onPresence[d.Name] = w.presence
	}
	return nil
}

// listened reports whether others say when a device is read.
func (g *gateway) listened(d *config.Device) bool {
	return slices.ContainsFunc(g.cfg.Lines, func(l config.Line) bool { return l.Name == d.Line && l.Listen })
}

// commanders are the upstreams that can bring commands to a set topic.
func (g *gateway) commanders(set string) (heard []func() time.Time) {
	for _, l := range g.links {
		if l.Brings(set) {
			heard = append(heard, l.Heard)
		}
	}
	return heard
}

// resumed tells when one of the upstreams that can bring commands to a set topic
// last resumed its session.
func (g *gateway) resumed(set string) (last time.Time) {
	for _, l := range g.links {
		if at := l.Resumed(); at.After(last) && l.Brings(set) {
			last = at
		}
	}
	return last
}

// run starts everything and stops it in order when ctx ends.
func (g *gateway) run(ctx context.Context, shown *screen) error {
	g.broker.RemoveConsumers(g.consumers()...)
	if shown != nil {
		g.group.add(shown)
	}
	ready := func() {
		addresses := g.addresses()
		g.log.Info("serving", "addresses", strings.Join(addresses, " "), "config", g.cfg.String())
		if shown != nil {
			shown.announce(addresses)
		}
		if err := notifyReady(g.health.sentence()); err != nil {
			g.log.Warn("service manager not told", "error", err)
		}
	}
	stopping := func(why error) {
		g.log.Info("stopping", "why", why)
		if err := notifyStopping(); err != nil {
			g.log.Warn("service manager not told", "error", err)
		}
	}
	err := g.group.run(ctx, ready, stopping)
	if err == nil {
		g.log.Info("stopped")
	}
	return err
}

// consumers names the durable consumers that the configuration has.
func (g *gateway) consumers() []string {
	names := []string{commandConsumer}
	for i := range g.cfg.Upstreams {
		names = append(names, bridge.ConsumerName(g.cfg.Upstreams[i].Name))
	}
	return names
}

// addresses tells where the gateway can be reached.
func (g *gateway) addresses() []string {
	all := g.broker.URLs()
	if a := g.web.Addr(); a != nil {
		all = append(all, "http://"+a.String()+"/")
	}
	for _, l := range g.lines {
		if d := g.doors[l.Config().Name]; d != nil {
			all = append(all, "modbus://"+d.Stats().Address)
		}
	}
	return all
}

// close gives back what newGateway opened. After run it finds nothing to do.
func (g *gateway) close() {
	if g.field != nil {
		g.field.Close()
	}
	if err := g.store.Close(); err != nil {
		g.log.Error("store not closed", "error", err)
	}
}
