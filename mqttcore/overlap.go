package mqttcore

import "strings"

// overlap reports whether there is a topic name that both filters match (MQTT
// 5.0, 4.7).
func overlap(a, b string) bool {
	// A wildcard in front does not match what begins with $.
	if a[0] == '$' && (b[0] == '+' || b[0] == '#') || b[0] == '$' && (a[0] == '+' || a[0] == '#') {
		return false
	}
	for first := true; ; first = false {
		aLevel, aRest, aMore := strings.Cut(a, "/")
		bLevel, bRest, bMore := strings.Cut(b, "/")
		switch {
		case aLevel == "#" || bLevel == "#":
			return true
		case aLevel != bLevel && aLevel != "+" && bLevel != "+":
			return false
		case aMore && bMore:
			a, b = aRest, bRest
		case aMore:
			// "a/#" matches "a" too, but "/#" not the empty name: there is none.
			return aRest == "#" && (!first || aLevel != "")
		case bMore:
			return bRest == "#" && (!first || bLevel != "")
		default:
			return true
		}
	}
}
