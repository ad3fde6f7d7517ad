package mqttcore

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// What a new hash costs: the first choice of OWASP's password storage cheat
// sheet for argon2id.
const (
	argonMemory = 19 << 10 // KiB
	argonTime   = 2
	argonLanes  = 1
	saltSize    = 16
	keySize     = 32
)

// What a hash in a users file may cost: each login costs it again.
const (
	maxArgonMemory = 64 << 10 // KiB
	maxArgonTime   = 10
	maxArgonLanes  = 4
	maxBcryptCost  = 14
)

// secret is the hash of one password.
type secret struct {
	text string // as in the file

	// Of argon2id; key is nil for bcrypt.
	memory, time uint32
	lanes        uint8
	salt, key    []byte
}

var (
	errHash   = errors.New("expected a hash of argon2id ($argon2id$v=19$m=…,t=…,p=…$salt$hash) or bcrypt ($2b$…): write it with `sluice passwd`")
	errCostly = fmt.Errorf("the hash costs too much for each login: at most m=%d,t=%d,p=%d for argon2id and %d for bcrypt",
		maxArgonMemory, maxArgonTime, maxArgonLanes, maxBcryptCost)
)

// newSecret hashes a password by argon2id with a salt of its own (RFC 9106).
func newSecret(password []byte) secret {
	s := secret{memory: argonMemory, time: argonTime, lanes: argonLanes, salt: make([]byte, saltSize)}
	_, _ = rand.Read(s.salt) // never fails
	s.key = argon2.IDKey(password, s.salt, s.time, s.memory, s.lanes, keySize)
	b64 := base64.RawStdEncoding
	s.text = fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, s.memory, s.time, s.lanes,
		b64.EncodeToString(s.salt), b64.EncodeToString(s.key))
	return s
}

// parseSecret reads a hash and refuses what could not be verified, or only at
// a cost that would hold up everyone else.
func parseSecret(text string) (secret, error) {
	switch {
	case strings.HasPrefix(text, "$argon2id$"):
		return parseArgon(text)
	case strings.HasPrefix(text, "$2a$"), strings.HasPrefix(text, "$2b$"), strings.HasPrefix(text, "$2y$"):
		return parseBcrypt(text)
	}
	return secret{}, errHash
}

func parseBcrypt(text string) (secret, error) {
	cost, err := bcrypt.Cost([]byte(text))
	const whole, front = 60, len("$2b$10$")
	if err != nil || len(text) != whole ||
		strings.Trim(text[front:], "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return secret{}, errHash
	}
	if cost > maxBcryptCost {
		return secret{}, errCostly
	}
	return secret{text: text}, nil
}

func parseArgon(text string) (s secret, err error) {
	fields := strings.Split(text, "$") // "", argon2id, v=19, m=,t=,p=, salt, key
	if len(fields) != 6 || fields[2] != "v="+strconv.Itoa(argon2.Version) {
		return s, errHash
	}
	costs := strings.Split(fields[3], ",")
	if len(costs) != 3 {
		return s, errHash
	}
	var n [3]uint64
	for i, name := range []string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(costs[i], name)
		if n[i], err = strconv.ParseUint(digits, 10, 31); !ok || err != nil {
			return s, errHash
		}
	}
	if n[0] > maxArgonMemory || n[1] > maxArgonTime || n[2] > maxArgonLanes {
		return s, errCostly
	}
	s = secret{text: text, memory: uint32(n[0]), time: uint32(n[1]), lanes: uint8(n[2])}
	strict := base64.RawStdEncoding.Strict()
	var bad error
	if s.salt, err = strict.DecodeString(fields[4]); err != nil || len(s.salt) < 8 || len(s.salt) > 64 {
		bad = errHash
	}
	if s.key, err = strict.DecodeString(fields[5]); err != nil || len(s.key) < 16 || len(s.key) > 64 {
		bad = errHash
	}
	if bad != nil || s.time < 1 || s.lanes < 1 || s.memory < 8*uint32(s.lanes) {
		return secret{}, errHash
	}
	return s, nil
}

// matches compares in constant time.
func (s *secret) matches(password []byte) bool {
	if s.key == nil {
		return bcrypt.CompareHashAndPassword([]byte(s.text), password) == nil
	}
	key := argon2.IDKey(password, s.salt, s.time, s.memory, s.lanes, uint32(len(s.key)))
	return subtle.ConstantTimeCompare(key, s.key) == 1
}
