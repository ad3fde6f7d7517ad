package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// maxFile bounds a configuration file, in bytes. A thousand devices with ten
// points each need less than 1 MiB.
const maxFile = 8 << 20

// Load reads and checks the file at path. If anything is wrong, the error is a
// Problems that tells all of it and the configuration is nil.
func Load(path string) (*Config, error) {
	src, err := readAll(path)
	switch {
	case err == nil && len(src) > maxFile:
		return nil, Problems{tooLong(path)}
	case err == nil:
		return Parse(path, src)
	}
	return nil, Problems{{File: path, Text: fmt.Sprintf("cannot read the configuration: %v", withoutPath(err))}}
}

// withoutPath gives the reason alone, where the message names the file already.
func withoutPath(err error) error {
	var fault *os.PathError
	if errors.As(err, &fault) {
		return fault.Err
	}
	return err
}

// tooLong tells that a file goes on behind maxFile.
func tooLong(shown string) *Problem {
	return &Problem{File: shown, Line: 1, Column: 1, Text: fmt.Sprintf("the file has more than %s", spellSize(maxFile)),
		Hint: "a configuration is text of some kilobytes: is this the file that was meant?"}
}

// readAll reads the file, or one byte more than is allowed of it: it may grow
// meanwhile. What is no regular file may keep its readers waiting for ever.
func readAll(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode(); !mode.IsRegular() && !mode.IsDir() {
		what := "a device"
		switch {
		case mode&os.ModeNamedPipe != 0:
			what = "a pipe"
		case mode&os.ModeSocket != 0:
			what = "a socket"
		}
		return nil, fmt.Errorf("it is %s: expected a regular file, so write what it gives into one", what)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// Parse is Load of a file that was read already. The name stands in messages,
// and its folder is where relative paths in the file begin.
func Parse(name string, src []byte) (*Config, error) {
	m, places, wrong := decode(name, string(src))
	if wrong != nil {
		return nil, Problems{wrong}
	}
	b := &binder{file: name, places: places, sections: sections(), faulty: map[string]bool{}, library: newLibrary(name)}
	b.useProfiles(m)
	root := node{m: m}
	f := rawFile{gateway: newGateway(node{path: "gateway"}), broker: newBroker(node{path: "broker"}), web: newWeb(node{path: "web"})}
	bindTable(b, fileTable, "the file", root, &f)
	cfg := b.build(&f)
	if len(b.problems) > 0 {
		b.problems.sort(name)
		return nil, b.problems
	}
	b.warnings.sort(name)
	cfg.Warnings = b.warnings
	return cfg, nil
}

// decode reads TOML and finds the places of all that is in it.
func decode(name, text string) (map[string]any, *positions, *Problem) {
	if !utf8.ValidString(text) {
		return nil, nil, encodingProblem(name, text)
	}
	if at := tooDeep(text); at >= 0 {
		return nil, nil, depthProblem(name, text, at)
	}
	var m map[string]any
	md, err := toml.Decode(text, &m)
	if err != nil {
		return nil, nil, syntaxProblem(name, text, err)
	}
	places := locate(name, text, md)
	if places.long != nil {
		return nil, nil, longKeyProblem(places)
	}
	return m, places, nil
}

// build turns the tables of a file into the rooms' configurations and checks
// what crosses them.
func (b *binder) build(f *rawFile) *Config {
	cfg := &Config{File: b.file}
	b.buildGateway(f, cfg)
	b.buildBroker(f, cfg)
	b.buildUpstreams(f, cfg)
	b.buildLines(f, cfg)
	b.buildDevices(f, cfg)
	b.askRooms(f, cfg)
	if len(b.problems) == 0 {
		b.warnOfLoad(f, cfg)
	}
	return cfg
}

// askRooms lets each room judge its own configuration, as far as nothing is
// wrong with it so far: what follows from one mistake is not told as another.
func (b *binder) askRooms(f *rawFile, cfg *Config) {
	if b.fine(f.broker.path) {
		b.ask(f.broker.path, cfg.Broker.Validate())
	}
	if b.fine(f.web.path) {
		b.ask(f.web.path, cfg.Web.Validate())
	}
	for i := range cfg.Upstreams {
		if b.fine(f.upstreams[i].path, "gateway") {
			b.ask(f.upstreams[i].path, cfg.Upstreams[i].Validate())
		}
	}
	for i := range cfg.Lines {
		l := cfg.Lines[i].Config
		if cfg.Lines[i].Sim && !l.Kind.Serial() {
			l.Port = "127.0.0.1:502" // stands for the simulated endpoint
		}
		b.ask(f.lines[i].path, l.Validate())
	}
}

// askDevice is askRooms for one device.
func (b *binder) askDevice(path string, d *Device) {
	switch {
	case !b.fine(path):
	case d.UART != nil:
		b.ask(path, d.UART.Validate())
	case d.Modbus != nil:
		b.ask(path, d.Modbus.Validate())
	}
}

// ask reports what a room's Validate found in the table at path. Each error
// names its key by a method Field; keys of arrays end in a number.
func (b *binder) ask(path string, err error) {
	if err == nil {
		return
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			b.ask(path, e)
		}
		return
	}
	at := path
	var placed interface{ Field() string }
	if errors.As(err, &placed) {
		for _, part := range strings.Split(placed.Field(), ".") {
			at = b.step(at, part)
		}
	}
	if at == path || b.fine(at) {
		b.bad(at, "", "%v", err)
	}
}

// step goes one key, or one element of an array, into what is at path.
func (b *binder) step(path, part string) string {
	var i int
	if _, err := fmt.Sscanf(part, "%d", &i); err == nil {
		if _, there := b.places.places[element(path, i)]; there {
			return element(path, i)
		}
	}
	return child(path, part)
}

// syntaxProblem places an error of the TOML library.
func syntaxProblem(name, src string, err error) *Problem {
	p := &Problem{File: name, Text: err.Error()}
	var fault toml.ParseError
	if !errors.As(err, &fault) {
		return p
	}
	p.Text = "not valid TOML: " + strings.TrimSpace(fault.Message)
	if strings.HasSuffix(p.Text, "is out of range for int64") {
		p.Hint = `in "bad" write it in quotes, such as "0xFFFFFFFFFFFFFFFF", or -1 where all bits are set; elsewhere as 1.8e19`
	}
	places := &positions{src: src}
	start := min(max(0, fault.Position.Start), len(src))
	for start > 0 && start < len(src) && !utf8.RuneStart(src[start]) {
		start-- // the library may point into a character
	}
	p.Line, p.Column = places.lineCol(start)
	p.Snippet = places.snippet(span{start, start + fault.Position.Len})
	return p
}

// encodingProblem places the first byte that is not UTF-8, which TOML files
// must be.
func encodingProblem(name, src string) *Problem {
	p := &Problem{File: name, Text: "expected text in UTF-8", Hint: "save the file as UTF-8"}
	at := 0
	for at < len(src) {
		r, n := utf8.DecodeRuneInString(src[at:])
		if r == utf8.RuneError && n == 1 {
			break
		}
		at += n
	}
	p.Line, p.Column = (&positions{src: src}).lineCol(at)
	return p
}
