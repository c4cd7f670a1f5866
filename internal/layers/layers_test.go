// Package layers holds the module to its layers: what reads Duo's API, what
// keeps cursors and what shapes records know nothing of each other, the double
// of Duo's API shares nothing with what it tests, and one file speaks C.
//
// It has tests only. What a package is for stands in that package's comment.
package layers

import (
	"go/ast"
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

const (
	module = "duo_in"
	root   = "../.."
)

// uses has a row for each package: the packages of this module that it may
// import.
var uses = map[string][]string{
	"duo":           {"internal/scan"},
	"duo/duotest":   {},
	"checkpoint":    {"internal/durable"},
	"plugin/record": {"internal/scan"},
	"plugin/option": {"duo", "checkpoint", "plugin/record"},
	"plugin":        {"duo", "checkpoint", "plugin/option", "plugin/record"},
	"cmd/duoctl":    {"duo", "checkpoint", "plugin/option", "plugin/record", "duo/duotest", "internal/durable"},

	"internal/durable": {},
	"internal/scan":    {},
	"internal/docs":    {"duo"}, // the README repeats its table of logs

	"internal/bench":    {"duo", "plugin/record", "duo/duotest", "internal/flbtest"}, // measures the product's share of the work
	"internal/scenario": {"duo", "plugin/record"},                                    // what arrives is compared with what they make
	"internal/siem":     {"plugin/record"},                                           // so it is here
	"internal/*":        doubles,                                                     // these look at the product from outside
}

// doubles stand for Duo, for Fluent Bit and for who receives from it. Every test may use them.
var doubles = []string{"duo/duotest", "internal/flbtest", "internal/ceftest"}

// source is a Go file of the module.
type source struct {
	path   string // below the root, with slashes
	pkg    string // its folder
	isTest bool
	ast    *ast.File
}

// imports returns the paths that a file imports.
func (s source) imports(t *testing.T) (out []string) {
	t.Helper()
	for _, i := range s.ast.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

// sources returns all Go files, whatever their build constraints, but for those
// in testdata.
func sources(t *testing.T) (out []source) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(root), ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != "." && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case d.IsDir() || path.Ext(p) != ".go":
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, p), nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		out = append(out, source{path: p, pkg: path.Dir(p), isTest: strings.HasSuffix(p, "_test.go"), ast: f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 20 {
		t.Fatalf("only %d Go files were found", len(out))
	}
	return out
}

func TestImports(t *testing.T) {
	for _, s := range sources(t) {
		allowed, ok := uses[s.pkg]
		if !ok && strings.HasPrefix(s.pkg, "internal/") {
			allowed, ok = uses["internal/*"]
		}
		if !ok {
			t.Errorf("%s: say in this test what package %s may import", s.path, s.pkg)
			continue
		}
		if s.isTest { // which may be outside its package
			allowed = slices.Concat(allowed, doubles, []string{s.pkg})
		}
		for _, i := range s.imports(t) {
			if ours, ok := strings.CutPrefix(i, module+"/"); ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s; what package %s may import of this module is %q", s.path, i, s.pkg, allowed)
			}
		}
	}
}

// TestDoubleStandsAlone: what tests the client must not share its mistakes, not
// even through a library.
func TestDoubleStandsAlone(t *testing.T) {
	for _, s := range sources(t) {
		if s.pkg != "duo/duotest" || s.isTest {
			continue
		}
		for _, i := range s.imports(t) {
			if first, _, _ := strings.Cut(i, "/"); strings.Contains(first, ".") || first == module {
				t.Errorf("%s imports %s, which is not in the standard library", s.path, i)
			}
		}
	}
}

func TestOneFileSpeaksC(t *testing.T) {
	var got []string
	for _, s := range sources(t) {
		if slices.Contains(s.imports(t), "C") {
			got = append(got, s.path)
		}
	}
	if want := []string{"plugin/cgo.go"}; !slices.Equal(got, want) {
		t.Errorf(`%q import "C", want %q`, got, want)
	}
}

func TestPackageComments(t *testing.T) {
	begins := map[string]string{} // of a package's comment
	for _, s := range sources(t) {
		if strings.HasSuffix(s.ast.Name.Name, "_test") {
			continue
		}
		was := begins[s.pkg]
		if s.ast.Doc == nil {
			begins[s.pkg] = was
			continue
		}
		if was != "" {
			t.Errorf("%s has a second package comment", s.path)
		}
		begins[s.pkg] = s.ast.Doc.Text()
		want := "Package " + s.ast.Name.Name + " "
		if s.ast.Name.Name == "main" {
			want = "Command " + path.Base(s.pkg) + " "
		}
		if !strings.HasPrefix(begins[s.pkg], want) {
			t.Errorf("%s: the package comment does not begin with %q", s.path, want)
		}
	}
	for pkg, doc := range begins {
		if doc == "" {
			t.Errorf("package %s has no comment", pkg)
		}
	}
}
