package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"duo_in/internal/durable"
)

// Store is a folder of checkpoints: <folder>/<host>/<account or self>/<log>.json for each stream, with the generation
// before it in <log>.json.prev and its lock in <log>.lock. Files are 0600, folders that it makes 0700. The host of a
// child account's streams is the parent's: a child that moves to another host goes on where it was.
type Store struct {
	dir      string
	boot     string // this run of the machine; "" if that cannot be told
	warnings []string
}

// Slot is one stream's place in a Store, for its one owner. Its methods may be called from several goroutines.
type Slot struct {
	stream Stream // canonical
	boot   string // as the store's
	folder string
	path   string  // the current generation; with prevSuffix the one before
	family *Family // of a child account; else nil
	share  *Family // the same, if it is to be given back with the slot

	mu       sync.Mutex
	lock     *lock
	loaded   bool // Load succeeded: what is on the disk is known, and may be replaced
	broken   bool // the current generation exists and is not sound
	aging    aging
	released bool
}

const (
	prevSuffix   = ".prev"
	brokenSuffix = ".broken" // what was found in the place of the current generation and could not be used
)

// Generation says which of a checkpoint's files a cursor came from.
type Generation int

const (
	Fresh    Generation = iota // none: nothing was ever saved
	Current                    // the one saved last
	Previous                   // the one before it, since the last one is missing or not sound
	Older                      // one that was saved at least 90 s before those, since the machine has been started anew
)

// Origin is where Load got the cursor from.
type Origin struct {
	Generation Generation
	Saved      time.Time // when it was saved, by the clock of that time; zero if Fresh
	Why        error     // what is wrong with the current generation; none if that is sound
}

// UnusableError reports a checkpoint of which no generation is sound. Only the operator can tell what is to become of
// it, so that Save refuses to replace it.
type UnusableError struct {
	Path     string // the current generation's file
	Current  error  // why it cannot be used
	Previous error  // why the one before cannot be used either
}

func (e *UnusableError) Error() string {
	return fmt.Sprintf(`checkpoint %s cannot be used: %v; nor can %s: %v: restore one of them from a backup, or remove both to begin again from "since"`,
		e.Path, e.Current, filepath.Base(e.Path)+prevSuffix, e.Previous)
}

// Open returns the store in the folder dir, which it makes if it is missing, with its parents. It fails if no file can
// be made there.
func Open(dir string) (*Store, error) {
	s, err := open(dir)
	if err != nil {
		return nil, fmt.Errorf("checkpoint folder %q: %w: set checkpoint_dir to a folder, on a volume that lasts, that %s can write to",
			dir, err, processUser())
	}
	return s, nil
}

func open(dir string) (*Store, error) {
	if dir == "" {
		return nil, errors.New("no path given")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := makeFolder(dir); err != nil {
		return nil, err
	}
	// Two paths to one folder must not look like two stores to this process.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if err := notPlanted(dir, info); err != nil {
		return nil, err
	}
	trial := filepath.Join(dir, ".writable") // always this name: a killed process leaves at most one behind
	os.Remove(trial)                         // by whomever; where it cannot be, the next step says so
	f, err := os.OpenFile(trial, os.O_CREATE|os.O_WRONLY|asIs, 0o600)
	if err != nil {
		return nil, err
	}
	f.Close()
	if err := os.Remove(trial); err != nil && !errors.Is(err, fs.ErrNotExist) { // another process may be trying too
		return nil, err
	}
	return &Store{dir: dir, boot: bootID(), warnings: warnings(dir)}, nil
}

// Acquire makes owner, a description such as "[INPUT] duo.0" for those who are refused, the one owner of the stream. It
// waits for an owner in another process, or for one in this process that is Closing, until ctx ends, and then returns
// a *LockedError; an owner in this process that is not closing is one at once. The stream of a child account must not
// be within anybody's Family of all; whoever wants several takes a Family first.
func (s *Store) Acquire(ctx context.Context, st Stream, owner string) (*Slot, error) {
	st = st.canonical()
	if err := st.check(); err != nil {
		return nil, err
	}
	if st.Account == self {
		return s.acquire(ctx, st, &lock{owner: owner}, nil)
	}
	family, err := s.AcquireFamily(ctx, Stream{Host: st.Host, Log: st.Log}, false, owner)
	if err != nil {
		return nil, err
	}
	sl, err := family.Acquire(ctx, st.Account)
	if err != nil {
		return nil, errors.Join(err, family.Release())
	}
	sl.share = family
	return sl, nil
}

// acquire makes the slot of a stream, takes its lock, and removes what a killed process left.
func (s *Store) acquire(ctx context.Context, st Stream, l *lock, family *Family) (*Slot, error) {
	folder := filepath.Join(s.dir, st.Host, st.Account)
	l.dir, l.path = s.dir, filepath.Join(folder, st.Log+".lock")
	sl := &Slot{stream: st, boot: s.boot, folder: folder, path: filepath.Join(folder, st.Log+fileSuffix), family: family, lock: l}
	if err := l.take(ctx); err != nil {
		return nil, fmt.Errorf("lock checkpoint of %s: %w", st, err)
	}
	sl.sweep()
	return sl, nil
}

