package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice/adapters"
)

// BenchmarkTake is what a reading costs between the adapter and the broker,
// without its payload: thirty points in two answers of which an object and a
// formula are made, none of it news.
func BenchmarkTake(b *testing.B) {
	for _, publish := range []string{"points", "device"} {
		b.Run(publish, func(b *testing.B) {
			var points strings.Builder
			for i := range 30 {
				fmt.Fprintf(&points, "v%d = { input = %d, deadband = 0 }\n", i, 10*i)
			}
			if publish == "device" {
				points.WriteString("sum = { expr = \"v0 + v29\", deadband = 0 }\n")
			}
			f := newOutflow(b, true, head+"publish = \""+publish+"\"\n[device.points]\n"+points.String())
			var all []*adapters.Point
			for i := range 30 {
				all = append(all, f.points[fmt.Sprint("v", i)])
			}
			at := f.began
			b.ReportAllocs()
			for b.Loop() {
				at = at.Add(time.Second)
				for i, p := range all {
					r := adapters.Reading{Point: p, Value: adapters.Int(7), Time: at}
					f.r.take(news{reading: r, last: i%15 == 14})
				}
				f.r.outgoing = f.r.outgoing[:0]
			}
		})
	}
}
