package checkpoint

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const fileSuffix = ".json"

// Entry is a stream's checkpoint as List found it, by the names of its folders and its file.
type Entry struct {
	Stream Stream // canonical
	Path   string // the current generation's file, which may be missing
}

// List returns the checkpoints in the folder dir, sorted by stream, without making, locking or writing anything there.
// What cannot be listed is in the error; what can be is returned beside it.
func List(dir string) ([]Entry, error) {
	hosts, err := folders(dir)
	problems := []error{err}
	var entries []Entry
	for _, host := range hosts {
		accounts, err := folders(filepath.Join(dir, host))
		problems = append(problems, err)
		for _, account := range accounts {
			found, err := listAccount(filepath.Join(dir, host, account), host, account)
			entries, problems = append(entries, found...), append(problems, err)
		}
	}
	return entries, errors.Join(problems...)
}

// folders returns the names of the folders in dir that may be parts of a stream's path.
func folders(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// listAccount returns the streams of which a generation is in the folder at path.
func listAccount(path, host, account string) (entries []Entry, err error) {
	files, err := os.ReadDir(path)
	for _, f := range files {
		log, ok := strings.CutSuffix(strings.TrimSuffix(f.Name(), prevSuffix), fileSuffix)
		st := Stream{Host: host, Account: account, Log: log}
		if ok && st == st.canonical() && st.check() == nil {
			entries = append(entries, Entry{Stream: st, Path: filepath.Join(path, log+fileSuffix)})
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Path, b.Path) })
	return slices.Compact(entries), err
}

// Read sets the value that into points to, as a whole, to the cursor of one generation, Current or Previous, and says
// when that was saved. Where there is no such generation the error is fs.ErrNotExist. It takes no lock: each generation
// is replaced in one step, so that it is read whole even while its owner saves.
func (e Entry) Read(g Generation, into any) (saved time.Time, err error) {
	path := e.Path
	if g == Previous {
		path += prevSuffix
	}
	f, err := read(path, e.Stream, into)
	return f.SavedAt, err
}
