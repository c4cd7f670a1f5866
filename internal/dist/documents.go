package main

import (
	"bytes"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
)

// shipped are the documents of each archive: what git has of them.
var shipped = []string{"README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md", "fluent-bit.conf.example", "fluent-bit.sim.conf", "docs", "examples", "deploy"}

// notices is the file with the licences of what is compiled in.
const notices = "THIRD-PARTY-LICENSES"

// documents lays the documents into each target's tree.
func (r *release) documents() error {
	files, err := output(r.root, "git", append([]string{"ls-files", "--"}, shipped...)...)
	if err != nil {
		return err
	}
	licences, err := r.licences()
	if err != nil {
		return err
	}
	for _, t := range targets {
		for _, name := range strings.Fields(files) {
			data, err := os.ReadFile(filepath.Join(r.root, name))
			if err != nil {
				return err
			}
			if err := put(filepath.Join(r.tree(t), name), data); err != nil {
				return err
			}
		}
		if err := put(filepath.Join(r.tree(t), notices), licences); err != nil {
			return err
		}
	}
	return nil
}

func put(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}

// modules are those compiled into the plugin or into duoctl, for any target, by what the files themselves say.
func (r *release) modules() ([]*debug.Module, error) {
	var all []*debug.Module
	for _, t := range targets {
		for _, file := range []string{t.shared, t.duoctl} {
			info, err := buildinfo.ReadFile(filepath.Join(r.tree(t), file))
			if err != nil {
				return nil, err
			}
			all = append(all, info.Deps...)
		}
	}
	byPath := func(a, b *debug.Module) int { return strings.Compare(a.Path, b.Path) }
	slices.SortFunc(all, byPath)
	return slices.CompactFunc(all, func(a, b *debug.Module) bool { return byPath(a, b) == 0 }), nil
}

// licences is the text of all of them.
func (r *release) licences() ([]byte, error) {
	modules, err := r.modules()
	if err != nil {
		return nil, err
	}
	goroot, err := output(r.root, "go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	text.WriteString("What duo_in and duoctl are compiled of besides their own code, and its licences.\n")
	if err := appendLicences(&text, "Go's standard library "+runtime.Version(), goroot); err != nil {
		return nil, err
	}
	for _, m := range modules {
		dir, err := output(r.root, "go", "list", "-m", "-f", "{{.Dir}}", m.Path)
		if err != nil {
			return nil, err
		}
		if err := appendLicences(&text, m.Path+" "+m.Version, dir); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), nil
}

func appendLicences(text *bytes.Buffer, of, dir string) error {
	found := 0
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		if e.IsDir() || !strings.HasPrefix(name, "LICENSE") && !strings.HasPrefix(name, "COPYING") && !strings.HasPrefix(name, "NOTICE") {
			continue
		}
		data, readErr := os.ReadFile(filepath.Join(dir, e.Name()))
		err = errors.Join(err, readErr)
		fmt.Fprintf(text, "\n%s\n%s: %s\n\n%s\n", strings.Repeat("=", 80), of, e.Name(), bytes.TrimSpace(data))
		found++
	}
	if err == nil && found == 0 {
		err = fmt.Errorf("%s has no licence in %s", of, dir)
	}
	return err
}

// The part of CycloneDX 1.6 that is written.
type (
	bom struct {
		Format      string      `json:"bomFormat"`
		SpecVersion string      `json:"specVersion"`
		Version     int         `json:"version"`
		Metadata    bomMetadata `json:"metadata"`
		Components  []component `json:"components"`
	}
	bomMetadata struct {
		Timestamp string    `json:"timestamp"`
		Component component `json:"component"`
	}
	component struct {
		Ref     string    `json:"bom-ref"`
		Type    string    `json:"type"`
		Name    string    `json:"name"`
		Version string    `json:"version"`
		PURL    string    `json:"purl,omitempty"`
		Hashes  []bomHash `json:"hashes,omitempty"`
	}
	bomHash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"` // hex
	}
)

func golang(module, version, sum string) component {
	purl := "pkg:golang/" + module + "@" + version
	c := component{Ref: purl, Type: "library", Name: module, Version: version, PURL: purl}
	if raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sum, "h1:")); err == nil && sum != "" {
		c.Hashes = []bomHash{{"SHA-256", hex.EncodeToString(raw)}} // of go.sum
	}
	return c
}

// billOfMaterials writes what is compiled in, in CycloneDX's JSON.
func (r *release) billOfMaterials() error {
	modules, err := r.modules()
	if err != nil {
		return err
	}
	b := bom{Format: "CycloneDX", SpecVersion: "1.6", Version: 1}
	b.Metadata.Timestamp = r.at.Format("2006-01-02T15:04:05Z")
	b.Metadata.Component = component{Ref: "duo_in", Type: "application", Name: "duo_in", Version: r.version}
	b.Components = append(b.Components, golang("std", strings.TrimPrefix(runtime.Version(), "go"), ""))
	for _, m := range modules {
		b.Components = append(b.Components, golang(m.Path, m.Version, m.Sum))
	}
	data, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	return put(filepath.Join(r.out, "duo_in-"+r.version+".cdx.json"), append(data, '\n'))
}
