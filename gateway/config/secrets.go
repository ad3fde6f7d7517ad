package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sluice/bridge"
)

// longestPassword is the most that MQTT can carry (MQTT 5, 3.1.3.6).
const longestPassword = 65535

// secretOf reads the password of an upstream, where it has one.
func (b *binder) secretOf(u *rawUpstream) []byte {
	file, credential := u.at("password_file"), u.at("credential")
	switch {
	case !b.fine(file, credential):
	case u.has("password_file") && u.has("credential"):
		b.bad(credential, "", "%s has two passwords: expected password_file or credential", u.title())
	case u.has("password_file"):
		return b.password(u, file, b.relative(u.passwordFile))
	case u.has("credential"):
		folder := os.Getenv("CREDENTIALS_DIRECTORY")
		if folder == "" {
			b.warn(credential, fmt.Sprintf("LoadCredential=%s:/path/of/the/password in the unit; elsewhere use password_file", u.credential),
				"there are no credentials here: only a service of systemd that loads them has some. %s has no password", u.title())
			return nil
		}
		return b.password(u, credential, filepath.Join(folder, u.credential))
	}
	return nil
}

// checkCredential wants a name that systemd takes for a credential.
func checkCredential(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/:") {
		return fmt.Errorf("%q is no name of a file", name)
	}
	return nil
}

// password reads the password of an upstream: the file without the end of its
// line. What it says is never part of a message.
func (b *binder) password(u *rawUpstream, at, path string) []byte {
	if !u.has("username") {
		b.bad(at, "", `a password needs a user name: %s needs the key "username"`, u.title())
	}
	info, err := os.Stat(path)
	if err != nil {
		b.bad(at, "", "cannot read the password: %v", err)
		return nil
	}
	if !info.Mode().IsRegular() || info.Size() > longestPassword+2 {
		b.bad(at, "", "expected a file with one password, which %s is not", path)
		return nil
	}
	secret, err := os.ReadFile(path)
	if err != nil {
		b.bad(at, "", "cannot read the password: %v", err)
		return nil
	}
	secret = bytes.TrimSuffix(bytes.TrimSuffix(secret, []byte("\n")), []byte("\r"))
	if len(secret) == 0 {
		b.bad(at, "", "%s is empty: expected a password in it", path)
	}
	if mode := info.Mode().Perm(); mode&0o004 != 0 {
		b.warn(at, fmt.Sprintf("chmod %04o %s", mode&^0o007, path), "everyone on this machine can read the password in %s", path)
	}
	return secret
}

// soonOver is how long before its end a certificate is warned about.
const soonOver = 14 * day

// tls settles how an upstream is known and how it knows us. The files are read
// here only to be judged: the link reads them for each connection.
func (b *binder) tls(u *rawUpstream) bridge.TLS {
	path := func(key, value string) string {
		if value == "" && u.has(key) && b.fine(u.at(key)) {
			b.bad(u.at(key), "", "it is empty: expected the path of a file")
		}
		if value == "" {
			return ""
		}
		return b.relative(value)
	}
	t := bridge.TLS{
		CA: path("ca", u.ca), Cert: path("cert", u.cert), Key: path("key", u.key), ALPN: u.alpn, ServerName: u.serverName,
	}
	if !b.fine(u.at("url")) {
		return t
	}
	scheme, _, _ := strings.Cut(u.url, "://")
	for _, key := range []string{"ca", "cert", "key", "alpn", "server_name"} {
		switch {
		case !u.has(key) || !b.fine(u.at(key)):
		case scheme != "mqtts" && scheme != "wss":
			b.bad(u.at(key), "use mqtts:// or wss:// in url", "%q is for TLS, and %s is without", key, u.url)
		case key == "alpn" && scheme == "wss":
			b.bad(u.at(key), "use mqtts:// in url", `"alpn" is for mqtts://: wss:// is HTTP`)
		}
	}
	if !b.fine(u.at("ca"), u.at("cert"), u.at("key")) {
		return t
	}
	if _, err := t.Load(); err != nil {
		for _, one := range err.(interface{ Unwrap() []error }).Unwrap() {
			key := one.(interface{ Field() string }).Field()
			b.bad(u.at(key), "", "%v", errors.Unwrap(one))
		}
		return t
	}
	if ends := t.Ends(); !ends.IsZero() && time.Until(ends) < soonOver {
		word := "ends"
		if time.Now().After(ends) {
			word = "has ended"
		}
		b.warn(u.at("cert"), "put a new one in its place: it is taken up with the next connection",
			"the certificate in %s %s on %s", t.Cert, word, ends.UTC().Format(time.DateOnly))
	}
	return t
}
