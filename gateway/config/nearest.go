package config

import (
	"fmt"
	"slices"
	"strings"
)

// alsoCalled names words by what manuals and other programs call them; of
// several words the first counts that may stand where they were written.
var alsoCalled = map[string]string{
	"baud": "serial", "baudrate": "serial", "baud_rate": "serial", "parity": "serial", "stopbits": "serial", "stop_bits": "serial",
	"device_port": "port", "tty": "port", "address": "port unit", "host": "port", "type": "kind", "protocol": "kind",
	"slave": "unit", "slave_id": "unit", "slaveid": "unit", "unit_id": "unit", "station": "unit", "modbus_id": "unit", "id": "unit client_id",
	"addr": "unit", "interval": "every", "period": "every", "poll": "every", "scan_interval": "every",
	"byte_order": "order", "byteorder": "order", "endian": "order", "word_order": "order",
	"factor": "scale", "multiplier": "scale", "gain": "scale", "precision": "decimals",
	"hold": "holding", "hr": "holding", "hreg": "holding", "holding_register": "holding", "ir": "input", "ireg": "input", "input_register": "input",
	"di": "discrete", "discrete_input": "discrete", "co": "coil", "uom": "unit",
	"broker": "url", "server": "url", "user": "username", "password": "password_file", "subscribe": "in", "publish": "out",
	"modbus": "rtu", "modbus-rtu": "rtu", "modbus_rtu": "rtu", "modbus-tcp": "tcp", "modbus_tcp": "tcp",
	"modbus-ascii": "ascii", "modbus_ascii": "ascii", "rtu-over-tcp": "rtu-tcp", "rtuovertcp": "rtu-tcp", "ascii-over-tcp": "ascii-tcp",
	"crc": "crc16-modbus", "crc16": "crc16-modbus", "nmea": "nmea-xor", "xor": "xor8", "delimiter": "until",
	"boolean": "bool", "bit": "bool", "uint16": "u16", "int16": "i16", "uint32": "u32", "int32": "i32",
	"float": "f32", "float32": "f32", "real": "f32",
}

// otherwise says how what a key of other programs means is written in a point,
// "" if it is not such a key.
func otherwise(name string, v any, known []string) string {
	if !slices.Contains(known, "holding") {
		return ""
	}
	n, isNumber := v.(int64)
	switch strings.ToLower(name) {
	case "register", "reg", "addr", "address":
		return fmt.Sprintf("an address goes with its table: coil = %[1]d, discrete = %[1]d, input = %[1]d or holding = %[1]d", n)
	case "divisor", "divider", "divide":
		if isNumber && n != 0 {
			return fmt.Sprintf("did you mean scale = %v?", 1/float64(n))
		}
		return "divide with \"scale\": by 10 is scale = 0.1"
	case "writable", "writeable", "readonly", "read_only", "rw", "access":
		return `a point takes commands with write = "verify" or "plain", and is read only without "write"`
	}
	return ""
}

// nearest gives the known word that was most likely meant by word, or "".
// Words count as near up to one slip in three letters: a letter missing, too
// many, wrong, or two neighbours swapped; case does not count.
func nearest(word string, known []string) string {
	for _, other := range strings.Fields(alsoCalled[strings.ToLower(word)]) {
		if slices.Contains(known, other) {
			return other
		}
	}
	best, limit := "", max(1, min(3, len([]rune(word))/3))
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d <= limit {
			best, limit = k, d-1
		}
		if limit < 0 {
			break
		}
	}
	return best
}

// distance counts the slips between two words (Damerau-Levenshtein, in the
// form that edits no stretch twice).
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	older, old, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(x); i++ {
		older, old, row = old, row, older
		row[0] = i
		for j := 1; j <= len(y); j++ {
			wrong := 1
			if x[i-1] == y[j-1] {
				wrong = 0
			}
			row[j] = min(old[j]+1, row[j-1]+1, old[j-1]+wrong)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
	}
	return row[len(y)]
}
