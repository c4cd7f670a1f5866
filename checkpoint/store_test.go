package checkpoint

import (
	"context"
	"errors"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/go-cmp/cmp"
)

const owner = "[INPUT] duo.0"

func mustOpen(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// acquire returns the slot of auth in dir, not loaded yet, and given back when the test ends.
func acquire(t *testing.T, dir string) *Slot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	sl, err := mustOpen(t, dir).Acquire(ctx, auth, owner)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sl.Release(); err != nil {
			t.Error(err)
		}
	})
	return sl
}

func mustLoad(t *testing.T, sl *Slot) (int, Origin) {
	t.Helper()
	n := -1
	origin, err := sl.Load(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n, origin
}

func mustSave(t *testing.T, sl *Slot, cursors ...int) {
	t.Helper()
	for _, n := range cursors {
		if err := sl.Save(n); err != nil {
			t.Fatal(err)
		}
	}
}

// previous returns the cursor of the previous generation, -1 if there is none that is sound.
func previous(t *testing.T, sl *Slot) int {
	t.Helper()
	n := -1
	if _, err := read(sl.path+prevSuffix, sl.stream, &n); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Log(err)
	}
	return n
}

// names returns the files in the slot's folder.
func names(t *testing.T, sl *Slot) []string {
	t.Helper()
	entries, err := os.ReadDir(sl.folder)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSaveAndLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "open")
	s := mustOpen(t, dir)
	st := Stream{Host: "API-1.example.com:8443", Account: "DAXXXXXXXXXXXXXXXXXX", Log: "activity"}
	sl, err := s.Acquire(t.Context(), st, owner)
	if err != nil {
		t.Fatal(err)
	}
	if n, origin := mustLoad(t, sl); n != -1 || origin != (Origin{}) {
		t.Errorf("before the first save: got %d, %+v, want the value left alone and Fresh", n, origin)
	}
	before := time.Now().Add(-time.Millisecond)
	mustSave(t, sl, 1, 2, 3)
	if err := sl.Release(); err != nil {
		t.Fatal(err)
	}

	st.Host = "api-1.example.com" // the gateway was removed
	if sl, err = mustOpen(t, dir).Acquire(t.Context(), st, owner); err != nil {
		t.Fatal(err)
	}
	defer sl.Release()
	n, origin := mustLoad(t, sl)
	if n != 3 || origin.Generation != Current || origin.Saved.Before(before) || origin.Saved.After(time.Now()) || origin.Why != nil {
		t.Errorf("after a restart: got %d, %+v, want 3, Current", n, origin)
	}
	if n := previous(t, sl); n != 2 {
		t.Errorf("previous generation: got %d, want 2", n)
	}

	modes := map[string]fs.FileMode{}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			info, _ := d.Info()
			rel, _ := filepath.Rel(dir, path)
			modes[rel] = info.Mode()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	const in = "api-1.example.com/DAXXXXXXXXXXXXXXXXXX"
	want := map[string]fs.FileMode{
		".": fs.ModeDir | 0o700, "api-1.example.com": fs.ModeDir | 0o700, in: fs.ModeDir | 0o700,
		"api-1.example.com/.accounts.activity.lock": 0o600,
		in + "/activity.json":                       0o600, in + "/activity.json.prev": 0o600, in + "/activity.lock": 0o600,
	}
	if diff := cmp.Diff(want, modes); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestStreamNames(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	for _, st := range []Stream{
		{}, {Host: "h"}, {Log: "l"}, {Host: "..:443", Log: "l"}, {Host: ":443", Log: "l"}, {Host: "a/b", Log: "l"},
		{Host: "h", Account: "..", Log: "l"}, {Host: "h", Log: "../l"}, {Host: "h", Log: ".l"}, {Host: "h", Log: "l\x00"},
	} {
		if _, err := s.Acquire(t.Context(), st, owner); err == nil {
			t.Errorf("%#v: want an error", st)
		}
	}
	for want, st := range map[string]Stream{
		"api-1.example.com/self/authentication": auth,
		"localhost/DA1/activity":                {Host: "LocalHost:8443", Account: "DA1", Log: "activity"},
		"::1/self/activity":                     {Host: "[::1]:8443", Log: "activity"},
	} {
		if got := st.String(); got != want {
			t.Errorf("String: got %s, want %s", got, want)
		}
	}
}

