//go:build unix

package checkpoint

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stranger is a user and a group that nothing here belongs to.
const stranger = 47110

func chown(t *testing.T, path string, uid, gid int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT ROOT: what belongs to another user was not tried")
	}
	if err := os.Lchown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// What is said about a checkpoint folder: nothing where it is as it should be, or
// as Kubernetes makes it, one line with the remedy where others can write to it.
func TestFolderWarnings(t *testing.T) {
	for _, tc := range []struct {
		name     string
		uid, gid int
		mode     fs.FileMode
		want     string // "" for nothing
	}{
		{"made by duo_in", 0, 0, 0o700, ""},
		{"a package's", 0, 0, 0o755, ""},
		{"Kubernetes with fsGroup", 0, os.Getegid(), 0o775 | fs.ModeSetgid, ""},
		{"another group's to write", 0, stranger, 0o775, "can be written to by group id 47110 (mode 0775)"},
		{"another group's to read", 0, stranger, 0o750, ""},
		{"everybody's", 0, 0, 0o777, "can be written to by every user (mode 0777)"},
		{"everybody's, sticky", 0, 0, 0o777 | fs.ModeSticky, ""},
		{"another user's", stranger, 0, 0o700, "belongs to user id 47110"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if tc.uid != 0 || tc.gid != os.Getegid() || os.Geteuid() == 0 {
				chown(t, dir, tc.uid, tc.gid)
			}
			chmod(t, dir, tc.mode)
			got := mustOpen(t, dir).Warnings()
			if tc.want == "" && len(got) > 0 || tc.want != "" && (len(got) != 1 || !strings.Contains(got[0], tc.want) || !strings.Contains(got[0], dir)) {
				t.Errorf("warnings %q, want one with %q", got, tc.want)
			}
		})
	}
}

// use opens the folder, takes the stream, loads its cursor and saves another.
func use(t *testing.T, dir string) (loaded int, err error) {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	sl, err := s.Acquire(ctx, auth, owner)
	if err != nil {
		return 0, err
	}
	defer sl.Release()
	if _, err := sl.Load(&loaded); err != nil {
		return loaded, err
	}
	return loaded, sl.Save(loaded + 1)
}

// What an intruder may put into the places of duo_in's own files: it is refused by
// its name, and what it leads to is not touched. What harms nothing is replaced.
func TestPlanted(t *testing.T) {
	symlink := func(t *testing.T, path, victim string) { must(t, os.Symlink(victim, path)) }
	hardlink := func(t *testing.T, path, victim string) { must(t, os.Link(victim, path)) }
	fifo := func(t *testing.T, path, _ string) { must(t, syscall.Mkfifo(path, 0o666)) }
	folder := func(t *testing.T, path, _ string) { must(t, os.MkdirAll(filepath.Join(path, "x"), 0o755)) }
	base := auth.Log
	for _, tc := range []struct {
		what  string
		plant func(t *testing.T, path, victim string)
		place string // within the account's folder, or "host" or "account" for that
		want  string // in the error; "" if all goes on
	}{
		{"symlink", symlink, base + ".json", "is a symbolic link"},
		{"symlink", symlink, base + ".json.prev", ""}, // not looked at while the current one is sound
		{"symlink", symlink, base + ".lock", "is a symbolic link"},
		{"symlink", symlink, "../../.writable", ""},
		{"symlink", symlink, "." + base + ".json.prev", ""},
		{"symlink", symlink, "host", "is a symbolic link"},
		{"symlink", symlink, "account", "is a symbolic link"},
		{"hard link", hardlink, base + ".json", "cannot be used"},
		{"hard link", hardlink, base + ".lock", "has 2 hard links"},
		{"hard link", hardlink, "../../.writable", ""},
		{"FIFO", fifo, base + ".json", "is not a regular file"},
		{"FIFO", fifo, base + ".lock", "is not a regular file"},
		{"FIFO", fifo, "../../.writable", ""},
		{"FIFO", fifo, "host", "not a directory"},
		{"folder", folder, base + ".json", "is not a regular file"},
		{"folder", folder, base + ".lock", "is a directory"},
	} {
		t.Run(tc.what+" "+tc.place, func(t *testing.T) {
			dir, outside := t.TempDir(), t.TempDir()
			if _, err := use(t, dir); err != nil {
				t.Fatal(err)
			}
			account := filepath.Join(dir, auth.Host, self)
			victim, path := filepath.Join(outside, "victim"), filepath.Join(account, tc.place)
			must(t, os.WriteFile(victim, []byte("precious"), 0o644))
			switch tc.place {
			case "host":
				path, victim = filepath.Join(dir, auth.Host), outside
			case "account":
				path, victim = account, outside
			}
			must(t, os.RemoveAll(path))
			tc.plant(t, path, victim)
			_, err := use(t, dir)
			if (err == nil) != (tc.want == "") || err != nil && (!strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), filepath.Base(path))) {
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
			content, err := os.ReadFile(filepath.Join(outside, "victim"))
			info, statErr := os.Stat(filepath.Join(outside, "victim"))
			if string(content) != "precious" || err != nil || statErr != nil || info.Mode().Perm() != 0o644 {
				t.Errorf("what was linked to is now %q, %v (%v, %v)", content, info.Mode(), err, statErr)
			}
			if names, _ := os.ReadDir(outside); len(names) != 1 {
				t.Errorf("files were made behind the link: %v", names)
			}
		})
	}
}

