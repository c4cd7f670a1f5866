package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestNamedTests holds that the tests that a page names are there.
func TestNamedTests(t *testing.T) {
	var code strings.Builder
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		code.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for page, least := range map[string]int{"SECURITY.md": 20, "docs/guarantees.md": 8} {
		named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)( -\\w+)?`").FindAllStringSubmatch(read(t, page), -1)
		if len(named) < least {
			t.Errorf("%s names %d tests, want %d", page, len(named), least)
		}
		for _, m := range named {
			if !strings.Contains(code.String(), "\nfunc "+m[1]+"(") {
				t.Errorf("%s: there is no %s", page, m[1])
			}
		}
	}
}
