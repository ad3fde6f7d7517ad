package mqttcore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Users is who may log in with a password: the content of a users file. It
// does not change and may be read from any goroutine.
type Users struct {
	list    map[string]secret
	names   []string // in the order of the file
	exposed bool
}

// maxUsersFile bounds a users file, in bytes.
const maxUsersFile = 16 << 20

// maxUserName bounds a user name, in bytes.
const maxUserName = 256

// LoadUsers reads a users file: one `name:hash` per line, the hash of
// argon2id in PHC form or of bcrypt; empty lines and lines that begin with #
// do not count. Any other line is an error that names it: a file that is half
// understood lets nobody in. No error holds text of the file.
func LoadUsers(path string) (*Users, error) {
	text, mode, err := readUsers(path)
	if err != nil {
		return nil, fmt.Errorf("users file: %w", err)
	}
	if mode&0o002 != 0 {
		return nil, fmt.Errorf("users file %s: everyone on this machine can change it: chmod %04o it", path, mode&^0o007)
	}
	u, err := parseUsers(path, text)
	if err != nil {
		return nil, err
	}
	u.exposed = mode&0o004 != 0
	return u, nil
}

// readUsers reads a whole file and tells its permissions.
func readUsers(path string) (text []byte, mode os.FileMode, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a file", path)
	}
	text, err = io.ReadAll(io.LimitReader(f, maxUsersFile+1))
	if err == nil && len(text) > maxUsersFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxUsersFile)
	}
	return text, info.Mode().Perm(), err
}

// parseUsers reads the lines of a users file.
func parseUsers(path string, text []byte) (*Users, error) {
	u := &Users{list: map[string]secret{}}
	var all []error
	n := 0
	for line := range bytes.Lines(text) {
		n++
		name, s, err := parseUser(string(bytes.TrimRight(line, "\r\n")))
		switch {
		case err != nil:
		case name == "":
			continue
		case u.Has(name):
			err = errors.New("this user is there already")
		}
		if err != nil {
			all = append(all, fmt.Errorf("%s:%d: %w", path, n, err))
			continue
		}
		u.list[name] = s
		u.names = append(u.names, name)
	}
	if len(all) > 0 {
		return nil, errors.Join(all...)
	}
	return u, nil
}

// parseUser reads one line; an empty name: nothing is on it.
func parseUser(line string) (name string, s secret, err error) {
	if strings.TrimSpace(line) == "" || line[0] == '#' {
		return "", s, nil
	}
	name, hash, ok := strings.Cut(line, ":")
	if !ok {
		return "", s, errors.New("expected name:hash, as `sluice passwd` writes it")
	}
	if err := CheckUser(name); err != nil {
		return "", s, err
	}
	s, err = parseSecret(hash)
	return name, s, err
}

// CheckUser says what is wrong with a user's name: it must be one field of the
// users file, 1 to 256 bytes of UTF-8 without a colon, and nothing that the
// access rules take for something else.
func CheckUser(name string) error {
	switch {
	case name == "":
		return errors.New("the user name is empty")
	case len(name) > maxUserName:
		return fmt.Errorf("the user name is longer than %d bytes", maxUserName)
	case name == "*":
		return errors.New(`a user cannot be named "*": that means everyone in [[broker.acl]]`)
	case name[0] == '#':
		return errors.New("the user name begins with #, which begins a comment")
	case strings.TrimSpace(name) != name:
		return errors.New("the user name begins or ends with a blank")
	case strings.Contains(name, ":"):
		return errors.New("the user name has a colon in it")
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return errors.New("the user name has a control character in it")
	}
	return nil
}

// Has reports whether a user of that name may log in. A nil Users has none.
func (u *Users) Has(name string) bool {
	if u == nil {
		return false
	}
	_, ok := u.list[name]
	return ok
}

// Len is the number of users.
func (u *Users) Len() int {
	if u == nil {
		return 0
	}
	return len(u.list)
}

// Exposed reports whether everyone on the machine could read the file when it
// was loaded.
func (u *Users) Exposed() bool { return u != nil && u.exposed }
