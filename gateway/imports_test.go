package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// picture is the import picture of ARCHITECTURE.md: which of our packages
// each package may import. A package that is missing here fails the test.
var picture = map[string]string{
	"gateway":              "gateway/config gateway/web gateway/cli adapters adapters/formula adapters/line adapters/modbus adapters/uart adapters/sim bridge mqttcore mqttcore/store",
	"gateway/config":       "adapters adapters/formula adapters/line adapters/modbus adapters/uart adapters/sim bridge mqttcore mqttcore/store mqttcore/topic gateway/web",
	"gateway/cli":          "gateway/config adapters adapters/line adapters/modbus mqttcore mqttcore/store",
	"gateway/web":          "",
	"adapters":             "",
	"adapters/formula":     "adapters",
	"adapters/line":        "",
	"adapters/modbus":      "adapters adapters/line",
	"adapters/uart":        "adapters adapters/line",
	"adapters/sim":         "adapters",
	"bridge":               "mqttcore mqttcore/packet mqttcore/topic",
	"mqttcore":             "mqttcore/packet mqttcore/store mqttcore/topic",
	"mqttcore/packet":      "",
	"mqttcore/store":       "",
	"mqttcore/store/simfs": "mqttcore/store",
	"mqttcore/topic":       "",
	"systemd":              "",
}

// fences names the only package that may import each library.
var fences = map[string]string{
	"go.bug.st/serial":               "adapters/line",
	"github.com/goburrow":            "adapters/modbus",
	"github.com/eclipse/paho.golang": "bridge",
	"github.com/BurntSushi/toml":     "gateway/config",
	"github.com/expr-lang/expr":      "adapters/formula",
}

func TestImportPicture(t *testing.T) {
	documented := map[string]bool{}
	err := fs.WalkDir(os.DirFS(".."), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "node_modules") {
				return fs.SkipDir
			}
			if _, err := os.Stat(filepath.Join("..", name, "go.mod")); err == nil && name != "." {
				return fs.SkipDir // a module of its own
			}
			return nil
		}
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		pkg := path.Dir(name)
		may, listed := picture[pkg]
		if !listed {
			t.Errorf("%s: package %s is not in the import picture", name, pkg)
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", name), nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		documented[pkg] = documented[pkg] || file.Doc != nil
		for _, spec := range file.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if dep, ours := strings.CutPrefix(imp, "sluice/"); ours && !slices.Contains(strings.Fields(may), dep) {
				t.Errorf("%s must not import %s", name, dep)
			}
			for lib, only := range fences {
				if (imp == lib || strings.HasPrefix(imp, lib+"/")) && pkg != only {
					t.Errorf("%s: only %s may import %s", name, only, lib)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("package %s has no package comment", pkg)
		}
	}
}
