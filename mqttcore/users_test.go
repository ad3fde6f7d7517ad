package mqttcore

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

func b64(b []byte) string { return base64.RawStdEncoding.EncodeToString(b) }

// cheapSecret hashes a password at the least cost, so that tests are fast.
func cheapSecret(password string) string {
	salt := []byte("0123456789abcdef")
	s := secret{memory: 8, time: 1, lanes: 1, salt: salt, key: argon2.IDKey([]byte(password), salt, 1, 8, 1, 16)}
	return fmt.Sprintf("$argon2id$v=19$m=8,t=1,p=1$%s$%s", b64(s.salt), b64(s.key))
}

// usersOf makes users of name and password in turn.
func usersOf(t testing.TB, pairs ...string) *Users {
	t.Helper()
	var text strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(&text, "%s:%s\n", pairs[i], cheapSecret(pairs[i+1]))
	}
	u, err := parseUsers("users", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestUsersFile(t *testing.T) {
	good := cheapSecret("secret")
	weak, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("what is understood", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "users")
		text := "# people\n\nanna:" + good + "\r\nbob smith:" + string(weak) + "\nчай:" + good
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		u, err := LoadUsers(path)
		if err != nil {
			t.Fatal(err)
		}
		if u.Len() != 3 || u.Exposed() {
			t.Errorf("%d users, exposed %v", u.Len(), u.Exposed())
		}
		for _, name := range []string{"anna", "bob smith", "чай"} {
			s := u.list[name]
			if !u.Has(name) || !s.matches([]byte("secret")) || s.matches([]byte("Secret")) {
				t.Errorf("%s is not verified as should be", name)
			}
		}
		if u.Has("#") || u.Has("") || u.Has("ann") {
			t.Error("a user that is not there")
		}
	})
	t.Run("what is refused names its line and shows none of it", func(t *testing.T) {
		const sentinel = "Tr0ub4dor"
		for name, line := range map[string]string{
			"plain password":     "anna:" + sentinel,
			"no colon":           sentinel,
			"no name":            ":" + good,
			"everyone":           "*:" + good,
			"blank in front":     " anna:" + good,
			"control character":  "an\tna:" + good,
			"not UTF-8":          "an\xffna:" + good,
			"twice":              "first:" + good,
			"another version":    "anna:" + strings.Replace(good, "v=19", "v=16", 1),
			"argon2i":            "anna:" + strings.Replace(good, "argon2id", "argon2i", 1),
			"no salt":            "anna:$argon2id$v=19$m=8,t=1,p=1$$" + b64(make([]byte, 16)),
			"no hash":            "anna:$argon2id$v=19$m=8,t=1,p=1$" + b64(make([]byte, 16)) + "$",
			"short hash":         "anna:$argon2id$v=19$m=8,t=1,p=1$" + b64(make([]byte, 16)) + "$" + b64(make([]byte, 4)),
			"no passes":          "anna:" + strings.Replace(good, "t=1", "t=0", 1),
			"no lanes":           "anna:" + strings.Replace(good, "p=1", "p=0", 1),
			"too little memory":  "anna:" + strings.Replace(good, "m=8", "m=1", 1),
			"far too dear":       "anna:" + strings.Replace(good, "m=8", "m=4194304", 1),
			"endless":            "anna:" + strings.Replace(good, "t=1", "t=4000000", 1),
			"overflow":           "anna:" + strings.Replace(good, "t=1", "t=4294967297", 1),
			"parameters mixed":   "anna:" + strings.Replace(good, "m=8,t=1", "t=1,m=8", 1),
			"blank behind":       "anna:" + good + " ",
			"bcrypt cut off":     "anna:" + string(weak[:40]),
			"bcrypt far to dear": "anna:" + strings.Replace(string(weak), "$04$", "$31$", 1),
			"no hash at all":     "anna:",
		} {
			t.Run(name, func(t *testing.T) {
				u, err := parseUsers("users", []byte("first:"+good+"\n"+line+"\n"))
				if err == nil || u != nil {
					t.Fatalf("accepted: %v", u)
				}
				if !strings.HasPrefix(err.Error(), "users:2: ") || strings.Contains(err.Error(), sentinel) {
					t.Errorf("said %q", err)
				}
			})
		}
	})
	t.Run("every wrong line is told", func(t *testing.T) {
		_, err := parseUsers("users", []byte("a\n#\nb\n"))
		if err == nil || !strings.Contains(err.Error(), "users:1:") || !strings.Contains(err.Error(), "users:3:") {
			t.Errorf("said %v", err)
		}
	})
	t.Run("a file that others may change is refused, one that they may read told", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "users")
		if err := os.WriteFile(path, []byte("anna:"+good+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for mode, ok := range map[os.FileMode]bool{0o646: false, 0o644: true, 0o640: true} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			u, err := LoadUsers(path)
			if (err == nil) != ok || u.Exposed() != (mode == 0o644) {
				t.Errorf("%o: exposed %v, %v", mode, u.Exposed(), err)
			}
		}
	})
	t.Run("a file that is none", func(t *testing.T) {
		for _, path := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
			if u, err := LoadUsers(path); err == nil || u != nil {
				t.Errorf("%s was accepted", path)
			}
		}
	})
}

