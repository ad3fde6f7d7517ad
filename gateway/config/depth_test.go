package config

import (
	"strings"
	"testing"
)

func TestNestingIsBounded(t *testing.T) {
	for name, src := range map[string]string{
		"inline tables": "x = " + strings.Repeat("{a = ", 100_000) + "1" + strings.Repeat("}", 100_000),
		"arrays":        "x = " + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000),
		"dotted key":    strings.Repeat("a.", 100_000) + "a = 1",
		"table header":  "[" + strings.Repeat("a.", 100_000) + "a]",
		"in the middle": "[gateway]\nid = \"x\" # [[[\nx = " + strings.Repeat("[ # {\n", 100) + strings.Repeat("]", 100),
	} {
		_, err := Parse(name+".toml", []byte(src))
		if err == nil || !strings.Contains(err.Error(), "nests deeper than 32") {
			t.Errorf("%s: %.200v", name, err)
		}
	}
}

func TestNestingIsNotSeenInText(t *testing.T) {
	deep := strings.Repeat("[{.", 100)
	for _, src := range []string{
		`# ` + deep,
		`a = "` + deep + `\"` + deep + `"`,
		`a = '` + deep + `\'`,
		"a = \"\"\"\n" + deep + "\n\\\"\"\"" + deep + "\"\"\"",
		"a = '''\n" + deep + "\n''" + deep + "'''",
		"a = 1.5\n" + strings.Repeat("b = [1.25, {c = 1}]\n", 100),
	} {
		if at := tooDeep(src); at >= 0 {
			t.Errorf("too deep at %d of %.40q", at, src)
		}
	}
}
