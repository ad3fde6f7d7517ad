package mqttcore

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// lookEvery is how often handshakes look whether the files have changed.
const lookEvery = time.Second

// soonOver is how long before its end a certificate is warned about.
const soonOver = 14 * 24 * time.Hour

// keyring holds what the listeners with TLS need, as the files have it now.
// New files take effect with the next handshake; connections go on with what
// they have begun with. Files that are not good change nothing.
type keyring struct {
	files [3]string // certificate, key, authorities of clients; the last may be empty
	log   *slog.Logger

	mu     sync.Mutex
	now    *tls.Config
	stamps [3]stamp
	looked time.Time
	fault  string // of the last look, logged
}

// stamp tells one state of a file from another.
type stamp struct {
	changed, size int64
	inode         uint64
}

func newKeyring(cfg *Config, log *slog.Logger) *keyring {
	return &keyring{files: [3]string{cfg.Cert, cfg.Key, cfg.ClientCA}, log: log}
}

// open reads the files for the first time.
func (k *keyring) open() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.readLocked()
}

// listenerConfig is for the listeners: it asks for the files' state at each
// handshake.
func (k *keyring) listenerConfig() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return k.current(), nil },
	}
}

// current looks at the files if that was some time ago.
func (k *keyring) current() *tls.Config {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.looked) >= lookEvery {
		k.lookLocked()
	}
	return k.now
}

// look reads the files again if they have changed.
func (k *keyring) look() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.now != nil {
		k.lookLocked()
	}
}

func (k *keyring) lookLocked() {
	k.looked = time.Now()
	if k.fault == "" && k.stampsLocked() == k.stamps {
		return
	}
	err := k.readLocked()
	switch {
	case err == nil:
		k.fault = ""
		k.log.Info("new certificate taken", "cert", k.files[0], "valid", validity(k.now.Certificates[0].Leaf))
	case err.Error() != k.fault:
		k.fault = err.Error()
		k.log.Error("the former certificate stays in use: the new files are not good", "err", err)
	}
}

func (k *keyring) stampsLocked() (all [3]stamp) {
	for i, name := range k.files {
		var st unix.Stat_t
		if name != "" && unix.Stat(name, &st) == nil {
			all[i] = stamp{st.Mtim.Nano(), st.Size, st.Ino}
		}
	}
	return all
}

func (k *keyring) readLocked() error {
	stamps := k.stampsLocked() // first: what changes while it is read is read again
	cfg, err := readKeys(k.files[0], k.files[1], k.files[2])
	if err != nil {
		return err
	}
	k.now, k.stamps, k.looked = cfg, stamps, time.Now()
	leaf := cfg.Certificates[0].Leaf
	switch now := time.Now(); {
	case now.After(leaf.NotAfter):
		k.log.Warn("the certificate is over: clients will not accept it", "cert", k.files[0], "valid", validity(leaf))
	case now.Before(leaf.NotBefore):
		k.log.Warn("the certificate is not valid yet, or the clock of this machine is behind", "cert", k.files[0], "valid", validity(leaf))
	case leaf.NotAfter.Sub(now) < soonOver:
		k.log.Warn("the certificate is over soon", "cert", k.files[0], "valid", validity(leaf))
	}
	return nil
}

func validity(c *x509.Certificate) string {
	return c.NotBefore.UTC().Format(time.DateOnly) + " to " + c.NotAfter.UTC().Format(time.DateOnly)
}

// largestKeys bounds each of the files, in bytes.
const largestKeys = 1 << 20

// readKeys makes the configuration of TLS from its files. An error names the
// key of the configuration that is to blame.
func readKeys(cert, key, ca string) (*tls.Config, error) {
	certPEM, err := readKeyFile("cert", cert)
	if err != nil {
		return nil, err
	}
	keyPEM, err := readKeyFile("key", key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		field, name := "cert", cert
		if hasCertificate(certPEM) {
			field, name = "key", key
		}
		return nil, &fieldError{field, fmt.Errorf("%s: %w", name, err)}
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if ca == "" {
		return cfg, nil
	}
	caPEM, err := readKeyFile("client_ca", ca)
	if err != nil {
		return nil, err
	}
	cfg.ClientCAs = x509.NewCertPool()
	if !cfg.ClientCAs.AppendCertsFromPEM(caPEM) {
		return nil, &fieldError{"client_ca", fmt.Errorf("%s has no certificate in it", ca)}
	}
	cfg.ClientAuth = tls.VerifyClientCertIfGiven
	cfg.SessionTicketsDisabled = true // each client shows its certificate to the authorities of today
	return cfg, nil
}

// hasCertificate says that text begins with a certificate that is well formed.
func hasCertificate(text []byte) bool {
	block, _ := pem.Decode(text)
	if block == nil {
		return false
	}
	_, err := x509.ParseCertificate(block.Bytes)
	return err == nil
}

func readKeyFile(field, name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > largestKeys) {
		err = fmt.Errorf("%s is no file of certificates", name)
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(name)
	}
	if err != nil {
		return nil, &fieldError{field, fmt.Errorf("cannot read it: %w", err)}
	}
	return b, nil
}

// validateKeys checks the keys of TLS, and that the listeners have what they
// need.
func (c *Config) validateKeys(bad func(field, format string, args ...any)) {
	for i, s := range c.Listen {
		if e, err := parseEndpoint(s); err == nil && e.secure() && c.Cert == "" {
			bad(fmt.Sprintf("listen.%d", i), `%s needs the keys "cert" and "key": the files of a certificate and of its key`, s)
		}
	}
	switch {
	case c.Cert == "" && c.Key == "" && c.ClientCA == "":
	case c.Cert == "" && c.Key != "":
		bad("key", `"cert" is missing: the file of the certificate`)
	case c.Cert == "":
		bad("client_ca", `"cert" and "key" are missing: the files of our own certificate and of its key`)
	case c.Key == "":
		bad("cert", `"key" is missing: the file of the key of this certificate`)
	default:
		_, err := readKeys(c.Cert, c.Key, c.ClientCA)
		var at *fieldError
		if errors.As(err, &at) {
			bad(at.field, "%w", at.err)
		}
	}
}
