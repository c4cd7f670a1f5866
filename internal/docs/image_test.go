package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	yamlv3 "go.yaml.in/yaml/v3"
)

// TestImage holds that the image's folder, user, version and configuration are those that the rest speaks of.
func TestImage(t *testing.T) {
	dockerfile := read(t, "Dockerfile")
	for _, want := range []string{
		"\nVOLUME /var/lib/duo_in\n", "\nUSER 65532:65532\n", "--chown=65532:65532 /out/state /var/lib/duo_in\n", `"/fluent-bit/etc/duo_in.conf"`,
		"\nCOPY deploy/docker/duo_in.conf /fluent-bit/etc/duo_in.conf\n",
	} {
		if !strings.Contains(dockerfile, want) {
			t.Errorf("the Dockerfile has no %q", want)
		}
	}
	version := regexp.MustCompile(`var version = "(.+)"`).FindStringSubmatch(read(t, "plugin/version.go"))
	if !strings.Contains(dockerfile, "\nARG VERSION="+version[1]+"\n") {
		t.Errorf("the Dockerfile's VERSION is not the plugin's, %s", version[1])
	}
	minor := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	if !strings.Contains(dockerfile, "golang:"+minor[1]+"-") {
		t.Errorf("the Dockerfile's Go is not go.mod's, %s", minor[1])
	}
	for _, page := range []string{"docs/docker.md", "docs/kubernetes.md"} {
		if text := read(t, page); !strings.Contains(text, "/var/lib/duo_in") || !strings.Contains(text, "65532") {
			t.Errorf("%s does not name the volume and the user", page)
		}
	}
}

// TestImageContext holds that all packages of the module that the image is made of
// are sent to the build: .dockerignore names what is.
func TestImageContext(t *testing.T) {
	sent := strings.Split(read(t, ".dockerignore"), "\n")
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if .Module}}{{if .Module.Main}}{{.ImportPath}}{{end}}{{end}}", "./plugin", "./cmd/duoctl")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "GOOS=linux")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(out))
	if len(packages) < 6 {
		t.Fatalf("the image is made of %q only", packages)
	}
	for _, p := range packages {
		folder := strings.TrimPrefix(p, "duo_in/")
		if !slices.ContainsFunc(sent, func(line string) bool {
			name, ok := strings.CutPrefix(line, "!")
			return ok && (folder == name || strings.HasPrefix(folder, name+"/"))
		}) {
			t.Errorf(".dockerignore keeps %s from the build", folder)
		}
	}
}

// TestDeployedIsSafe holds the configurations of deploy/ to what keeps events from being lost.
func TestDeployedIsSafe(t *testing.T) {
	files := []string{"deploy/docker/duo_in.conf", "deploy/docker/sim.conf", "deploy/kubernetes/single/duo_in.conf", "deploy/kubernetes/provider/duo_in.conf"}
	want := map[string]map[string]string{
		"SERVICE": {"storage.path": "/var/lib/duo_in/storage", "storage.checksum": "off", "http_server": "on", "health_check": "on"},
		"INPUT":   {"name": "duo", "storage.type": "filesystem"},
		"OUTPUT":  {"match": "duo", "retry_limit": "no_limits"},
	}
	for _, f := range files {
		config := regexp.MustCompile(`(?m)^@.+$`).ReplaceAllString(read(t, f), "")
		for _, s := range parse(t, config) {
			for key, value := range want[s.name] {
				if got := s.settings[key]; got != value {
					t.Errorf("%s [%s] %s is %q, want %q", f, s.name, key, got, value)
				}
			}
			if dir := s.settings["checkpoint_dir"]; s.name == "INPUT" && !strings.HasPrefix(dir, "/var/lib/duo_in") {
				t.Errorf("%s: checkpoint_dir %q is not on the volume", f, dir)
			}
		}
	}
}

// TestCompose holds that no service of compose.yaml has a right that it does not need, that each waits for a profile, and
// that docs/docker.md says the same of docker run. That Compose takes the file is for internal/image to show.
func TestCompose(t *testing.T) {
	type service struct {
		Image       string
		Profiles    []string
		ReadOnly    bool     `yaml:"read_only"`
		CapDrop     []string `yaml:"cap_drop"`
		SecurityOpt []string `yaml:"security_opt"`
		MemLimit    string   `yaml:"mem_limit"`
		PidsLimit   int      `yaml:"pids_limit"`
		Logging     struct{ Options map[string]string }
		Ports       []string
		Privileged  bool
		User        string
	}
	var file struct{ Services map[string]service }
	if err := yamlv3.Unmarshal([]byte(read(t, "compose.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name, got := range file.Services {
		names = append(names, name)
		want := service{Image: "duo_in", ReadOnly: true, CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges:true"}, MemLimit: "256m", PidsLimit: 256}
		want.Logging.Options = map[string]string{"max-size": "10m", "max-file": "3"}
		want.Profiles = []string{map[bool]string{true: "sim", false: "duo"}[strings.HasPrefix(name, "sim")]}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"duo_in", "sim", "sim_duo_in"}, names); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
	page := read(t, "docs/docker.md")
	for _, flag := range []string{"--read-only", "--cap-drop ALL", "--security-opt no-new-privileges", "--memory 256m", "--log-opt max-size=10m"} {
		if !strings.Contains(page, flag) {
			t.Errorf("docs/docker.md: its docker run has no %s", flag)
		}
	}
}
