package config

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"sluice/adapters/line"
	"sluice/adapters/modbus"
)

// shipped is the device library that comes with the program: a folder a maker.
//
//go:embed profiles/*/*.toml
var shipped embed.FS

// rawProfile is one file of the device library. What it says of the device and
// of its points is in the keys of [[device]].
type rawProfile struct {
	rawDevice
	title, serial    string
	source, doubtful []string
}

var profileTable = append(table[rawProfile]{
	must(key("title", text("what the device is"), func(p *rawProfile) *string { return &p.title })),
	must(key("source", list(text("a manual and its revision"), `manuals and their revisions such as ["SDM630 manual V2.1"]`),
		func(p *rawProfile) *[]string { return &p.source })),
	key("unverified", list(text("what is not certain"), `a list of what is not certain`),
		func(p *rawProfile) *[]string { return &p.doubtful }),
	key("serial", serialFormat, func(p *rawProfile) *string { return &p.serial }),
}, ofDevice(deviceTable)...)

// ofDevice picks the keys of a device that a profile may have: all but what
// differs from one device to the next and what is no matter of Modbus.
func ofDevice(t table[rawDevice]) table[rawProfile] {
	var picked table[rawProfile]
	for _, f := range t {
		if slices.Contains([]string{"name", "line", "unit", "topic", "use"}, f.name) || slices.Contains(uartDeviceKeys, f.name) {
			continue
		}
		picked = append(picked, field[rawProfile]{f.name, f.required, func(b *binder, path string, v any, p *rawProfile) {
			f.bind(b, path, v, &p.rawDevice)
		}})
	}
	return picked
}

// aboutProfile are the keys that say something about the profile itself.
var aboutProfile = []string{"title", "source", "unverified", "serial"}

