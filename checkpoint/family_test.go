package checkpoint

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/go-cmp/cmp"
)

const (
	familyLock = "api-1.example.com/.accounts.authentication.lock"
	childLock  = "api-1.example.com/DA1/authentication.lock"
)

// join takes the family, and in it the accounts, without waiting for anybody. What it got is given back at the test's end.
func join(t *testing.T, dir, owner string, all bool, accounts ...string) (*Family, []*Slot, error) {
	t.Helper()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	f, err := mustOpen(t, dir).AcquireFamily(ended, auth, all, owner)
	if err != nil {
		return nil, nil, err
	}
	t.Cleanup(func() { f.Release() })
	var slots []*Slot
	for _, a := range accounts {
		sl, err := f.Acquire(ended, a)
		if err != nil {
			return f, slots, err
		}
		t.Cleanup(func() { sl.Release() })
		slots = append(slots, sl)
	}
	return f, slots, nil
}

// TestFamilies: who may be beside whom, in this process and in two.
func TestFamilies(t *testing.T) {
	for _, tc := range []struct {
		name, first string // first has DA1, of all or of some, or is the parent itself
		all         bool
		accounts    []string
		want        string // the lock that is in the way; none: nothing is
	}{
		{"all beside all", "all", true, nil, familyLock},
		{"some beside all", "all", false, []string{"DA2"}, familyLock},
		{"all beside some", "some", true, nil, familyLock},
		{"some beside others", "some", false, []string{"DA2", "DA3"}, ""},
		{"one that is taken", "some", false, []string{"DA2", "DA1"}, childLock},
		{"all beside the parent", "hold", true, []string{"DA1"}, ""},
		{"some beside the parent", "hold", false, []string{"DA1"}, ""},
	} {
		check := func(t *testing.T, dir string, pid int, owner string) {
			_, slots, err := join(t, dir, "[INPUT] duo.1", tc.all, tc.accounts...)
			if tc.want == "" {
				if err != nil || len(slots) != len(tc.accounts) {
					t.Errorf("got %d accounts and %v", len(slots), err)
				}
				return
			}
			var locked *LockedError
			if !errors.As(err, &locked) {
				t.Fatalf("got %v, want a LockedError", err)
			}
			if diff := cmp.Diff(LockedError{filepath.Join(dir, tc.want), pid, owner}, *locked); diff != "" {
				t.Errorf("LockedError (-want +got):\n%s", diff)
			}
		}
		t.Run(tc.name+" in one process", func(t *testing.T) {
			dir := t.TempDir()
			if tc.first == "hold" {
				acquire(t, dir)
			} else if _, _, err := join(t, dir, owner, tc.first == "all", "DA1"); err != nil {
				t.Fatal(err)
			}
			check(t, dir, os.Getpid(), owner)
		})
		t.Run(tc.name+" in two processes", func(t *testing.T) {
			dir := t.TempDir()
			c := spawn(t, tc.first, dir)
			if got := c.line(); got != "held" {
				t.Fatalf("child: %s", got)
			}
			check(t, dir, c.Process.Pid, "[INPUT] child.0")
		})
	}
}

// TestFamilyClosing: a restart waits for those that are closing, and only as long as all of them are.
func TestFamilyClosing(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		first, _, err1 := join(t, dir, owner, false)
		second, _, err2 := join(t, dir, "[INPUT] duo.1", false)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		try := func() (time.Duration, error) {
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			f, err := mustOpen(t, dir).AcquireFamily(ctx, auth, true, "[INPUT] duo.2")
			if err == nil {
				defer f.Release()
			}
			return time.Since(began), err
		}
		first.Closing()
		var locked *LockedError
		if took, err := try(); !errors.As(err, &locked) || took != 0 || locked.Owner != "[INPUT] duo.1" {
			t.Errorf("got %v after %v, want at once the owner that is not closing", err, took)
		}
		second.Closing()
		first.Release()
		time.AfterFunc(3*time.Second-time.Millisecond, func() { second.Release() })
		if took, err := try(); err != nil || took != 3*time.Second {
			t.Errorf("got %v after %v, want the family after 3 s", err, took)
		}
	})
}