// TestCutAtEveryByte: whatever remains of a file, with and without a generation before it, is never "nothing was saved"
// and never another cursor.
func TestCutAtEveryByte(t *testing.T) {
	sl := acquire(t, t.TempDir())
	mustLoad(t, sl)
	mustSave(t, sl, 1, 2)
	current, err := os.ReadFile(sl.path)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(sl.path + prevSuffix)
	if err != nil {
		t.Fatal(err)
	}
	whole := len(current) - 1 // the line's end is not part of the JSON

	for cut := range len(current) {
		write(t, sl.path, current[:cut])
		n, origin := mustLoad(t, sl)
		if cut < whole && (n != 1 || origin.Generation != Previous || origin.Why == nil || origin.Saved.IsZero()) {
			t.Errorf("cut at %d: got %d, %+v, want the previous generation", cut, n, origin)
		}
		if cut == whole && (n != 2 || origin.Generation != Current) {
			t.Errorf("cut at %d: got %d, %+v, want the current generation", cut, n, origin)
		}
	}
	for cut := range len(before) {
		write(t, sl.path, current[:whole/2])
		write(t, sl.path+prevSuffix, before[:cut])
		n := -1
		origin, err := sl.Load(&n)
		if cut == len(before)-1 {
			if n != 1 || origin.Generation != Previous {
				t.Errorf("both cut, at %d: got %d, %+v, want the previous generation", cut, n, origin)
			}
			continue
		}
		var unusable *UnusableError
		if !errors.As(err, &unusable) || n != -1 || unusable.Path != sl.path {
			t.Errorf("both cut, at %d: got %d, %+v, error %v, want an UnusableError", cut, n, origin, err)
		}
		if err := sl.Save(9); err == nil {
			t.Fatalf("both cut, at %d: Save must refuse", cut)
		}
	}
}

func TestLoadFromWhatIsThere(t *testing.T) {
	one, two := mustEncode(t, auth, 1), mustEncode(t, auth, 2)
	foreign, newer := mustEncode(t, tele, 3), []byte(`{"version": 2}`)
	file := func(data []byte) func(t *testing.T, path string) {
		return func(t *testing.T, path string) { write(t, path, data) }
	}
	none := func(*testing.T, string) {}
	link := func(t *testing.T, path string) {
		target := filepath.Join(t.TempDir(), "elsewhere")
		write(t, target, two)
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
	folder := func(t *testing.T, path string) {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	huge := func(t *testing.T, path string) {
		write(t, path, nil)
		if err := os.Truncate(path, maxFile+1); err != nil {
			t.Fatal(err)
		}
	}
	type result struct {
		N          int
		Generation Generation
		Unusable   bool
	}
	fresh, fromCurrent, fromPrevious := result{N: -1}, result{N: 2, Generation: Current}, result{N: 1, Generation: Previous}
	unusable := result{N: -1, Unusable: true}
	tests := []struct {
		name              string
		current, previous func(t *testing.T, path string)
		want              result
	}{
		{"nothing", none, none, fresh},
		{"both", file(two), file(one), fromCurrent},
		{"the first ever", file(two), none, fromCurrent},
		{"previous rotten", file(two), file(newer), fromCurrent},
		{"current missing", none, file(one), fromPrevious},
		{"current empty", file(nil), file(one), fromPrevious},
		{"current newer", file(newer), file(one), fromPrevious},
		{"current foreign", file(foreign), file(one), fromPrevious},
		{"current a link", link, file(one), fromPrevious},
		{"current a folder", folder, file(one), fromPrevious},
		{"current a pipe", makePipe, file(one), fromPrevious},
		{"current huge", huge, file(one), fromPrevious},
		{"current missing, previous rotten", none, file(nil), unusable},
		{"current rotten, previous missing", file(nil), none, unusable},
		{"both foreign", file(foreign), file(foreign), unusable},
		{"both newer", file(newer), file(newer), unusable},
		{"only a link", link, none, unusable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sl := acquire(t, t.TempDir())
			tt.current(t, sl.path)
			tt.previous(t, sl.path+prevSuffix)
			got := result{N: -1}
			origin, err := sl.Load(&got.N)
			got.Generation, got.Unusable = origin.Generation, errors.As(err, new(*UnusableError))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Fatalf("Load, error %v (-want +got):\n%s", err, diff)
			}
			if tt.want.Unusable {
				for _, part := range []string{sl.path, prevSuffix, "since"} {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("error %q does not name %q", err, part)
					}
				}
				return
			}
			// What the previous generation was good for lasts until the new one is there; what was not sound is kept.
			mustSave(t, sl, 7)
			_, err = os.Lstat(sl.path + brokenSuffix)
			if want := origin.Generation == Previous && !errors.Is(origin.Why, fs.ErrNotExist); (err == nil) != want {
				t.Errorf("set aside: %v, want %v", err == nil, want)
			}
			if n := previous(t, sl); origin.Generation == Previous && n != 1 {
				t.Errorf("previous generation after the save: got %d, want still 1", n)
			}
			mustSave(t, sl, 8)
			if n := previous(t, sl); n != 7 {
				t.Errorf("previous generation after two saves: got %d, want 7", n)
			}
			if n, origin := mustLoad(t, sl); n != 8 || origin.Generation != Current {
				t.Errorf("after two saves: got %d, %+v, want 8, Current", n, origin)
			}
		})
	}
}

