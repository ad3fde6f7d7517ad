package main

import (
	"fmt"
	"testing"
)

// A device that says one thing after the other, again and again.
func TestFormulaOfSpokenRounds(t *testing.T) {
	f := newOutflow(t, true, spoken+`publish = "both"
[device.points]
a = { from = "a" }
b = { from = "b" }
diff = { expr = "a - b" }
`)
	f.expect(0, "a=0", "d/a=0/good", `d={"a":0}`)
	f.expect(20, "b=0", "d/b=0/good", "d/diff=0/good", `d={"a":0,"b":0,"diff":0}`)
	f.tell(5000, "a=1") // nothing tells yet that b will follow
	f.tell(5020, "b=1")
	for i := 2; i < 20; i++ {
		f.expect(5000*i, fmt.Sprintf("a=%d", i), fmt.Sprintf("d/a=%d/good", i))
		if i != 9 {
			f.expect(5000*i+20, fmt.Sprintf("b=%d", i), fmt.Sprintf("d/b=%d/good", i), "d/diff=0/good", fmt.Sprintf(`d={"a":%[1]d,"b":%[1]d,"diff":0}`, i))
		}
	}
}

// A device that says what changes: that counts at once.
func TestFormulaOfSpokenChanges(t *testing.T) {
	f := newOutflow(t, true, spoken+`
[device.points]
a = { from = "a" }
b = { from = "b" }
sum = { expr = "a + b" }
`)
	f.expect(0, "a=0 b=0", "d/a=0/good", "d/b=0/good", "d/sum=0/good")
	now, values := 0, map[string]int{}
	for i, what := range "aababbbabaaaaabbbabababab" {
		now += 2000 + 7919*i*i%50000
		name := string(what)
		values[name] = i
		f.expect(now, fmt.Sprintf("%s=%d", name, i), fmt.Sprintf("d/%s=%d/good", name, i), fmt.Sprintf("d/sum=%d/good", values["a"]+values["b"]))
	}
}
