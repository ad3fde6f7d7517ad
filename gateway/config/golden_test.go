package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what is printed now into the golden files")

const goldenMark = "----------\n"

// TestErrors reads the files below testdata/errors: a configuration, a mark,
// and all that is to be said about it.
func TestErrors(t *testing.T) {
	goldens(t, "testdata/errors", func(t *testing.T, name string, src []byte) string {
		cfg, err := Parse(name, src)
		if cfg != nil || err == nil {
			t.Fatalf("the file was accepted: %v", cfg)
		}
		var problems Problems
		if !errors.As(err, &problems) || len(problems) == 0 {
			t.Fatalf("error is %T, want Problems", err)
		}
		for _, p := range problems {
			if p.Line == 0 {
				t.Errorf("no place for: %v", p)
			}
		}
		return err.Error() + "\n"
	})
}

// TestWarnings is the same for files that are accepted.
func TestWarnings(t *testing.T) {
	goldens(t, "testdata/warnings", func(t *testing.T, name string, src []byte) string {
		cfg, err := Parse(name, src)
		if err != nil {
			t.Fatalf("the file was refused:\n%v", err)
		}
		return cfg.Warnings.Error() + "\n"
	})
}

func goldens(t *testing.T, dir string, print func(t *testing.T, name string, src []byte) string) {
	t.Setenv("STATE_DIRECTORY", "")
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	files, err := filepath.Glob(filepath.Join(dir, "*.toml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".toml"), func(t *testing.T) {
			whole, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			src, want, ok := strings.Cut(string(whole), goldenMark)
			if !ok {
				t.Fatalf("%s has no line of dashes between input and output", file)
			}
			got := print(t, file, []byte(src))
			if *update {
				if err := os.WriteFile(file, []byte(src+goldenMark+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("what is said about %s (-want +got):\n%s", file, diff)
			}
		})
	}
}