func TestSaveRefuses(t *testing.T) {
	sl := acquire(t, t.TempDir())
	if err := sl.Save(1); err == nil || !strings.Contains(err.Error(), sl.path) {
		t.Errorf("before Load: got %v, want an error that names the path", err)
	}
	mustLoad(t, sl)
	mustSave(t, sl, 1)
	if err := sl.Save(nil); err == nil {
		t.Error("no cursor: want an error")
	}
	sl.Release()
	if err := sl.Save(2); err == nil {
		t.Error("after Release: want an error")
	}
	if n, _ := mustLoad(t, sl); n != 1 {
		t.Errorf("in the end: got %d, want 1", n)
	}
}

// TestSaveFails: the error names the path, no temporary file is left, the generation before is as it was.
func TestSaveFails(t *testing.T) {
	want := []string{"authentication.json", "authentication.json.prev", "authentication.lock"}
	check := func(t *testing.T, sl *Slot, message string) {
		t.Helper()
		if !strings.Contains(message, sl.path) {
			t.Errorf("error %q does not name %s", message, sl.path)
		}
		if diff := cmp.Diff(want, names(t, sl)); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		if n, origin := mustLoad(t, sl); n != 2 || origin.Generation != Current {
			t.Errorf("got %d, %+v, want 2, Current", n, origin)
		}
	}
	for _, role := range []string{"full", "forbidden"} {
		t.Run(role, func(t *testing.T) {
			dir := t.TempDir()
			sl := acquire(t, dir)
			mustLoad(t, sl)
			mustSave(t, sl, 1, 2)
			sl.Release()
			message := spawn(t, role, dir).line()
			os.Chmod(sl.folder, 0o700)
			check(t, acquire(t, dir), message)
		})
	}
	t.Run("rename", func(t *testing.T) {
		sl := acquire(t, t.TempDir())
		mustLoad(t, sl)
		mustSave(t, sl, 2)
		if err := os.MkdirAll(filepath.Join(sl.path+prevSuffix, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
		err := sl.Save(3)
		if err == nil {
			t.Fatal("want an error")
		}
		check(t, sl, err.Error())
	})
}

// TestSaveAfterACrash: each state that a crash can leave is one that the next owner gets on from.
func TestSaveAfterACrash(t *testing.T) {
	dir := t.TempDir()
	sl := acquire(t, dir)
	mustLoad(t, sl)
	mustSave(t, sl, 1, 2)
	tests := []struct {
		name  string
		crash func() error
	}{
		{"after the temporary file", func() error { return os.WriteFile(sl.folder+"/.authentication.json1234", []byte("{"), 0o600) }},
		{"after the link", func() error { return os.Link(sl.path, sl.folder+"/.authentication.json.prev") }},
		{"after its rename", func() error {
			if err := os.Remove(sl.path + prevSuffix); err != nil {
				return err
			}
			return os.Link(sl.path, sl.path+prevSuffix)
		}},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.crash(); err != nil {
				t.Fatal(err)
			}
			write(t, sl.folder+"/.activity.json1234", nil) // another stream's save, under way
			sl.Release()
			sl := acquire(t, dir)
			if n, origin := mustLoad(t, sl); n != i+2 || origin.Generation != Current {
				t.Errorf("got %d, %+v, want %d, Current", n, origin, i+2)
			}
			mustSave(t, sl, i+3)
			want := []string{".activity.json1234", "authentication.json", "authentication.json.prev", "authentication.lock"}
			if diff := cmp.Diff(want, names(t, sl)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			sl.Release()
		})
	}
}

// TestKilled: killed at any instant, the last cursor that Save returned for is there, or the one after it.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewSource(1))
	for round := range 20 {
		c := spawn(t, "save", dir)
		last, err := strconv.Atoi(c.line())
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		time.AfterFunc(time.Duration(r.Intn(20_000))*time.Microsecond, func() { c.Process.Kill() })
		for line := c.line(); line != ""; line = c.line() {
			if last, err = strconv.Atoi(line); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		c.Wait()
		sl := acquire(t, dir)
		n, origin := mustLoad(t, sl)
		if n < last || n > last+1 || origin.Generation != Current {
			t.Fatalf("round %d: got %d, %+v, want %d or %d, Current", round, n, origin, last, last+1)
		}
		if left := names(t, sl); slices.ContainsFunc(left, func(s string) bool { return s[0] == '.' }) {
			t.Errorf("round %d: left behind: %v", round, left)
		}
		sl.Release()
	}
}

func TestFolderRemoved(t *testing.T) {
	dir := t.TempDir()
	sl := acquire(t, dir)
	mustLoad(t, sl)
	mustSave(t, sl, 1)
	if err := os.RemoveAll(filepath.Join(dir, "api-1.example.com")); err != nil {
		t.Fatal(err)
	}
	mustSave(t, sl, 2)
	if info, err := os.Stat(sl.folder); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: %v, %v, want mode 0700", info, err)
	}
	if n, _ := mustLoad(t, sl); n != 2 {
		t.Errorf("got %d, want 2", n)
	}
	if pid, who := holder(sl.lock.path); pid != os.Getpid() || who != owner {
		t.Errorf("the new lock names %d %q, want %d %q", pid, who, os.Getpid(), owner)
	}
	if got, err := flock.New(sl.lock.path).TryLock(); got || err != nil {
		t.Errorf("the new lock: somebody else got it: %v, %v", got, err)
	}
}

