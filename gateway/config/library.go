package config

import (
	"errors"
	"fmt"
	"io/fs"

	"sluice/adapters/modbus"
)

// Profile is one entry of the device library.
type Profile struct {
	Name       string // as "use" names it
	Title      string
	File       string   // its path; "" if it is shipped with the program
	Serial     string   // speed and format as delivered; "" if the profile does not say
	Source     []string // manuals and their revisions
	Unverified []string // what is not certain
	// Device is what a device gets by the profile, with unit 1.
	Device *modbus.DeviceConfig
}

// Profiles gives all profiles that devices of the configuration in file can
// use, sorted by name: those beside it and those shipped. The file itself need
// not be there. The error is a Problems of the profiles that are broken, which
// are left out.
func Profiles(file string) ([]Profile, error) {
	l := newLibrary(file)
	var all []Profile
	var problems Problems
	for _, name := range l.names() {
		p := l.load(name)
		switch {
		case p == nil: // it has just been deleted
		case len(p.problems) > 0:
			problems = append(problems, p.problems...)
		default:
			all = append(all, p.public(name))
		}
	}
	if len(problems) > 0 {
		return all, problems
	}
	return all, nil
}

// ProfileOf gives one profile. If it is broken, the error is a Problems; if
// there is none of that name, it is fs.ErrNotExist with what may have been
// meant.
func ProfileOf(file, name string) (*Profile, error) {
	l := newLibrary(file)
	if err := checkProfileName(name); err != nil {
		return nil, errors.Join(fs.ErrNotExist, err)
	}
	switch p := l.load(name); {
	case p == nil:
		return nil, fmt.Errorf("there is no profile %s (%w); %s", shorten(name), fs.ErrNotExist, l.hint(name))
	case len(p.problems) > 0:
		return nil, p.problems
	default:
		public := p.public(name)
		return &public, nil
	}
}

func (p *profile) public(name string) Profile {
	return Profile{
		Name: name, Title: p.title, File: p.file, Serial: p.serial,
		Source: p.source, Unverified: p.doubtful, Device: p.device,
	}
}
