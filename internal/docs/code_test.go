package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// foreign are words of the page in code's type that are not duo_in's code.
var foreign = []string{"omitempty", `import "C"`, "checkpoint_dir", "overlap", "settle", "batch_size", "log_file", "event_id"}

// declared are the names of all that the module's Go code declares, outside of
// functions: Func, Type, Type.Method, Type.Field, constants and variables.
func declared(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err == nil && d.IsDir() && d.Name() == "vendor":
			return fs.SkipDir
		case err != nil || filepath.Ext(path) != ".go":
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				names[receiver(d)+d.Name.Name] = true
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					declare(names, spec)
				}
			}
		}
		return nil
	})
	if err != nil || len(names) < 500 {
		t.Fatalf("%d names, %v", len(names), err)
	}
	return names
}

// receiver is "Type." for a method.
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	of := d.Recv.List[0].Type
	if star, ok := of.(*ast.StarExpr); ok {
		of = star.X
	}
	if name, ok := of.(*ast.Ident); ok {
		return name.Name + "."
	}
	return "?."
}

func declare(names map[string]bool, spec ast.Spec) {
	switch s := spec.(type) {
	case *ast.ValueSpec:
		for _, n := range s.Names {
			names[n.Name] = true
		}
	case *ast.TypeSpec:
		names[s.Name.Name] = true
		if of, ok := s.Type.(*ast.StructType); ok {
			for _, f := range of.Fields.List {
				for _, n := range f.Names {
					names[s.Name.Name+"."+n.Name] = true
				}
			}
		}
	}
}

// TestNamedCode holds that all that pages for developers name in code's type is
// there: files and folders by their path, make's targets, and what code declares.
func TestNamedCode(t *testing.T) {
	names, makefile := declared(t), read(t, "Makefile")
	for page, least := range map[string]int{"docs/architecture.md": 100} {
		named := codeSpan.FindAllStringSubmatch(read(t, page), -1)
		if len(named) < least {
			t.Errorf("%s names %d things, want %d", page, len(named), least)
		}
		for _, m := range named {
			name := m[1]
			target, isTarget := strings.CutPrefix(name, "make ")
			_, err := os.Stat(filepath.Join("..", "..", name))
			switch {
			case names[name], slices.Contains(foreign, name):
			case isTarget && regexp.MustCompile(`(?m)^`+target+`:.*## \S`).MatchString(makefile):
			case err == nil && name == filepath.Clean(name):
			default:
				t.Errorf("%s: there is no %q, as a path, a target of make, or a name in the code", page, name)
			}
		}
	}
}

// TestPages holds that links between the pages lead somewhere, to headings too, and
// that make has the targets that they name.
func TestPages(t *testing.T) {
	root := filepath.Join("..", "..")
	var pages []string
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(found) == 0 {
			t.Fatal(pattern, err)
		}
		pages = append(pages, found...)
	}
	makefile := read(t, "Makefile")
	for _, page := range pages {
		name, _ := filepath.Rel(root, page)
		text := read(t, name)
		for _, m := range regexp.MustCompile(`\]\(([^)#:\s]*)(?:#([^)\s]+))?\)`).FindAllStringSubmatch(text, -1) {
			to := filepath.Join(filepath.Dir(name), m[1])
			if m[1] == "" {
				to = name
			}
			if _, err := os.Stat(filepath.Join(root, to)); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			} else if m[2] != "" && !slices.Contains(headings(read(t, to)), m[2]) {
				t.Errorf("%s links to #%s, which %s does not have", name, m[2], to)
			}
		}
		for _, m := range regexp.MustCompile("(?m)(?:^|`)make ([a-z]+)").FindAllStringSubmatch(text, -1) {
			if !regexp.MustCompile(`(?m)^` + m[1] + `:.*## \S`).MatchString(makefile) {
				t.Errorf("%s: make %s: there is no such target, or it has no help", name, m[1])
			}
		}
	}
}

// headings are the names by which GitHub links to a page's headings.
func headings(text string) (names []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		name := regexp.MustCompile(`[^\pL\pN _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}