func TestLockRemovedAndTaken(t *testing.T) {
	dir := t.TempDir()
	sl := acquire(t, dir)
	mustLoad(t, sl)
	mustSave(t, sl, 1)
	if err := os.Remove(sl.lock.path); err != nil {
		t.Fatal(err)
	}
	c := spawn(t, "hold", dir)
	if got := c.line(); got != "held" {
		t.Fatalf("child: %s", got)
	}
	for range 2 {
		var locked *LockedError
		if err := sl.Save(2); !errors.As(err, &locked) || locked.PID != c.Process.Pid {
			t.Errorf("another process holds a new lock file: got %v, want a LockedError with its pid", err)
		}
	}
	c.stdin.Close()
	c.Wait()
	mustSave(t, sl, 2)
}

func TestAcquireInOneProcess(t *testing.T) {
	dir := t.TempDir()
	alias := filepath.Join(t.TempDir(), "alias")
	if err := os.Symlink(dir, alias); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		first, err := mustOpen(t, dir).Acquire(t.Context(), auth, owner)
		if err != nil {
			t.Fatal(err)
		}
		s := mustOpen(t, alias)
		try := func() (*Slot, time.Duration, error) {
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			sl, err := s.Acquire(ctx, auth, "[INPUT] duo.1")
			return sl, time.Since(began), err
		}
		refused := func(want time.Duration) {
			t.Helper()
			_, took, err := try()
			var locked *LockedError
			if !errors.As(err, &locked) || took != want {
				t.Fatalf("got %v after %v, want a LockedError after %v", err, took, want)
			}
			if diff := cmp.Diff(LockedError{Path: first.lock.path, PID: os.Getpid(), Owner: owner}, *locked); diff != "" {
				t.Errorf("LockedError (-want +got):\n%s", diff)
			}
		}
		refused(0)
		other, err := s.Acquire(t.Context(), tele, owner)
		if err != nil {
			t.Errorf("another stream: %v", err)
		}
		defer other.Release()

		first.Closing()
		refused(10 * time.Second)
		time.AfterFunc(3*time.Second-time.Millisecond, func() { // 1 ms before a try
			first.Release()
			first.Release() // the second changes nothing
		})
		second, took, err := try()
		if err != nil || took != 3*time.Second {
			t.Fatalf("after Release: got %v after %v, want the slot after 3 s", err, took)
		}
		first.Release() // nor does a third
		if err := second.Release(); err != nil {
			t.Fatal(err)
		}
		if third, _, err := try(); err != nil {
			t.Error(err)
		} else {
			third.Release()
		}
	})
}

