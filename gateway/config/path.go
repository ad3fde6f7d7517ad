package config

import (
	"strconv"
	"strings"
)

// A path names one value of a file, such as device[1].points.temp.scale, with
// keys quoted where TOML would want them quoted. The empty path is the file.

// child gives the path of a key of the table at path.
func child(path, key string) string {
	if !bareKey(key) {
		key = strconv.Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// element gives the path of one element of the array at path.
func element(path string, i int) string {
	return path + "[" + strconv.Itoa(i) + "]"
}

// parent gives the path of what holds path; ok is false for the file itself.
func parent(path string) (up string, ok bool) {
	quoted := false
	for i := len(path) - 1; i >= 0; i-- {
		switch path[i] {
		case '"':
			if escaped(path, i) {
				continue
			}
			quoted = !quoted
		case '.', '[':
			if !quoted {
				return path[:i], true
			}
		}
	}
	return "", path != ""
}

// escaped reports whether the byte at i follows an odd number of backslashes.
func escaped(s string, i int) bool {
	n := 0
	for i--; i >= 0 && s[i] == '\\'; i-- {
		n++
	}
	return n%2 == 1
}

func bareKey(key string) bool {
	return key != "" && strings.Trim(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}
