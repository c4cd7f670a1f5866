//go:build linux

package checkpoint

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The machine goes down between any two system calls of a save. What was not synced is lost, or there in part; of the
// changes to names that no sync of their folder followed any may be there, and any not. Whatever the disk then holds, it
// is the generation that was saved last, or the one that was being saved, and can be saved over.
func TestPowerCutAtEveryCall(t *testing.T) {
	tests := []struct {
		name  string
		files func(t *testing.T, sl *Slot) // what the disk holds before; nil: not even the folder
		first int                          // what the child saves first
	}{
		{"the first ever", nil, 1},
		{"both generations there", func(t *testing.T, sl *Slot) { mustSave(t, sl, 4, 5) }, 6},
		{"current torn", func(t *testing.T, sl *Slot) {
			mustSave(t, sl, 4, 5)
			write(t, sl.path, []byte(`{"version": 1,`))
		}, 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if tt.files != nil {
				sl := acquire(t, filepath.Join(dir, storeName))
				mustLoad(t, sl)
				tt.files(t, sl)
				if err := sl.Release(); err != nil {
					t.Fatal(err)
				}
			}
			d := newDisk(t, dir)
			saved, states, again := tt.first-1, 0, map[string]bool{}
			for _, c := range trace(t, dir) {
				if n, ok := strings.CutPrefix(string(c.data), "saved "); ok && c.name == "write" {
					saved, _ = strconv.Atoi(strings.TrimSpace(n))
				}
				d.apply(c)
				for _, files := range d.afterCut(saved) {
					states++
					survives(t, files, saved, fmt.Sprintf("after %v", c), again)
				}
				if t.Failed() {
					return
				}
			}
			if saved != tt.first+savesTraced-1 {
				t.Errorf("the trace ends with save %d, want %d", saved, tt.first+savesTraced-1)
			}
			t.Logf("%d states of the disk", states)
		})
	}
}

const storeName = "store" // the child's folder, in the disk's

// survives holds that a disk with these files, by their path, goes on where it was;
// again has the names of those that were saved over.
func survives(t *testing.T, files map[string][]byte, saved int, when string, again map[string]bool) {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, path, data)
	}
	sl := acquire(t, filepath.Join(dir, storeName))
	n := 0
	if _, err := sl.Load(&n); err != nil || n != saved && n != saved+1 {
		t.Errorf("%s: loaded %d (%v), want %d or %d; files %q", when, n, err, saved, saved+1, slices.Sorted(maps.Keys(files)))
		return
	}
	names := ""
	for _, name := range slices.Sorted(maps.Keys(files)) {
		names += plain(name) + " "
	}
	if again[names] {
		return // each save waits for the disk
	}
	again[names] = true
	mustSave(t, sl, 99)
	if n, origin := mustLoad(t, sl); n != 99 || origin.Generation != Current {
		t.Errorf("%s: saved over, loaded %d, %+v", when, n, origin)
	}
}

var random = regexp.MustCompile(`json\d+$`)

// plain is a file's name without what is drawn for a temporary one.
func plain(name string) string { return random.ReplaceAllString(name, "json") }

// call is a system call that succeeded.
type call struct {
	name  string
	paths []string // that it names or whose descriptor it is given
	data  []byte   // of a write
}

func (c call) String() string { return fmt.Sprintf("%s %s", c.name, strings.Join(c.paths, " ")) }

// disk is what is known of the files below a folder, and what of that is sure to be on the disk.
type disk struct {
	dir     string
	names   map[string]*inode // as processes see them
	durable map[string]*inode // what the folders' syncs made sure of
	pending []change          // since then, by folder
	seen    map[string]bool   // what afterCut returned
}

type inode struct {
	folder           bool
	written, durable []byte
}

// change is one of a name: it gets a file, or none.
type change struct {
	folder string
	set    map[string]*inode // nil: removed
}

func newDisk(t *testing.T, dir string) *disk {
	d := &disk{dir: dir, names: map[string]*inode{}, durable: map[string]*inode{}, seen: map[string]bool{}}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			d.names[path] = &inode{folder: true}
			return err
		}
		data, err := os.ReadFile(path)
		d.names[path] = &inode{written: data, durable: data}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	d.durable = maps.Clone(d.names)
	return d
}

// apply does what a call does.
func (d *disk) apply(c call) {
	path := c.paths[0]
	node := d.names[path]
	switch c.name {
	case "openat":
		if node == nil {
			d.change(path, map[string]*inode{path: {}})
		}
	case "mkdirat":
		d.change(path, map[string]*inode{path: {folder: true}})
	case "write":
		if node != nil {
			node.written = append(node.written, c.data...)
		}
	case "fsync":
		if node != nil {
			node.durable = node.written
		}
		d.sync(path)
	case "renameat":
		if to := c.paths[1]; node != nil && d.names[to] != node {
			d.change(path, map[string]*inode{path: nil, to: node})
		}
	case "linkat":
		d.change(path, map[string]*inode{c.paths[1]: node})
	case "unlinkat":
		d.change(path, map[string]*inode{path: nil})
	}
}

