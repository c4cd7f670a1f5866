package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// archives writes one of each target's tree: what Windows unpacks is a .zip.
func (r *release) archives() error {
	for _, t := range targets {
		tree := r.tree(t)
		write, ending := writeTar, ".tar.gz"
		if t.goos == "windows" {
			write, ending = writeZip, ".zip"
		}
		f, err := os.Create(filepath.Join(r.out, filepath.Base(tree)+ending))
		if err != nil {
			return err
		}
		if err := errors.Join(write(f, tree, r.at), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// each calls do for the folder tree and all in it, sorted, by their names in an archive that unpacks into one folder.
func each(tree string, do func(name, path string, mode fs.FileMode) error) error {
	return filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(filepath.Dir(tree), path)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if d.IsDir() {
			name, mode = name+"/", 0o755
		} else if strings.HasPrefix(d.Name(), "duoctl") {
			mode = 0o755
		}
		return do(filepath.ToSlash(name), path, mode)
	})
}

func writeTar(w io.Writer, tree string, at time.Time) error {
	packed := gzip.NewWriter(w)
	archive := tar.NewWriter(packed)
	err := each(tree, func(name, path string, mode fs.FileMode) error {
		h := &tar.Header{Name: name, Mode: int64(mode), ModTime: at, Uname: "root", Gname: "root", Format: tar.FormatPAX, Typeflag: tar.TypeDir}
		if strings.HasSuffix(name, "/") {
			return archive.WriteHeader(h)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		h.Typeflag, h.Size = tar.TypeReg, int64(len(data))
		if err := archive.WriteHeader(h); err != nil {
			return err
		}
		_, err = archive.Write(data)
		return err
	})
	return errors.Join(err, archive.Close(), packed.Close())
}

func writeZip(w io.Writer, tree string, at time.Time) error {
	archive := zip.NewWriter(w)
	err := each(tree, func(name, path string, mode fs.FileMode) error {
		h := &zip.FileHeader{Name: name, Modified: at, Method: zip.Deflate}
		if strings.HasSuffix(name, "/") {
			h.SetMode(mode | fs.ModeDir)
			_, err := archive.CreateHeader(h)
			return err
		}
		h.SetMode(mode)
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		to, err := archive.CreateHeader(h)
		if err == nil {
			_, err = to.Write(data)
		}
		return err
	})
	return errors.Join(err, archive.Close())
}