// Load sets the value that into points to, as a whole, to the cursor saved last, and says where it is from. If there
// is none it leaves the value alone and returns Fresh. The error, an *UnusableError, is for a checkpoint that is there
// and cannot be used: torn, changed, of a newer version, another stream's, or refused by the value's UnmarshalJSON.
// Load may be tried again.
//
// Where the machine has been started anew since the last save, the cursor is an older one: what Fluent Bit had taken
// shortly before, it may not have any more. Whether the machine went down in good order cannot be told, so that events of
// some minutes come again also if it did.
func (sl *Slot) Load(into any) (Origin, error) {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	sl.loaded, sl.broken, sl.aging = true, false, aging{}
	f, err := read(sl.path, sl.stream, into)
	if err == nil {
		return sl.choose(f, Origin{Generation: Current}, into), nil
	}
	missing := errors.Is(err, fs.ErrNotExist)
	f, prevErr := read(sl.path+prevSuffix, sl.stream, into)
	switch {
	case prevErr == nil:
		sl.broken = !missing
		return sl.choose(f, Origin{Generation: Previous, Why: err}, into), nil
	case missing && errors.Is(prevErr, fs.ErrNotExist):
		return Origin{}, nil
	}
	sl.loaded = false
	return Origin{}, &UnusableError{Path: sl.path, Current: err, Previous: prevErr}
}

// choose completes the origin of a file that is sound, whose own cursor was loaded, and loads the older one, which can be
// decoded as well, where that is the one to go on from.
func (sl *Slot) choose(f file, o Origin, into any) Origin {
	sl.aging.older = f.Older
	o.Saved = f.SavedAt
	if f.Older != nil && f.Boot != "" && sl.boot != "" && f.Boot != sl.boot && f.Older.decode(into) == nil {
		o.Generation, o.Saved = Older, f.Older.SavedAt
	}
	return o
}

// Reset is Save for a cursor that the operator chose, which the one before it did not lead to.
func (sl *Slot) Reset(cursor any) error {
	sl.mu.Lock()
	sl.aging = aging{}
	sl.mu.Unlock()
	return sl.Save(cursor)
}

// Save makes cursor the current generation, on the disk when it returns, and the one that was current the previous. If
// it fails at least one of them is still there. It refuses before a Load that succeeded and after Release. If somebody
// removed the folder or the lock file they are made anew; a *LockedError means that another owner came in between.
// A current generation that Load could not use is set aside, as <log>.json.broken.
func (sl *Slot) Save(cursor any) error {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if err := sl.save(cursor); err != nil {
		return fmt.Errorf("save checkpoint %s: %w", sl.path, err)
	}
	return nil
}

func (sl *Slot) save(cursor any) error {
	switch {
	case sl.released:
		return errors.New("its lock was given back")
	case !sl.loaded:
		return errors.New("refused: what is there was not read, or could not be used")
	}
	if err := sl.family.hold(); err != nil {
		return err
	}
	if err := sl.lock.hold(); err != nil {
		return err
	}
	now := time.Now()
	k, err := newKept(now, cursor)
	if err != nil {
		return err
	}
	sl.aging.note(now, &k)
	data, err := encode(sl.stream, sl.boot, k, sl.aging.older)
	if err != nil {
		return err
	}
	return sl.write(data)
}

// write replaces the current generation. The order is what makes it safe: the new one is complete beside the others
// before either name changes, and each name changes in one step.
func (sl *Slot) write(data []byte) error {
	tmp, err := durable.Create(sl.path, 0o600)
	if err != nil {
		return err
	}
	defer tmp.Cleanup() // removes it, unless it has become the current generation
	if _, err := tmp.Write(data); err != nil {
		return err
	}
	if err := sl.keep(); err != nil {
		return err
	}
	if err := tmp.CloseAtomicallyReplace(); err != nil {
		return err
	}
	sl.broken = false
	return syncFolder(sl.folder)
}

// keep makes the current generation the previous one too. It is linked, so that it is never missing in between; on a
// file system without links it is renamed, and Load finds the previous one for that moment. One that is not sound is
// put aside instead, since the previous one is then the only sound one.
func (sl *Slot) keep() error {
	if sl.broken {
		return present(os.Rename(sl.path, sl.path+brokenSuffix))
	}
	link := filepath.Join(sl.folder, "."+filepath.Base(sl.path)+prevSuffix)
	if err := present(os.Remove(link)); err != nil {
		return err
	}
	err := os.Link(sl.path, link)
	if noLinks(err) {
		return os.Rename(sl.path, sl.path+prevSuffix)
	}
	if err != nil {
		return present(err)
	}
	defer os.Remove(link) // where both names were one file already, rename leaves both
	return os.Rename(link, sl.path+prevSuffix)
}

// sweep removes the temporary files that a killed process left. Failing to do so harms nothing.
func (sl *Slot) sweep() {
	entries, _ := os.ReadDir(sl.folder)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "."+filepath.Base(sl.path)) {
			os.Remove(filepath.Join(sl.folder, e.Name()))
		}
	}
}

// Closing announces a Release: from now on another Acquire in this process waits for it.
func (sl *Slot) Closing() {
	sl.lock.announce()
	if sl.share != nil {
		sl.share.Closing()
	}
}

// Release waits for a Save that is under way and gives the lock back. Only the first call does anything.
func (sl *Slot) Release() error {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if sl.released {
		return nil
	}
	sl.released = true
	err := sl.lock.giveBack()
	if sl.share != nil {
		err = errors.Join(err, sl.share.Release())
	}
	return err
}

// makeFolder makes the folder at path, 0700, and its parents, so that power loss does not take them away again.
func makeFolder(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir():
		return &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
	case err == nil || !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := filepath.Dir(path)
	if err := makeFolder(parent); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(parent)
}

// syncFolder makes the names in a folder durable, where its file system and its permissions let that be done.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err == nil {
		err = f.Sync()
		f.Close()
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// present returns err unless it says that there is no such file.
func present(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
