package uart

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func collect(a *assembler, chunks ...string) (lines []string) {
	for _, chunk := range chunks {
		a.feed([]byte(chunk), time.Time{}, func(text []byte) { lines = append(lines, string(text)) })
	}
	return lines
}

func TestAssemble(t *testing.T) {
	a := &assembler{Frame: Frame{Max: 8}}
	got := collect(a, "a\nb", "c\r\n", "\n", strings.Repeat("x", 9)+"\n", strings.Repeat("y", 50), "yy", "\nok\n", "12345678\n")
	if want := []string{"a", "bc", "", "ok", "12345678"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if a.overlong != 2 || a.partial != 0 {
		t.Errorf("overlong %d, partial %d", a.overlong, a.partial)
	}
	a.restart()
	if got := collect(a, "=3\nT=4\n"); !slices.Equal(got, []string{"T=4"}) || a.partial != 1 {
		t.Errorf("after a restart: %q, partial %d", got, a.partial)
	}
}

// However a stream is cut into chunks, the lines are the same, and memory is bounded.
func TestAssembleAnyCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		until := rapid.SampledFrom([]string{"\n", "\r\n", ";;"}).Draw(t, "until")
		text := rapid.StringOfN(rapid.SampledFrom([]rune("ab;\r\n")), 0, 200, -1).Draw(t, "text")
		whole, cut := &assembler{Frame: Frame{Until: until, Max: 6}}, &assembler{Frame: Frame{Until: until, Max: 6}}
		// Byte by byte is the strictest cut; chunks of any size must agree.
		var want, got []string
		for i := range len(text) {
			want = append(want, collect(whole, text[i:i+1])...)
		}
		for rest := text; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "chunk")
			got = append(got, collect(cut, rest[:n])...)
			rest = rest[n:]
			if len(cut.buf) > 6+2*len(until) {
				t.Fatalf("%d bytes are kept", len(cut.buf))
			}
		}
		if !slices.Equal(got, want) || whole.overlong != cut.overlong {
			t.Fatalf("%q: got %q, want %q; overlong %d, %d", text, got, want, cut.overlong, whole.overlong)
		}
	})
}
