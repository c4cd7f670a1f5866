// Package durable replaces files so that whatever happens meanwhile, to the process or to the machine, what stands under
// their name is whole: the old or the new one. On Unix systems that is renameio's work, which leaves Windows out.
//
// What is to become the file lies beside it until then, under a name that begins with a dot and the file's own, and a killed
// process leaves it there: removing that is left to the caller, and so is to sync the folder, for a replacement that
// must outlast a power cut (on Windows that is not needed).
package durable

import "io/fs"

// WriteFile makes or replaces the file at path.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	f, err := Create(path, mode)
	if err != nil {
		return err
	}
	defer f.Cleanup()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}
