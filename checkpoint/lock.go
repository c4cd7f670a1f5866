package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

// lockPoll is the pause between two tries to get a lock that somebody holds.
const lockPoll = 50 * time.Millisecond

// owners holds the locks of this process by their file. flock alone would keep two of them apart as well, but could
// neither tell a rival in this process from a restart that will soon be over, nor be waited for without polling.
var owners = struct {
	sync.Mutex
	byPath map[string][]*lock // one, or several that share it
}{byPath: map[string][]*lock{}}

// lock keeps others out: those in this process by the table of owners, those in another one by a file. Its owner calls
// its methods one at a time, but for announce.
type lock struct {
	dir     string // the store's
	path    string
	owner   string
	shared  bool // keeps out only those who want it for themselves
	within  bool // has no file: a family's lock, which keeps other processes out, is held
	closing bool // guarded by owners
	file    *flock.Flock
}

// LockedError reports that another owner has a stream, or a family of them.
type LockedError struct {
	Path  string // the lock file
	PID   int    // the owner's process, maybe this one; 0 if it is not known
	Owner string // what it called itself, such as "[INPUT] duo.0"; "" if it is not known
}

func (e *LockedError) Error() string {
	owner, pid := "another owner", "unknown"
	if e.Owner != "" {
		owner = e.Owner
	}
	if e.PID != 0 {
		pid = strconv.Itoa(e.PID)
	}
	return fmt.Sprintf("%s is held by %s, pid %s: let only one of the two pull this log, or set a checkpoint_dir of its own for this one",
		e.Path, owner, pid)
}

// poll repeats try every 50 ms, for as long as try asks for it and ctx lasts, and returns its last error.
func poll(ctx context.Context, try func() (again bool, err error)) error {
	for {
		again, err := try()
		if !again {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(lockPoll):
		}
	}
}

// take gets the lock. It waits for an owner in another process, or for one in this process that is closing, until ctx
// ends, and then returns a *LockedError.
func (l *lock) take(ctx context.Context) error {
	if err := poll(ctx, l.enter); err != nil {
		return err
	}
	err := l.ownFolders()
	if err == nil && !l.within {
		err = poll(ctx, l.shut)
	}
	if err != nil {
		l.leave()
	}
	return err
}

// enter puts l into the table. To try again makes sense only while those that are in the way are closing.
func (l *lock) enter() (again bool, err error) {
	owners.Lock()
	defer owners.Unlock()
	for _, other := range owners.byPath[l.path] {
		if l.shared && other.shared {
			continue
		}
		err = &LockedError{Path: l.path, PID: os.Getpid(), Owner: other.owner}
		if !other.closing {
			return false, err
		}
	}
	if err != nil {
		return true, err
	}
	owners.byPath[l.path] = append(owners.byPath[l.path], l)
	return false, nil
}

// leave takes back enter.
func (l *lock) leave() {
	owners.Lock()
	defer owners.Unlock()
	rest := slices.DeleteFunc(owners.byPath[l.path], func(other *lock) bool { return other == l })
	if owners.byPath[l.path] = rest; len(rest) == 0 {
		delete(owners.byPath, l.path)
	}
}

// announce says that the lock will soon be given back.
func (l *lock) announce() {
	owners.Lock()
	defer owners.Unlock()
	l.closing = true
}

// giveBack lets others have the lock.
func (l *lock) giveBack() error {
	defer l.leave()
	if l.within {
		return nil
	}
	return l.naming(l.file.Unlock())
}

// naming adds the lock file's path to an error of flock, which does not name it.
func (l *lock) naming(err error) error {
	if err == nil || errors.As(err, new(*fs.PathError)) {
		return err
	}
	return &fs.PathError{Op: "flock", Path: l.path, Err: err}
}

// shut locks the file, and writes into it who has it; of several that share it, the last one.
func (l *lock) shut() (again bool, err error) {
	file := flock.New(l.path, flock.SetFlag(os.O_CREATE|os.O_RDONLY|asIs), flock.SetPermissions(0o600))
	try := file.TryLock
	if l.shared {
		try = file.TryRLock
	}
	ok, err := try()
	if errors.Is(err, syscall.ELOOP) {
		return false, linked(l.path, err)
	}
	if err != nil {
		return false, fmt.Errorf("%w: checkpoint_dir must be writable, and on a file system that has flock", l.naming(err))
	}
	if !ok {
		pid, owner := holder(l.path)
		return true, &LockedError{Path: l.path, PID: pid, Owner: owner}
	}
	l.file = file
	// The name serves only the message that another process gives, so that a full disk is no reason to stay out.
	if f, err := os.OpenFile(l.path, os.O_WRONLY|asIs, 0); err == nil {
		defer f.Close()
		if _, err := onlyName(f); err != nil {
			return false, errors.Join(err, file.Unlock())
		}
		if f.Truncate(0) == nil {
			f.Seek(nameAt, io.SeekStart)
			fmt.Fprintf(f, "%d %s\n", os.Getpid(), l.owner)
		}
	}
	return false, nil
}

// ownFolders makes the account's folder and the host's, or refuses what stands in
// their place.
func (l *lock) ownFolders() error {
	folder := filepath.Dir(l.path)
	for _, path := range []string{filepath.Dir(folder), folder} {
		if len(path) <= len(l.dir) {
			continue // the store's own folder, of a lock that lies in a host's
		}
		if err := ownFolder(path); err != nil {
			return err
		}
	}
	return makeFolder(folder)
}

// hold makes sure that the lock file in the folder is still the one that is locked. Where somebody removed it, alone or
// with the folder, the lock would keep nobody out, so that a new one is made and taken.
func (l *lock) hold() error {
	if l.within {
		return l.ownFolders()
	}
	ours, err := l.file.Stat()
	if err != nil {
		return err
	}
	if there, err := os.Lstat(l.path); err == nil && os.SameFile(ours, there) {
		return nil
	}
	if err := l.ownFolders(); err != nil {
		return err
	}
	removed := l.file
	if _, err := l.shut(); err != nil {
		return err
	}
	return l.naming(removed.Unlock())
}

// holder returns who wrote itself into the lock file; 0 and "" if nobody can be made out.
func holder(path string) (pid int, owner string) {
	f, err := os.OpenFile(path, os.O_RDONLY|asIs, 0)
	if err != nil {
		return 0, ""
	}
	defer f.Close()
	f.Seek(nameAt, io.SeekStart)
	text, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return 0, ""
	}
	first, rest, _ := strings.Cut(string(text), " ")
	if pid, err = strconv.Atoi(first); err != nil {
		return 0, ""
	}
	return pid, strings.TrimSpace(rest)
}
