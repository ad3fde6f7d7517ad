package bridge

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// TLS says how an upstream is known and how it knows us, on mqtts:// and
// wss://. The files are read for each connection, so that new ones are taken
// up by the next. The zero value trusts what the system trusts.
type TLS struct {
	// CA is a file with the authorities, in PEM, that alone may vouch for the
	// upstream; empty: those of the system.
	CA string
	// Cert and Key are the files of our own certificate, in PEM with the
	// intermediate ones behind it, and of its key; both or none.
	Cert, Key string
	// ALPN is the protocol to ask for (RFC 7301), as AWS IoT Core wants it on
	// port 443; empty: none.
	ALPN string
	// ServerName is the name that the upstream's certificate must have, and
	// that it is asked for; empty: the host of Config.URL.
	ServerName string
}

// Load reads the files. Each error has a method Field() string that names its
// key: "ca", "cert" or "key".
func (t *TLS) Load() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.ALPN != "" {
		conf.NextProtos = []string{t.ALPN}
	}
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &fieldError{field, fmt.Errorf(format, args...)})
	}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		conf.RootCAs = x509.NewCertPool()
		if err != nil {
			bad("ca", "cannot be read: %w", err)
		} else if !conf.RootCAs.AppendCertsFromPEM(pem) {
			bad("ca", "%s holds no certificate in PEM", t.CA)
		}
	}
	switch {
	case t.Cert == "" && t.Key != "":
		bad("key", "%s is a key without its certificate: give that in cert", t.Key)
	case t.Cert != "" && t.Key == "":
		bad("cert", "%s is a certificate without its key: give that in key", t.Cert)
	case t.Cert != "":
		if pair, field, err := t.pair(); err != nil {
			bad(field, "%w", err)
		} else {
			conf.Certificates = []tls.Certificate{pair}
		}
	}
	return conf, errors.Join(errs...)
}

// pair reads our own certificate; field says which file an error is about.
func (t *TLS) pair() (pair tls.Certificate, field string, err error) {
	cert, err := os.ReadFile(t.Cert)
	if err != nil {
		return pair, "cert", fmt.Errorf("cannot be read: %w", err)
	}
	key, err := os.ReadFile(t.Key)
	if err != nil {
		return pair, "key", fmt.Errorf("cannot be read: %w", err)
	}
	pair, err = tls.X509KeyPair(cert, key)
	switch {
	case err == nil:
		return pair, "", nil
	case strings.Contains(err.Error(), "does not match"):
		return pair, "key", fmt.Errorf("%s is not the key of the certificate in %s", t.Key, t.Cert)
	case strings.Contains(string(key), "ENCRYPTED"):
		return pair, "key", fmt.Errorf("%s is protected by a passphrase, which nobody can type here: write it without", t.Key)
	case strings.Contains(err.Error(), "certificate"):
		return pair, "cert", fmt.Errorf("%s is no certificate in PEM: %w", t.Cert, err)
	}
	return pair, "key", fmt.Errorf("%s is no key in PEM: %w", t.Key, err)
}

// Ends returns when our own certificate ends; zero without one.
func (t *TLS) Ends() time.Time {
	if t.Cert == "" {
		return time.Time{}
	}
	pair, _, err := t.pair()
	if err != nil || pair.Leaf == nil {
		return time.Time{}
	}
	return pair.Leaf.NotAfter
}

// day words a date for an error that repeats.
func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// word says what an error of TLS at the time now means and what to do about it;
// others are returned as they are.
func (t *TLS) word(err error, e endpoint, now time.Time) error {
	asked := t.ServerName
	if asked == "" {
		asked = e.host
	}
	if plain, ok := errors.AsType[tls.RecordHeaderError](err); ok && plain.Conn != nil {
		return fmt.Errorf("%s does not speak TLS: use %s://, or the port for TLS", e.addr, strings.TrimSuffix(e.scheme, "s"))
	}
	if host, ok := errors.AsType[x509.HostnameError](err); ok {
		names := append([]string(nil), host.Certificate.DNSNames...)
		for _, ip := range host.Certificate.IPAddresses {
			names = append(names, ip.String())
		}
		if len(names) == 0 {
			names = []string{"nobody: it has no subject alternative name"}
		}
		return fmt.Errorf("the certificate of %s is not for %q but for %s: use that name in url, or in server_name", e.addr, asked, strings.Join(names, ", "))
	}
	if bad, ok := errors.AsType[x509.CertificateInvalidError](err); ok && bad.Reason == x509.Expired {
		if now.Before(bad.Cert.NotBefore) {
			return fmt.Errorf("the certificate of %s begins on %s: is the clock of this machine right?", e.addr, day(bad.Cert.NotBefore))
		}
		return fmt.Errorf("the certificate of %s has expired on %s: it must be renewed there, if the clock of this machine is right", e.addr, day(bad.Cert.NotAfter))
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		if t.CA == "" {
			return fmt.Errorf("the certificate of %s is signed by an authority that this machine does not know: give its certificate in ca", e.addr)
		}
		return fmt.Errorf("the certificate of %s is not signed by an authority in %s", e.addr, t.CA)
	}
	if alert, ok := remoteAlert(err); ok {
		return t.wordAlert(alert, e, asked, now)
	}
	return err
}

// remoteAlert finds the alert of TLS (RFC 8446, 6) by which the upstream ended
// the connection.
func remoteAlert(err error) (string, bool) {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" {
		return "", false
	}
	return strings.TrimPrefix(op.Err.Error(), "tls: "), true
}

func (t *TLS) wordAlert(alert string, e endpoint, asked string, now time.Time) error {
	ours := "our certificate in " + t.Cert
	if ends := t.Ends(); !ends.IsZero() && now.After(ends) {
		ours = fmt.Sprintf("%s, which has expired on %s", ours, day(ends))
	}
	switch {
	case t.Cert == "" && (alert == "certificate required" || alert == "handshake failure" || alert == "bad certificate"):
		return fmt.Errorf("%s ends the handshake (%s): if it demands a certificate of us, give it in cert and key", e.addr, alert)
	case strings.Contains(alert, "certificate"):
		return fmt.Errorf("%s refuses %s: %s", e.addr, ours, alert)
	case alert == "no application protocol":
		return fmt.Errorf("%s does not offer the protocol %q: check alpn and the port", e.addr, t.ALPN)
	case alert == "unrecognized name":
		return fmt.Errorf("%s does not know the name %q: check server_name", e.addr, asked)
	case alert == "protocol version not supported":
		return fmt.Errorf("%s speaks neither TLS 1.2 nor 1.3", e.addr)
	}
	return fmt.Errorf("%s ends the TLS connection: %s", e.addr, alert)
}