// In a folder that anybody may write to, what is another user's is refused: the
// checkpoint, its folders, and checkpoint_dir itself. Elsewhere the same is what
// an installation looks like that changed its user, and goes on.
func TestAnotherUsers(t *testing.T) {
	for _, place := range []string{"", auth.Host, auth.Host + "/" + self, auth.Host + "/" + self + "/" + auth.Log + ".json"} {
		for _, mode := range []fs.FileMode{0o755, 0o777, 0o777 | fs.ModeSticky} {
			t.Run(place+" in "+mode.String(), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "checkpoints")
				if _, err := use(t, dir); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(dir, place)
				chmod(t, filepath.Dir(path), mode)
				chown(t, path, stranger, stranger)
				_, err := use(t, dir)
				refused := mode != 0o755
				if (err != nil) != refused || err != nil && !strings.Contains(err.Error(), "belongs to user id 47110, in a folder that anybody may write to") {
					t.Errorf("error %v, want one: %v", err, refused)
				}
			})
		}
	}
}

// A checkpoint that others may read or write is tightened when it is saved next,
// the one before it at the save after that.
func TestModesAreTightened(t *testing.T) {
	dir := t.TempDir()
	if _, err := use(t, dir); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, auth.Host, self, auth.Log+".json")
	chmod(t, file, 0o666)
	for want := 1; want < 3; want++ {
		if n, err := use(t, dir); err != nil || n != want {
			t.Fatal(n, err)
		}
	}
	for _, path := range []string{file, file + prevSuffix} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v (%v)", path, info.Mode(), err)
		}
	}
}

// An operator may have checkpoint_dir lead to another volume.
func TestFolderThatIsALink(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "data"), 0o700))
	link := filepath.Join(dir, "duo_in")
	must(t, os.Symlink("data", link))
	for want := range 3 {
		if n, err := use(t, link); err != nil || n != want {
			t.Fatalf("loaded %d, error %v; want %d", n, err, want)
		}
	}
	if w := mustOpen(t, link).Warnings(); len(w) > 0 {
		t.Errorf("warnings %q", w)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
}

// FuzzHolder holds that whatever a lock file says, no more of it is shown than a
// line can bear.
func FuzzHolder(f *testing.F) {
	for _, s := range []string{"", "1", "123 [INPUT] duo.0\n", "-1 x", "99999999999999999999 x", "1 \x1b[31m\nforged", strings.Repeat("9", 5000)} {
		f.Add([]byte(s))
	}
	path := filepath.Join(f.TempDir(), "x.lock")
	f.Fuzz(func(t *testing.T, content []byte) {
		must(t, os.WriteFile(path, content, 0o600))
		pid, owner := holder(path)
		err := LockedError{Path: path, PID: pid, Owner: owner}
		if len(err.Error()) > 5000+len(path) {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
}
