package ci

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

const root = "../.."

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// workflow is what the rules look at.
type workflow struct {
	On          map[string]any
	Permissions map[string]string
	Concurrency map[string]any
	Env         map[string]string
	Jobs        map[string]struct {
		Timeout     int `yaml:"timeout-minutes"`
		Permissions map[string]string
		Strategy    struct{ Matrix map[string][]string }
		Steps       []step
	}
}

type step struct {
	Name, Uses, Run string
	With, Env       map[string]string
}

// workflows are those of the repository, by their file's name, and their text.
func workflows(t *testing.T) (parsed map[string]workflow, text map[string]string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d workflows, %v", len(files), err)
	}
	parsed, text = map[string]workflow{}, map[string]string{}
	for _, f := range files {
		name := filepath.Base(f)
		text[name] = read(t, ".github/workflows/"+name)
		var w workflow
		if err := yaml.Unmarshal([]byte(text[name]), &w); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		parsed[name] = w
	}
	return parsed, text
}

// TestRights holds that no job may write, but for those of a release, and that
// nothing runs for ever, nor with a stranger's code and our rights.
func TestRights(t *testing.T) {
	all, _ := workflows(t)
	for file, w := range all {
		if diff := cmp.Diff(map[string]string{"contents": "read"}, w.Permissions); diff != "" {
			t.Errorf("%s: permissions of all jobs (-want +got):\n%s", file, diff)
		}
		if w.Concurrency["group"] == nil {
			t.Errorf("%s has no concurrency group", file)
		}
		for _, trigger := range []string{"pull_request_target", "workflow_run", "issue_comment"} {
			if _, ok := w.On[trigger]; ok {
				t.Errorf("%s: %s runs with rights on what a stranger wrote", file, trigger)
			}
		}
		for name, job := range w.Jobs {
			if job.Timeout < 1 || job.Timeout > 180 {
				t.Errorf("%s, %s: timeout-minutes is %d", file, name, job.Timeout)
			}
			for what, right := range job.Permissions {
				if right != "read" && file != "release.yml" {
					t.Errorf("%s, %s: may %s %s", file, name, right, what)
				}
			}
			for _, s := range job.Steps {
				if strings.Contains(s.Run, "${{") {
					t.Errorf("%s, %s: a script has ${{ }}, which pastes what it stands for into it; hand it over in env", file, name)
				}
				if strings.HasPrefix(s.Uses, "actions/checkout@") && s.With["persist-credentials"] != "false" {
					t.Errorf("%s, %s: checkout leaves the token behind; set persist-credentials to false", file, name)
				}
			}
		}
	}
}

// TestActionsArePinned holds that a tag that is moved changes nothing here.
func TestActionsArePinned(t *testing.T) {
	pinned := regexp.MustCompile(`^\s*(?:- )?uses: ([\w-]+/[\w./-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$`)
	_, text := workflows(t)
	versions := map[string]string{}
	for file, lines := range text {
		for line := range strings.Lines(lines) {
			if line = strings.TrimSuffix(line, "\n"); !regexp.MustCompile(`^\s*(- )?uses:`).MatchString(line) {
				continue
			}
			m := pinned.FindStringSubmatch(line)
			if m == nil {
				t.Errorf("%s: %q: want OWNER/NAME@40 hexadecimal digits # vX.Y.Z", file, line)
				continue
			}
			version := m[2] + " " + m[3]
			if other := versions[m[1]]; other != "" && other != version {
				t.Errorf("%s: %s is %s, elsewhere %s", file, m[1], version, other)
			}
			versions[m[1]] = version
		}
	}
	if len(versions) < 4 {
		t.Errorf("only %d actions found", len(versions))
	}
}

