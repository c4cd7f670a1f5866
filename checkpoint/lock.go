package checkpoint

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// lockPoll is the pause between two tries to get a lock that somebody holds.
const lockPoll = 50 * time.Millisecond

// owners holds the slots of this process by their lock file. flock alone would keep two of them apart as well, but
// could neither tell a rival in this process from a restart that will soon be over, nor be waited for without polling.
var owners = struct {
	sync.Mutex
	byLock map[string]*Slot
}{byLock: map[string]*Slot{}}

// LockedError reports that another owner has a stream.
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

// enter makes sl the one slot of this process for its stream. To try again makes sense only while the other is closing.
func (sl *Slot) enter() (again bool, err error) {
	owners.Lock()
	defer owners.Unlock()
	if other, ok := owners.byLock[sl.lockPath]; ok {
		return other.closing, &LockedError{Path: sl.lockPath, PID: os.Getpid(), Owner: other.owner}
	}
	owners.byLock[sl.lockPath] = sl
	return false, nil
}

// leave takes back enter.
func (sl *Slot) leave() {
	owners.Lock()
	defer owners.Unlock()
	delete(owners.byLock, sl.lockPath)
}

// shut takes the lock file, which keeps other processes out, and writes into it who has it.
func (sl *Slot) shut() (again bool, err error) {
	lock := flock.New(sl.lockPath, flock.SetFlag(os.O_CREATE|os.O_RDONLY|asIs), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil {
		return false, fmt.Errorf("%w: checkpoint_dir must be writable, and on a file system that has flock", err)
	}
	if !ok {
		pid, owner := holder(sl.lockPath)
		return true, &LockedError{Path: sl.lockPath, PID: pid, Owner: owner}
	}
	sl.lock = lock
	// The name serves only the message that another process gives, so that a full disk is no reason to stay out.
	if f, err := os.OpenFile(sl.lockPath, os.O_WRONLY|os.O_TRUNC|asIs, 0); err == nil {
		fmt.Fprintf(f, "%d %s\n", os.Getpid(), sl.owner)
		f.Close()
	}
	return false, nil
}

// hold makes sure that the lock file in the folder is still the one that is locked. Where somebody removed it, alone or
// with the folder, the lock would keep nobody out, so that a new one is made and taken.
func (sl *Slot) hold() error {
	ours, err := sl.lock.Stat()
	if err != nil {
		return err
	}
	if there, err := os.Lstat(sl.lockPath); err == nil && os.SameFile(ours, there) {
		return nil
	}
	if err := makeFolder(sl.folder); err != nil {
		return err
	}
	removed := sl.lock
	if _, err := sl.shut(); err != nil {
		return err
	}
	return removed.Unlock()
}

// holder returns who wrote itself into the lock file; 0 and "" if nobody can be made out.
func holder(path string) (pid int, owner string) {
	f, err := os.OpenFile(path, os.O_RDONLY|asIs, 0)
	if err != nil {
		return 0, ""
	}
	defer f.Close()
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
