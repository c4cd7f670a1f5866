package main

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"testing"

	"go.yaml.in/yaml/v3"
)

// What the service names, and what docs/install.md promises, is in the packages, where a user without rights can read it.
// The secret key and the state are left to the operator and to systemd.
func TestPackagesHaveWhatIsNamed(t *testing.T) {
	read := func(name string) []byte {
		data, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	var config struct {
		Contents []struct {
			Src, Dst string
			Info     struct{ Mode fs.FileMode } `yaml:"file_info"`
		}
	}
	if err := yaml.Unmarshal(read("deploy/package/nfpm.yaml"), &config); err != nil {
		t.Fatal(err)
	}
	modes := map[string]fs.FileMode{"/etc/duo_in/secret_key": 0o004}
	for _, c := range config.Contents {
		modes[c.Dst] = c.Info.Mode
		if folder, ok := modes[path.Dir(c.Dst)]; ok && folder&0o001 == 0 {
			t.Errorf("%s lies in a folder of mode %04o", c.Dst, folder)
		}
	}
	modes["/usr/share/doc/duo_in"] = 0o005 // a tree, as it lies in the archive
	named := regexp.MustCompile(`/(?:usr|etc)(?:/[a-z]+)*/duo(?:_in|ctl)(?:\.service|/[a-z_.-]+)?`)
	for _, file := range []string{"deploy/systemd/duo_in.service", "docs/install.md"} {
		found := named.FindAllString(string(read(file)), -1)
		if len(found) < 4 {
			t.Errorf("%s names only %q", file, found)
		}
		for _, name := range found {
			if mode, ok := modes[name]; (!ok || mode&0o004 == 0) && path.Dir(name) != "/usr/share/doc/duo_in" {
				t.Errorf("%s names %s, which the packages have not, or with mode %04o", file, name, mode)
			}
		}
	}
}
