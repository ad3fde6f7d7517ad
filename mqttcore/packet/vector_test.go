package packet

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// vector is one file of testdata: a text header of "key: value" lines, an empty
// line, and one packet in hex and quoted text. The keys:
//
//	about      what is special, where that is not plain
//	statement  the normative statement it is about, numbered as in MQTT 5,
//	           or as in 3.1.1 for version 3.1.1
//	version    3.1, 3.1.1 or 5; several mean the same for each
//	reject     the name of the reason it is refused for, or
//	want       what it says, as describe writes it
//
// After a line "append", the packet that Append makes of it, where that is not
// the same.
type vector struct {
	name, statement, reject, want string
	versions                      []Version
	raw, appended                 []byte
}

func (v *vector) title() string {
	if v.statement != "" {
		return v.statement + "/" + v.name
	}
	return v.name
}

func vectors(t testing.TB) []vector {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors in testdata: %v", err)
	}
	var all []vector
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		v, err := parseVector(string(text))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		v.name = strings.TrimSuffix(filepath.Base(file), ".txt")
		all = append(all, v)
	}
	return all
}

func parseVector(text string) (v vector, err error) {
	head, body, ok := strings.Cut(text, "\n\n")
	if !ok {
		return v, fmt.Errorf("no empty line after the header")
	}
	for line := range strings.Lines(head) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "about":
		case "statement":
			v.statement = value
		case "reject":
			v.reject = value
		case "want":
			v.want = value
		case "version":
			for word := range strings.FieldsSeq(value) {
				known := map[string]Version{"3.1": V31, "3.1.1": V311, "5": V5}
				if known[word] == 0 {
					return v, fmt.Errorf("unknown version %q", word)
				}
				v.versions = append(v.versions, known[word])
			}
		default:
			return v, fmt.Errorf("unknown key %q", key)
		}
	}
	if len(v.versions) == 0 || (v.reject == "") == (v.want == "") {
		return v, fmt.Errorf("there must be a version and either reject or want")
	}
	in, out, _ := strings.Cut(body, "\nappend\n")
	if v.raw, err = parseBytes(in); err != nil {
		return v, err
	}
	v.appended, err = parseBytes(out)
	if len(v.appended) == 0 {
		v.appended = v.raw
	}
	return v, err
}

// parseBytes reads hex digits and quoted text with white space between.
func parseBytes(s string) (b []byte, err error) {
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		if s[0] == '"' {
			quoted, err := strconv.QuotedPrefix(s)
			if err != nil {
				return nil, err
			}
			text, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, err
			}
			b, s = append(b, text...), s[len(quoted):]
			continue
		}
		word := s
		if i := strings.IndexAny(s, " \n\""); i >= 0 {
			word = s[:i]
		}
		digits, err := hex.DecodeString(word)
		if err != nil {
			return nil, err
		}
		b, s = append(b, digits...), s[len(word):]
	}
	return b, nil
}

// decodeAll decodes b, which must be one whole packet.
func decodeAll(v Version, b []byte) (Packet, error) {
	h, n, err := ParseHeader(b)
	if err != nil {
		return nil, err
	}
	if n == 0 || len(b)-n != h.Remaining {
		return nil, fmt.Errorf("%d bytes are not one whole packet", len(b))
	}
	return Decode(v, h, b[n:])
}

func TestVectors(t *testing.T) {
	for _, vec := range vectors(t) {
		t.Run(vec.title(), func(t *testing.T) {
			for _, v := range vec.versions {
				raw := slices.Clone(vec.raw)
				p, err := decodeAll(v, raw)
				if vec.reject != "" {
					e, ok := err.(*Error)
					if !ok {
						t.Fatalf("decoded to %v, error %v, want a refusal", p, err)
					}
					if e.Reason.String() != vec.reject {
						t.Errorf("refused with %q (%v), want %q", e.Reason, e, vec.reject)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := describe(p); got != vec.want {
					t.Errorf("\n got %s\nwant %s", got, vec.want)
				}
				prefix := []byte("before")
				out := p.Append(prefix, v)
				if got := out[len(prefix):]; string(got) != string(vec.appended) {
					t.Errorf("appended\n got % x\nwant % x", got, vec.appended)
				}
				if string(raw) != string(vec.raw) {
					t.Error("decoding changed the input")
				}
			}
		})
	}
}