// waited tells, once, that somebody waits for the context's end.
type waited struct {
	context.Context
	tell chan struct{}
}

func (w waited) Done() <-chan struct{} {
	select {
	case w.tell <- struct{}{}:
	default:
	}
	return w.Context.Done()
}

func TestAcquireBesideAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	for _, end := range []string{"release", "kill"} {
		t.Run(end, func(t *testing.T) {
			c := spawn(t, "hold", dir)
			if got := c.line(); got != "held" {
				t.Fatalf("child: %s", got)
			}
			s := mustOpen(t, dir)
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := s.Acquire(ended, auth, owner)
			var locked *LockedError
			if !errors.As(err, &locked) {
				t.Fatalf("got %v, want a LockedError", err)
			}
			want := LockedError{filepath.Join(dir, auth.String()+".lock"), c.Process.Pid, "[INPUT] child.0"}
			if diff := cmp.Diff(want, *locked); diff != "" {
				t.Errorf("LockedError (-want +got):\n%s", diff)
			}
			for _, part := range []string{want.Path, strconv.Itoa(want.PID), want.Owner} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not name %q", err, part)
				}
			}

			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			w := waited{ctx, make(chan struct{}, 1)}
			go func() {
				<-w.tell
				if end == "kill" {
					c.Process.Kill()
				} else {
					c.stdin.Close()
				}
			}()
			sl, err := s.Acquire(w, auth, owner)
			if err != nil {
				t.Fatalf("after the other's end: %v", err)
			}
			sl.Release()
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	base := t.TempDir()
	file := filepath.Join(base, "file")
	write(t, file, nil)
	for _, dir := range []string{"", file, filepath.Join(file, "below")} {
		_, err := Open(dir)
		if err == nil || !strings.Contains(err.Error(), strconv.Quote(dir)) || !strings.Contains(err.Error(), "checkpoint_dir") {
			t.Errorf("%q: got %v, want an error with the path and the remedy", dir, err)
		}
	}
	if _, err := Open(base); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(base); len(entries) != 1 {
		t.Errorf("Open left something behind: %v", entries)
	}
}

// BenchmarkSave: a cursor of about 1 MB, with its way to the disk.
func BenchmarkSave(b *testing.B) {
	s, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	sl, err := s.Acquire(b.Context(), auth, owner)
	if err != nil {
		b.Fatal(err)
	}
	defer sl.Release()
	c := bigCursor()
	if _, err := sl.Load(&c); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := sl.Save(c); err != nil {
			b.Fatal(err)
		}
	}
}