// TestFamilyOfMany: what a family of all holds open is one file, however many children it has, and each has its files.
func TestFamilyOfMany(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	descriptors := func() (n int) { // below dir: the runtime, and what other tests left, open and close others
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("NOT TESTED, since this system does not list descriptors: ", err)
		}
		for _, e := range entries {
			if path, _ := os.Readlink("/proc/self/fd/" + e.Name()); strings.HasPrefix(path+"/", dir+"/") {
				n++
			}
		}
		return n
	}
	f, _, err := join(t, dir, owner, true)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		sl, err := f.Acquire(t.Context(), "DA"+string(rune('A'+i/26))+string(rune('A'+i%26)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { sl.Release() })
		mustLoad(t, sl)
		mustSave(t, sl, i)
	}
	if n := descriptors(); n != 1 {
		t.Errorf("%d descriptors are open, want 1", n)
	}
	if n, _ := mustLoad(t, acquireChild(t, f, "DAZZ")); n != -1 {
		t.Errorf("a new child begins at %d", n)
	}
	if _, err := f.Acquire(t.Context(), "DAAA"); err == nil {
		t.Error("one child twice: want an error")
	}
	for _, account := range []string{"", "self", "..", "a/b", ".accounts.x"} {
		if _, err := f.Acquire(t.Context(), account); err == nil {
			t.Errorf("account %q: want an error", account)
		}
	}
}

func acquireChild(t *testing.T, f *Family, account string) *Slot {
	t.Helper()
	sl, err := f.Acquire(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sl.Release() })
	return sl
}

// TestFamilyLockRemoved: Save makes the lock anew, and refuses where another owner came in between.
func TestFamilyLockRemoved(t *testing.T) {
	for _, tc := range []struct {
		name   string
		all    bool
		remove string // a file or a folder
		rival  string // the role of the process that comes in between; none if empty
	}{
		{"all, the folder", true, "api-1.example.com", ""},
		{"all, the child's folder", true, "api-1.example.com/DA1", ""},
		{"all, taken by all", true, familyLock, "all"},
		{"all, taken by some", true, familyLock, "some"},
		{"some, the folder", false, "api-1.example.com", ""},
		{"some, the child's folder", false, "api-1.example.com/DA1", ""},
		{"some, taken by all", false, familyLock, "all"},
		{"some, the child's taken by some", false, childLock, "some"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			_, slots, err := join(t, dir, owner, tc.all, "DA1")
			if err != nil {
				t.Fatal(err)
			}
			mustLoad(t, slots[0])
			mustSave(t, slots[0], 1)
			if err := os.RemoveAll(filepath.Join(dir, tc.remove)); err != nil {
				t.Fatal(err)
			}
			if tc.rival != "" {
				c := spawn(t, tc.rival, dir)
				if got := c.line(); got != "held" {
					t.Fatalf("child: %s", got)
				}
				for range 2 {
					var locked *LockedError
					if err := slots[0].Save(2); !errors.As(err, &locked) || locked.PID != c.Process.Pid {
						t.Errorf("another process holds a new lock file: got %v, want a LockedError with its pid", err)
					}
				}
				c.stdin.Close()
				c.Wait()
			}
			mustSave(t, slots[0], 2)
			if n, _ := mustLoad(t, slots[0]); n != 2 {
				t.Errorf("got %d, want 2", n)
			}
			if got, err := flock.New(filepath.Join(dir, familyLock)).TryLock(); got || err != nil {
				t.Errorf("the family's lock: somebody else got it: %v, %v", got, err)
			}
		})
	}
}

// TestAcquireOfAChild: a tool that is after one child keeps out of a family of all, and keeps one out.
func TestAcquireOfAChild(t *testing.T) {
	dir := t.TempDir()
	child := Stream{Host: auth.Host, Account: "DA1", Log: auth.Log}
	for range 2 {
		sl, err := mustOpen(t, dir).Acquire(t.Context(), child, owner)
		if err != nil {
			t.Fatal(err)
		}
		var locked *LockedError
		if _, _, err := join(t, dir, "[INPUT] duo.1", true); !errors.As(err, &locked) {
			t.Errorf("all beside it: got %v, want a LockedError", err)
		}
		if err := sl.Release(); err != nil {
			t.Fatal(err)
		}
	}
	f, _, err := join(t, dir, owner, true)
	if err != nil {
		t.Fatal(err)
	}
	var locked *LockedError
	if _, err := mustOpen(t, dir).Acquire(t.Context(), child, owner); !errors.As(err, &locked) {
		t.Errorf("it beside all: got %v, want a LockedError", err)
	}
	f.Release()
}