var profileName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)?$`)

// maxProfileName bounds the name of a profile, in bytes: it is a path, too.
const maxProfileName = 128

// checkProfileName accepts NAME and MAKER/NAME, which are also paths.
func checkProfileName(s string) error {
	switch {
	case strings.HasSuffix(s, ".toml"):
		return fmt.Errorf("%s is the name of a file: leave .toml out", shorten(s))
	case len(s) > maxProfileName:
		return fmt.Errorf("%s is longer than %d bytes", shorten(s), maxProfileName)
	case !profileName.MatchString(s):
		return fmt.Errorf("%s is neither NAME nor MAKER/NAME of letters, digits, _, - and points", shorten(s))
	}
	return nil
}

// library finds profiles: in the folder profiles beside the configuration
// first, so that a user can correct those shipped, then among these.
type library struct {
	folder string
	loaded map[string]*profile // nil for those that are not there
}

// profile is one loaded profile.
type profile struct {
	rawProfile
	file     string // its path; "" if it is shipped
	m        map[string]any
	places   *positions
	device   *modbus.DeviceConfig
	problems Problems
}

// newLibrary makes the library of the configuration in file.
func newLibrary(file string) *library {
	return &library{folder: filepath.Join(filepath.Dir(file), "profiles"), loaded: map[string]*profile{}}
}

// load gives the profile of that name, nil if there is none.
func (l *library) load(name string) *profile {
	if p, known := l.loaded[name]; known {
		return p
	}
	p := &profile{file: filepath.Join(l.folder, filepath.FromSlash(name)+".toml")}
	shown := p.file
	src, err := readAll(p.file)
	if errors.Is(err, fs.ErrNotExist) {
		p.file, shown = "", "shipped profiles/"+name+".toml"
		src, err = shipped.ReadFile("profiles/" + name + ".toml")
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p = nil
	case err != nil:
		p.problems = Problems{{File: shown, Text: fmt.Sprintf("cannot read the profile: %v", withoutPath(err))}}
	case len(src) > maxFile:
		p.problems = Problems{tooLong(shown)}
	default:
		p.read(name, shown, string(src))
	}
	l.loaded[name] = p
	return p
}

// read binds the file and checks it as if a device were on a Modbus line.
func (p *profile) read(name, shown, text string) {
	m, places, wrong := decode(shown, text)
	if wrong != nil {
		p.problems = Problems{wrong}
		return
	}
	p.m, p.places = m, places
	b := &binder{file: shown, places: places, sections: sections(), faulty: map[string]bool{}}
	n := node{m: m}
	p.rawDevice = newDevice(n)
	bindTable(b, profileTable, "the profile", n, &p.rawProfile)
	if len(b.problems) == 0 {
		d := p.rawDevice
		d.name, d.unit = name, 1
		d.node = node{m: maps.Clone(m)}
		d.node.m["unit"] = int64(d.unit)
		p.device = b.modbusDevice(&d, &rawLine{name: "modbus", kind: line.RTU})
		b.askDevice("", &Device{Modbus: p.device})
	}
	for _, w := range b.problems {
		if w.Line == 0 {
			w.Line, w.Column = 1, 1 // a key that the file as a whole needs
		}
	}
	b.problems.sort(shown)
	p.problems = b.problems
}

// names lists all profiles, sorted.
func (l *library) names() []string {
	all := map[string]bool{}
	for folder, from := range map[string]fs.FS{"profiles/": shipped, "": os.DirFS(l.folder)} {
		for _, pattern := range []string{"*.toml", "*/*.toml"} {
			files, _ := fs.Glob(from, folder+pattern) // fails on a bad pattern only
			for _, file := range files {
				if name := strings.TrimSuffix(strings.TrimPrefix(file, folder), ".toml"); checkProfileName(name) == nil {
					all[name] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// useProfiles gives each device what the profile that it names says, as if it
// stood in the configuration: one table of keys then binds it all.
func (b *binder) useProfiles(m map[string]any) {
	told := map[*profile]bool{}
	for i, d := range tablesOf(m["device"]) {
		at := element("device", i)
		name, _ := d["use"].(string)
		if name == "" || checkProfileName(name) != nil {
			if _, there := d["use"]; there {
				b.blame(child(at, "points")) // the table of keys tells what is wrong
			}
			continue
		}
		p := b.library.load(name)
		switch {
		case p == nil:
			b.bad(child(at, "use"), b.library.hint(name), "there is no profile %s", shorten(name))
		case len(p.problems) > 0:
			if !told[p] {
				b.problems = append(b.problems, p.problems...)
			}
			told[p] = true
			b.blame(child(at, "use"))
		default:
			own, _ := d["points"].(map[string]any)
			b.merge(at, d, name, p)
			if listened(m, d) {
				readOnly(d, own)
			}
			continue
		}
		b.blame(child(at, "points"))
	}
}

// checkDelivered warns of a device whose line is set to another speed or format
// than it is delivered with.
func (b *binder) checkDelivered(d *rawDevice, l *Line) {
	if d.use == "" || l.Sim || !l.Kind.Serial() || !b.fine(d.at("use")) {
		return
	}
	delivered, err := line.ParseSerial(b.library.load(d.use).serial)
	if err == nil && delivered != l.Serial {
		b.warn(d.at("use"), "all devices of a line must be set to the same: it is fine if this one was",
			"%s is delivered with %q, and line %q is set to %q", shorten(d.use), delivered, l.Name, l.Serial)
	}
}

// hint tells what may have been meant by the name of a profile.
func (l *library) hint(name string) string {
	all := l.names()
	for _, known := range all {
		if strings.EqualFold(path.Base(known), name) {
			return fmt.Sprintf("did you mean %q?", known)
		}
	}
	if near := nearest(name, all); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return fmt.Sprintf("\"sluice profiles\" lists them; a file %s makes one", filepath.Join(l.folder, name+".toml"))
}

// merge adds what the profile says to the device at path, which keeps what it
// says itself.
func (b *binder) merge(at string, d map[string]any, name string, p *profile) {
	for where, found := range p.places.places {
		where = at + "." + where
		if _, own := b.places.places[where]; !own && len(b.places.places) > 0 { // it knows its own
			found.in = p.places
			b.places.places[where] = found
		}
	}
	if num, own := d["numbering"]; own && num != string(p.numbering) {
		b.bad(child(at, "numbering"), "leave it out, and count the points that you add in the same way",
			"the addresses in profile %q are numbered %q: a device that uses it cannot be numbered otherwise", name, p.numbering)
	}
	own, isTable := d["points"].(map[string]any)
	if _, there := d["points"]; there && !isTable {
		own = nil // told by the table of keys
	} else {
		d["points"] = b.mergePoints(child(at, "points"), own, name, p)
	}
	for k, v := range p.m {
		if _, there := d[k]; !there && !slices.Contains(aboutProfile, k) {
			d[k] = v
		}
	}
}

// mergePoints gives the points of the profile with what the device says of
// them: a key more or another, or false to leave a point out.
func (b *binder) mergePoints(at string, own map[string]any, name string, p *profile) map[string]any {
	theirs, _ := p.m["points"].(map[string]any)
	all := maps.Clone(theirs)
	for _, k := range sortedKeys(own) {
		if own[k] == false {
			if _, there := theirs[k]; !there {
				near := nearest(k, sortedKeys(theirs))
				if near != "" {
					near = fmt.Sprintf("did you mean %q?", near)
				}
				b.badKey(child(at, k), cmp.Or(near, fmt.Sprintf("\"sluice profiles %s\" lists them", name)),
					"profile %q has no point %s to leave out", name, shorten(k))
			}
			delete(all, k)
			continue
		}
		mine, isTable := own[k].(map[string]any)
		given, known := theirs[k].(map[string]any)
		if !isTable || !known {
			all[k] = own[k]
			continue
		}
		point := maps.Clone(given)
		if slices.ContainsFunc(sourceKeys, func(s string) bool { _, there := mine[s]; return there }) {
			maps.DeleteFunc(point, func(k string, _ any) bool { return slices.Contains(sourceKeys, k) })
		}
		maps.Copy(point, mine)
		all[k] = point
	}
	return all
}

// sourceKeys say where the value of a point comes from: it has one of them.
var sourceKeys = []string{"coil", "discrete", "input", "holding", "expr"}

// tablesOf gives the tables of an array of tables, as far as they are tables.
func tablesOf(v any) []map[string]any {
	switch v := v.(type) {
	case []map[string]any:
		return v
	case []any: // an array of inline tables
		all := make([]map[string]any, len(v))
		for i, e := range v {
			all[i], _ = e.(map[string]any)
		}
		return all
	}
	return nil
}