// TestCommandsExist holds that what is run is there, with the Go that go.mod names.
func TestCommandsExist(t *testing.T) {
	makefile := read(t, "Makefile")
	all, text := workflows(t)
	for file, w := range all {
		for name, job := range w.Jobs {
			for _, s := range job.Steps {
				for _, m := range regexp.MustCompile(`(?m)^\s*make ([a-z]+)`).FindAllStringSubmatch(s.Run, -1) {
					if !regexp.MustCompile(`(?m)^` + m[1] + `:.*## \S`).MatchString(makefile) {
						t.Errorf("%s, %s: make %s: there is no such target, or it has no help", file, name, m[1])
					}
				}
				for _, script := range regexp.MustCompile(`\.ci/[\w-]+`).FindAllString(s.Run, -1) {
					if info, err := os.Stat(filepath.Join(root, script)); err != nil || info.Mode()&0o111 == 0 {
						t.Errorf("%s, %s: %s cannot be run: %v", file, name, script, err)
					}
				}
				if strings.HasPrefix(s.Uses, "actions/setup-go@") && (s.With["go-version-file"] != ".ci/go-version" || s.With["go-version"] != "" || s.With["check-latest"] != "true") {
					t.Errorf("%s, %s: the Go is not the latest of .ci/go-version", file, name)
				}
			}
		}
		if strings.Contains(text[file], "golang:") {
			t.Errorf("%s names a version of Go in an image; .ci/go-version has it", file)
		}
	}
	// setup-go takes go.mod's 1.26.0 for that very one, without what was mended since.
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))[1]
	if got := read(t, ".ci/go-version"); got != version+"\n" {
		t.Errorf(".ci/go-version is %q, go.mod has %s", got, version)
	}
	if !strings.Contains(read(t, "Dockerfile"), "golang:"+version+"-") {
		t.Errorf("the Dockerfile's Go is not %s, which go.mod names", version)
	}
}

// TestImagesTested holds that the tests run in three minor versions of Fluent Bit,
// and that the image's is one of them.
func TestImagesTested(t *testing.T) {
	all, _ := workflows(t)
	tested := all["ci.yml"].Jobs["fluent-bit"].Strategy.Matrix["version"]
	minor := regexp.MustCompile(`fluent/fluent-bit:(\d+\.\d+)`).FindStringSubmatch(read(t, "Dockerfile"))[1]
	if len(tested) != 3 || !slices.Contains(tested, minor) {
		t.Errorf("the tests run in Fluent Bit %q; want three minor versions, with the Dockerfile's, %s", tested, minor)
	}
}

// TestKindsAreUpdated holds that what is pinned does not grow old.
func TestKindsAreUpdated(t *testing.T) {
	var d struct {
		Updates []struct {
			Kind     string `yaml:"package-ecosystem"`
			Schedule map[string]string
			Groups   map[string]any
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, ".github/dependabot.yml")), &d); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, u := range d.Updates {
		if len(u.Groups) != 1 {
			t.Errorf("%s is not one group", u.Kind)
		}
		got[u.Kind] = u.Schedule["interval"]
	}
	if diff := cmp.Diff(map[string]string{"gomod": "weekly", "github-actions": "weekly", "docker": "weekly"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestTemplates holds that the forms for issues are ones: every question has a
// kind that GitHub knows, and an id of its own.
func TestTemplates(t *testing.T) {
	for _, name := range []string{"bug.yml", "feature.yml"} {
		var f struct {
			Name, Description string
			Body              []struct {
				Type, ID   string
				Attributes map[string]string
			}
		}
		if err := yaml.Unmarshal([]byte(read(t, ".github/ISSUE_TEMPLATE/"+name)), &f); err != nil || f.Name == "" || f.Description == "" {
			t.Fatalf("%s: %v, %+v", name, err, f)
		}
		ids := map[string]bool{}
		for _, b := range f.Body {
			switch known := slices.Contains([]string{"textarea", "input"}, b.Type); {
			case b.Type == "markdown" && b.Attributes["value"] != "":
			case !known || b.Attributes["label"] == "" || ids[b.ID] || b.ID == "":
				t.Errorf("%s: %+v; ids so far %q", name, b, slices.Sorted(maps.Keys(ids)))
			}
			ids[b.ID] = true
		}
	}
}
