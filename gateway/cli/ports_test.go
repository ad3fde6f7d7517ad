package cli

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/adapters/line"
)

func TestPrintPorts(t *testing.T) {
	found := []line.PortInfo{
		{Path: "/dev/ttyS0", Driver: "serial8250", Console: true},
		{
			Path: "/dev/ttyUSB0", Driver: "ftdi_sio",
			Stable:  []string{"/dev/serial/by-id/usb-FTDI_FT232R_A1-if00-port0", "usb:0403:6001:A1"},
			USB:     &line.USB{Vendor: "0403", Product: "6001", Serial: "A1", Maker: "FTDI", Model: "FT232R\x1b[2J"},
			Holders: []line.Holder{{PID: 17, Command: "minicom"}, {PID: 18, Command: "cat"}},
		},
	}
	var text, object bytes.Buffer
	if err := printPorts(&text, portsOf(found)); err != nil {
		t.Fatal(err)
	}
	want := "" +
		"PORT          DRIVER      ADAPTER          HELD BY                 STABLE NAMES\n" +
		"/dev/ttyS0    serial8250  -                console                 -\n" +
		"/dev/ttyUSB0  ftdi_sio    FTDI FT232R·[2J  minicom (17), cat (18)  /dev/serial/by-id/usb-FTDI_FT232R_A1-if00-port0\n" +
		"                                                                   usb:0403:6001:A1\n"
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Error(diff)
	}
	if err := printJSON(&object, portsOf(found)[:1]); err != nil {
		t.Fatal(err)
	}
	want = `[
  {
    "port": "/dev/ttyS0",
    "stable": [],
    "driver": "serial8250",
    "console": true,
    "held_by": []
  }
]
`
	if diff := cmp.Diff(want, object.String()); diff != "" {
		t.Error(diff)
	}
}
