// Package topic knows MQTT topic names and topic filters (MQTT 5, 4.7 and
// 4.8.2; the same in 3.1.1), and holds two collections of them that are made
// for one writer at a time and any number of readers who never wait: Tree, from
// a published name to its subscribers, and Names, from a subscribed filter to
// the retained messages.
//
// Nothing here recurses or grows faster than its input: a topic may have all
// the 65,536 levels that 65,535 bytes can make.
package topic

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// MaxLen is the longest name or filter, in bytes: a string of MQTT says its
// length in 16 bits [MQTT-4.7.3-3].
const MaxLen = 65535

// What can be wrong with a name or filter.
var (
	errEmpty    = errors.New("topic is empty")
	errLong     = fmt.Errorf("topic is longer than %d bytes", MaxLen)
	errUTF8     = errors.New("topic is not UTF-8")
	errNUL      = errors.New("topic holds U+0000")
	errWildName = errors.New("topic name holds a wildcard, + or #")
	errPlus     = errors.New("+ shares its level of the topic filter with other characters")
	errHash     = errors.New("# is not alone in the last level of the topic filter")
	errShare    = errors.New("shared subscription is not of the form $share/name/filter")
	errGroup    = errors.New("share name is empty or holds a wildcard, + or #")
)

// ValidName judges a topic name, as in PUBLISH; nil if it is one
// [MQTT-3.3.2-2, MQTT-4.7.3-1, -2, -3].
func ValidName[T ~string | ~[]byte](name T) error {
	s := text(name)
	if err := validText(s); err != nil {
		return err
	}
	if strings.IndexByte(s, '+') >= 0 || strings.IndexByte(s, '#') >= 0 {
		return errWildName
	}
	return nil
}

// ValidFilter judges a topic filter, as in SUBSCRIBE; nil if it is one
// [MQTT-4.7.1-1, -2, MQTT-4.7.3-1, -2, -3]. Of a shared subscription, give
// the filter that ParseShare found.
func ValidFilter[T ~string | ~[]byte](filter T) error {
	s := text(filter)
	if err := validText(s); err != nil {
		return err
	}
	for i := range len(s) {
		switch s[i] {
		case '+':
			if i > 0 && s[i-1] != '/' || i+1 < len(s) && s[i+1] != '/' {
				return errPlus
			}
		case '#':
			if i > 0 && s[i-1] != '/' || i+1 < len(s) {
				return errHash
			}
		}
	}
	return nil
}

func validText(s string) error {
	switch {
	case s == "":
		return errEmpty
	case len(s) > MaxLen:
		return errLong
	case strings.IndexByte(s, 0) >= 0:
		return errNUL
	case !utf8.ValidString(s):
		return errUTF8
	}
	return nil
}

// HasWildcard reports whether a filter holds a wildcard, so that it can match
// more than one name.
func HasWildcard[T ~string | ~[]byte](filter T) bool {
	s := text(filter)
	return strings.IndexByte(s, '+') >= 0 || strings.IndexByte(s, '#') >= 0
}

// Levels counts the levels of a name or filter: one more than its slashes.
func Levels[T ~string | ~[]byte](topic T) int {
	return 1 + strings.Count(text(topic), "/")
}

// ParseShare takes a shared subscription, $share/group/filter, apart. ok is
// false, without an error, for a filter that is not shared. A share name that
// is empty or holds a wildcard is an error [MQTT-4.8.2-1], as is a missing
// filter [MQTT-4.8.2-2]; whether the filter inside is valid is ValidFilter's.
func ParseShare(filter string) (group, inner string, ok bool, err error) {
	rest, shared := strings.CutPrefix(filter, "$share/")
	if !shared {
		return "", "", false, nil
	}
	group, inner, cut := strings.Cut(rest, "/")
	if group == "" || HasWildcard(group) {
		return "", "", true, errGroup
	}
	if !cut || inner == "" {
		return "", "", true, errShare
	}
	return group, inner, true, nil
}

// Match reports whether a valid filter matches a valid name (MQTT 5, 4.7). A
// filter that starts with a wildcard does not match a name that starts with $
// [MQTT-4.7.2-1]. A filter of a shared subscription matches as if $share were
// an ordinary level: give the filter inside.
func Match[F, N ~string | ~[]byte](filter F, name N) bool {
	f, n := text(filter), text(name)
	if f == "" || n == "" {
		return false
	}
	if n[0] == '$' && (f[0] == '+' || f[0] == '#') {
		return false
	}
	for {
		fLevel, fRest, fMore := strings.Cut(f, "/")
		if fLevel == "#" {
			return true
		}
		nLevel, nRest, nMore := strings.Cut(n, "/")
		if fLevel != "+" && fLevel != nLevel {
			return false
		}
		switch {
		case fMore && nMore:
			f, n = fRest, nRest
		case fMore:
			return fRest == "#" // "a/#" matches "a" too
		default:
			return !nMore
		}
	}
}

// Covers reports whether a valid filter matches every name that another valid
// filter matches. Of "+/#" and "#", which match the same, it says no.
func Covers(filter, other string) bool {
	if filter == "" || other == "" {
		return false
	}
	if other[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	for {
		fLevel, fRest, fMore := strings.Cut(filter, "/")
		if fLevel == "#" {
			return true
		}
		oLevel, oRest, oMore := strings.Cut(other, "/")
		if oLevel == "#" || fLevel != "+" && fLevel != oLevel {
			return false
		}
		switch {
		case fMore && oMore:
			filter, other = fRest, oRest
		case fMore:
			return fRest == "#" // "a/#" matches "a" too
		default:
			return !oMore
		}
	}
}

// text sees t as a string without copying it: a string and the front of a slice
// are laid out alike. Nobody may keep the result for longer than t stays as is.
func text[T ~string | ~[]byte](t T) string {
	return *(*string)(unsafe.Pointer(&t))
}
