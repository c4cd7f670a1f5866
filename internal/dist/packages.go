package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// nfpm is the program that makes .deb and .rpm; it is run by its version, so that go.mod stays small.
const nfpm = "github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2"

// packages makes a .deb and an .rpm of each tree for Linux, as deploy/package/nfpm.yaml says.
func (r *release) packages() error {
	for _, t := range targets {
		if t.goos != "linux" {
			continue
		}
		needed, err := glibc(filepath.Join(r.tree(t), t.shared))
		if err != nil {
			return err
		}
		share := filepath.Join(r.work, "share-"+t.goarch)
		if err := r.share(t, share); err != nil {
			return err
		}
		for _, kind := range []string{"deb", "rpm"} {
			fmt.Printf("packing the .%s for %s; it needs glibc %s\n", kind, t.goarch, needed)
			cmd := exec.Command("go", "run", nfpm, "package", "-f", "deploy/package/nfpm.yaml", "-p", kind, "-t", r.out)
			cmd.Dir = r.root
			cmd.Env = append(os.Environ(), "VERSION="+r.version, "ARCH="+t.goarch, "GLIBC="+needed, "TREE="+r.tree(t), "SHARE="+share,
				fmt.Sprint("SOURCE_DATE_EPOCH=", r.at.Unix()))
			if err := do(cmd); err != nil {
				return err
			}
		}
	}
	return nil
}

// share lays what belongs into /usr/share/doc/duo_in, which is the tree without the programs, into a folder.
func (r *release) share(t target, folder string) error {
	if err := os.CopyFS(folder, os.DirFS(r.tree(t))); err != nil {
		return err
	}
	for _, file := range []string{t.shared, t.duoctl} {
		if err := os.Remove(filepath.Join(folder, file)); err != nil {
			return err
		}
	}
	return filepath.WalkDir(folder, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, r.at, r.at)
	})
}
