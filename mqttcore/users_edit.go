package mqttcore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxPassword is the most that MQTT can carry (MQTT 5.0, 3.1.3.6).
const maxPassword = 65535

// ErrNoUser says that a users file does not have the user.
var ErrNoUser = errors.New("no such user")

// SetUser adds a user to a users file, or gives one that is there another
// password, which is kept as a hash of argon2id. A file that is not there is
// made with mode 0600. created says that the user is new. See [DeleteUser] for
// how the file is changed.
func SetUser(path, name string, password []byte) (created bool, err error) {
	if err := CheckUser(name); err != nil {
		return false, err
	}
	if len(password) == 0 || len(password) > maxPassword {
		return false, fmt.Errorf("a password has 1 to %d bytes", maxPassword)
	}
	s := newSecret(password)
	err = editUsers(path, true, func(text []byte) ([]byte, error) {
		line := []byte(name + ":" + s.text + "\n")
		if out, found := replaceUser(text, name, line); found {
			return out, nil
		}
		created = true
		if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
			text = append(text, '\n')
		}
		return append(text, line...), nil
	})
	return created, err
}

// DeleteUser takes a user out of a users file; [ErrNoUser] if it is not there.
// The file is replaced as a whole, so that a reader or a power cut finds it as
// before or as after; comments, order, owner, group and, without what others
// may do, mode are kept. A file with an error in it is left alone.
func DeleteUser(path, name string) error {
	return editUsers(path, false, func(text []byte) ([]byte, error) {
		out, found := replaceUser(text, name, nil)
		if !found {
			return nil, fmt.Errorf("%w: %q in %s", ErrNoUser, name, path)
		}
		return out, nil
	})
}

// replaceUser puts line in the place of the user's.
func replaceUser(text []byte, name string, line []byte) (out []byte, found bool) {
	for old := range bytes.Lines(text) {
		if !found && bytes.HasPrefix(old, []byte(name+":")) {
			out, found = append(out, line...), true
			continue
		}
		out = append(out, old...)
	}
	return out, found
}

// editUsers replaces the content of a users file by what edit makes of it.
func editUsers(path string, create bool, edit func([]byte) ([]byte, error)) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // a link stays one
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("users file: %w", err)
	}
	defer func() { _ = dir.Close() }()
	// The folder is locked, as the file is about to be another one.
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("users file %s: someone else is changing it: try again", path)
	}
	text, mode, err := readUsers(path)
	if errors.Is(err, os.ErrNotExist) && create {
		mode, err = 0o600, nil
	}
	if err != nil {
		return fmt.Errorf("users file: %w", err)
	}
	if _, err := parseUsers(path, text); err != nil {
		return err
	}
	if text, err = edit(text); err != nil {
		return err
	}
	if err := replaceFile(path, text, mode&0o640|0o600); err != nil {
		return fmt.Errorf("users file %s: %w", path, err)
	}
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("users file %s: %w", path, err)
	}
	return nil
}

// replaceFile writes a file beside path, for the same owner and group, and
// puts it there.
func replaceFile(path string, text []byte, mode os.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = keepOwner(f, path)
	}
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

// keepOwner gives f the owner and group of the file at path, if there is one.
func keepOwner(f *os.File, path string) error {
	old, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := f.Stat()
	if err != nil {
		return err
	}
	was, is := old.Sys().(*syscall.Stat_t), now.Sys().(*syscall.Stat_t)
	if was.Uid == is.Uid && was.Gid == is.Gid {
		return nil
	}
	if err := f.Chown(int(was.Uid), int(was.Gid)); err != nil {
		return fmt.Errorf("cannot keep its owner and group: run this as its owner or as root: %w", err)
	}
	return nil
}
