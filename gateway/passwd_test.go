package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// TestPasswdOnTerminal types at the prompts of `sluice passwd`.
func TestPasswdOnTerminal(t *testing.T) {
	type step struct{ prompt, typed string }
	tests := []struct {
		name  string
		steps []step
		says  string
		code  int
	}{
		{"twice the same", []step{{`Password of "panel": `, "s3cret\r"}, {"Once more: ", "s3cret\r"}}, `added "panel"`, 0},
		{"two different", []step{{`Password of "panel": `, "s3cret\r"}, {"Once more: ", "secret\r"}}, "not the same", 1},
		{"nothing", []step{{`Password of "panel": `, "\r"}}, "no password was typed", 1},
		{"interrupted", []step{{`Password of "panel": `, "s3c\x03"}}, "interrupted", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "users")
			cmd := exec.Command(sluiceBinary, "passwd", file, "panel")
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			terminal, err := pty.Start(cmd)
			if err != nil {
				t.Fatal(err)
			}
			defer terminal.Close()
			late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
			defer late.Stop()
			var shown bytes.Buffer
			for _, s := range tt.steps {
				for b := make([]byte, 1); !strings.HasSuffix(shown.String(), s.prompt); shown.Write(b) {
					if _, err := terminal.Read(b); err != nil {
						t.Fatalf("no prompt %q after %q: %v", s.prompt, shown.String(), err)
					}
				}
				awaitNoEcho(t, terminal)
				if _, err := io.WriteString(terminal, s.typed); err != nil {
					t.Fatal(err)
				}
			}
			rest, _ := io.ReadAll(terminal) // ends with an error when the other side is closed
			shown.Write(rest)
			err = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != tt.code {
				t.Errorf("exit status %d (%v), want %d", code, err, tt.code)
			}
			if out := shown.String(); !strings.Contains(out, tt.says) || strings.Contains(out, "s3c") {
				t.Errorf("shown %q, want %q and no password", out, tt.says)
			}
			if _, err := os.Stat(file); (err == nil) != (tt.code == 0) {
				t.Errorf("the file: %v", err)
			}
		})
	}
}

// awaitNoEcho waits until the terminal does not show what is typed.
func awaitNoEcho(t *testing.T, terminal *os.File) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); ; <-tick.C {
		state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		if state.Lflag&unix.ECHO == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the terminal shows what is typed")
		}
	}
}
