//go:build unix

package durable

import (
	"io/fs"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// File is to become a file. Its owner writes it, calls CloseAtomicallyReplace, and in any case Cleanup.
type File = renameio.PendingFile

// Create makes what is to become the file at path, whatever mode that has now.
func Create(path string, mode fs.FileMode) (*File, error) {
	return renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(mode))
}