func TestEditUsers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "users")
	created, err := SetUser(path, "anna", []byte("one"))
	if err != nil || !created {
		t.Fatal(created, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(first), "anna:$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("wrote %q", first)
	}
	// With a comment, without the end of a line, for a group, through a link.
	if err := os.WriteFile(path, []byte("# people\n"+strings.TrimSpace(string(first))), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	group := os.Getgid()
	if os.Getuid() == 0 {
		group = 4242
		if err := os.Chown(path, 4241, group); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("users", link); err != nil {
		t.Fatal(err)
	}
	if created, err = SetUser(link, "bob", []byte("two")); err != nil || !created {
		t.Fatal(created, err)
	}
	if created, err = SetUser(link, "anna", []byte("three")); err != nil || created {
		t.Fatal(created, err)
	}
	u, err := LoadUsers(path)
	if err != nil || u.Len() != 2 {
		t.Fatal(u, err)
	}
	for name, password := range map[string]string{"anna": "three", "bob": "two"} {
		if s := u.list[name]; !s.matches([]byte(password)) {
			t.Errorf("%s has another password", name)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(text), "# people\nanna:") {
		t.Errorf("comments or order are lost: %q, %v", text, err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != 0o640 || int(info.Sys().(*syscall.Stat_t).Gid) != group {
		t.Errorf("owner or mode are not kept: %v, %v", info.Mode(), err)
	}
	if to, err := os.Readlink(link); err != nil || to != "users" {
		t.Errorf("the link is gone: %v", err)
	}
	if err := DeleteUser(path, "anna"); err != nil {
		t.Fatal(err)
	}
	if err := DeleteUser(path, "anna"); !errors.Is(err, ErrNoUser) {
		t.Errorf("deleted twice: %v", err)
	}
	if u, err = LoadUsers(path); err != nil || u.Has("anna") || !u.Has("bob") {
		t.Errorf("after deleting: %v", err)
	}

	t.Run("what is refused leaves the file", func(t *testing.T) {
		before, _ := os.ReadFile(path)
		for _, name := range []string{"", "*", "a:b", "#a", "a\nb", strings.Repeat("a", 300)} {
			if _, err := SetUser(path, name, []byte("x")); err == nil {
				t.Errorf("%q was accepted", name)
			}
		}
		if _, err := SetUser(path, "eve", nil); err == nil {
			t.Error("an empty password was accepted")
		}
		if after, _ := os.ReadFile(path); string(after) != string(before) {
			t.Error("the file changed")
		}
		broken := filepath.Join(dir, "broken")
		if err := os.WriteFile(broken, []byte("plain text\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := SetUser(broken, "eve", []byte("x")); err == nil || !strings.Contains(err.Error(), "broken:1:") {
			t.Errorf("a broken file was edited: %v", err)
		}
		if err := DeleteUser(filepath.Join(dir, "none"), "eve"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a file that is not there: %v", err)
		}
	})
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
