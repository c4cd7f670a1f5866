package docs

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDuoctlIsCalledRight holds every call of duoctl, in any document,
// configuration or manifest, to the commands and flags that it has.
func TestDuoctlIsCalledRight(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	duoctl := filepath.Join(t.TempDir(), "duoctl")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", duoctl, root+"/cmd/duoctl").CombinedOutput(); err != nil {
		t.Fatalf("build duoctl: %v\n%s", err, out)
	}
	help := map[string]string{}
	helpOf := func(command string) string {
		if _, ok := help[command]; !ok {
			out, _ := exec.CommandContext(t.Context(), duoctl, append(strings.Fields(command), "-h")...).CombinedOutput()
			help[command] = string(out)
		}
		return help[command]
	}
	var calls int
	for _, pattern := range []string{"*.md", "*.conf", "*.example", "docs/*.md", "examples/*", "deploy/*/*", "deploy/*/*/*"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			name, _ := filepath.Rel(root, file)
			if strings.HasSuffix(name, ".json") || filepath.Ext(name) == "" || name == "CHANGELOG.md" || strings.HasSuffix(name, ".d") {
				continue
			}
			text := strings.ReplaceAll(read(t, name), "\\\n", " ")
			// In code: a span, or a line of a block, a comment or a script.
			for _, m := range regexp.MustCompile("(?m)(?:`|^[ #$]*|&& |build/|exec \\S+ |cmd/)duoctl ([a-z]+(?: rewind)?)((?: +(?:'[^'\n]*'|[^\\s`|;&]+))*)").FindAllStringSubmatch(text, -1) {
				command := m[1]
				usage := helpOf(command)
				if !regexp.MustCompile(`usage: duoctl ` + strings.Replace(command, " ", ` \[.*\] `, 1) + `\b`).MatchString(usage) {
					t.Errorf("%s: %q: duoctl has no command %q", name, m[0], command)
					continue
				}
				calls++
				for _, flag := range regexp.MustCompile(`(?:^| )-([a-z][a-z-]*)`).FindAllStringSubmatch(m[2], -1) {
					if flag[1] != "h" && !strings.Contains(usage, "  -"+flag[1]) {
						t.Errorf("%s: %q: duoctl %s has no flag -%s", name, strings.TrimSpace(m[0]), command, flag[1])
					}
				}
			}
		}
	}
	if calls < 25 {
		t.Errorf("%d calls were found", calls)
	}
}
