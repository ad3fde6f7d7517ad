package sim

import (
	"context"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Another master reads and writes the simulated plant on every transport.
func TestPymodbusAgrees(t *testing.T) {
	t.Parallel()
	const python = "/usr/bin/python3" // Debian's, for which pymodbus is packaged
	if err := exec.Command(python, "-c", "import pymodbus, serial").Run(); err != nil {
		t.Fatalf("%s has no pymodbus: %v; install the peers of the tests with: make peers", python, err)
	}
	const want = "input [17254, 32768, 7616, 65534]\nholding [21, 22]\ndiscrete True\nmissing 2\n"
	for _, kind := range []string{"rtu", "ascii", "tcp", "rtu-tcp", "ascii-tcp"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			c := plant()
			c.Kind = kind
			f := play(t, c)
			at := []string{f.Path("plant")}
			if c.network() {
				host, port, _ := net.SplitHostPort(at[0]) // as it was bound
				at = []string{host, port}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			out, err := exec.CommandContext(ctx, python, append([]string{"testdata/master.py", kind}, at...)...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if diff := cmp.Diff(want, string(out)); diff != "" {
				t.Error(diff)
			}
			s := f.Slave("plant", 1)
			if r, c := s.Get("holding", 10, 2), s.Get("coil", 3, 1); r[0] != 33 || r[1] != 44 || c[0] != 1 {
				t.Errorf("registers %v, coil %v", r, c)
			}
			if s := f.Stats("plant"); s.Bad != 0 || s.Requests != 6 {
				t.Errorf("%+v", s)
			}
		})
	}
}