func (d *disk) change(path string, set map[string]*inode) {
	ch := change{filepath.Dir(path), set}
	ch.apply(d.names)
	d.pending = append(d.pending, ch)
}

func (c change) apply(names map[string]*inode) {
	for name, node := range c.set {
		if names[name] = node; node == nil {
			delete(names, name)
		}
	}
}

// sync makes a folder's changes durable.
func (d *disk) sync(folder string) {
	d.pending = slices.DeleteFunc(d.pending, func(c change) bool {
		if c.folder == folder {
			c.apply(d.durable)
		}
		return c.folder == folder
	})
}

// afterCut returns what the disk may hold if the machine goes down now, the states that were not returned before since
// the last save.
func (d *disk) afterCut(saved int) (states []map[string][]byte) {
	for subset := range 1 << len(d.pending) {
		names := maps.Clone(d.durable)
		for i, c := range d.pending {
			if subset&(1<<i) != 0 {
				c.apply(names)
			}
		}
		for torn := range 4 {
			files := map[string][]byte{}
			key := bytes.NewBufferString(strconv.Itoa(saved))
			for _, path := range slices.Sorted(maps.Keys(names)) {
				name := strings.TrimPrefix(path, d.dir+"/")
				if names[path].folder || d.lost(path, names) || strings.HasSuffix(name, ".lock") {
					continue
				}
				files[name] = names[path].left(torn)
				fmt.Fprintf(key, "%s %q\n", plain(name), files[name])
			}
			if !d.seen[key.String()] {
				d.seen[key.String()] = true
				states = append(states, files)
			}
		}
	}
	return states
}

// lost reports whether a folder on the way to a file is missing.
func (d *disk) lost(path string, names map[string]*inode) bool {
	for path != d.dir {
		if path = filepath.Dir(path); names[path] == nil {
			return true
		}
	}
	return false
}

// left is what is there of a file: nothing, half or all of what was not synced, or as many zeros.
func (n *inode) left(torn int) []byte {
	rest := n.written[len(n.durable):]
	switch torn {
	case 0:
		rest = nil
	case 1:
		rest = rest[:len(rest)/2]
	case 2:
		rest = make([]byte, len(rest))
	}
	return slices.Concat(n.durable, rest)
}

// trace lets another process save, under strace, and returns its calls that concern files below dir, and those that
// print.
func trace(t *testing.T, dir string) (calls []call) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("NO STRACE: what a power cut leaves was not tested")
	}
	out := filepath.Join(t.TempDir(), "trace")
	cmd := exec.CommandContext(t.Context(), strace, "-f", "-xx", "-s", "65536", "-o", out,
		"-e", "trace=openat,mkdirat,write,fsync,close,renameat,linkat,unlinkat", os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=some saves", childDirEnv+"="+filepath.Join(dir, storeName))
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("STRACE DOES NOT RUN: what a power cut leaves was not tested: %v\n%s", err, output)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	open, begun := map[string]string{"1": "stdout"}, map[string]string{}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		thread, text, _ := strings.Cut(lines.Text(), " ")
		text = strings.TrimSpace(text)
		if first, ok := strings.CutSuffix(text, " <unfinished ...>"); ok {
			begun[thread] = first
			continue
		}
		if _, rest, ok := strings.Cut(text, " resumed>"); ok {
			text = begun[thread] + rest
		}
		if c, ok := parseCall(text, open); ok && (c.paths[0] == "stdout" || strings.HasPrefix(c.paths[0]+"/", dir+"/")) {
			calls = append(calls, c)
		}
	}
	return calls
}

var callLine = regexp.MustCompile(`^(\w+)\((.*)\)\s+= (\d+)$`)

// parseCall reads a line of strace; open has the paths of descriptors, and is kept.
func parseCall(line string, open map[string]string) (c call, ok bool) {
	m := callLine.FindStringSubmatch(line)
	if m == nil {
		return c, false // it failed
	}
	c.name = m[1]
	var texts [][]byte
	for _, s := range regexp.MustCompile(`"((?:\\x[0-9a-f]{2})*)"`).FindAllStringSubmatch(m[2], -1) {
		text, _ := hex.DecodeString(strings.ReplaceAll(s[1], `\x`, ""))
		texts = append(texts, text)
	}
	fd, _, _ := strings.Cut(m[2], ",")
	switch c.name {
	case "write", "fsync", "close":
		c.paths = []string{open[fd]}
		if c.name == "write" {
			c.data = texts[0]
		}
		return c, open[fd] != ""
	}
	for _, text := range texts {
		c.paths = append(c.paths, string(text))
	}
	if c.name == "openat" {
		open[m[3]] = c.paths[0]
		return c, strings.Contains(m[2], "O_CREAT")
	}
	return c, true
}
