//go:build linux

package checkpoint

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

var everyError = flag.Bool("errors", false, "TestEverySystemCall fails each system call with each of the errors, not with one of them in turn")

// underRace: the detector makes a process of this test's five times as slow, and finds nothing in one that has one
// goroutine. The tests without cgo have run it by then.
var underRace bool

// The errors with which system calls fail, and an end in place of the call.
var (
	callErrors = []string{"ENOSPC", "EIO", "EACCES", "EROFS", "EDQUOT", "EMFILE"}
	killed     = "killed"
)

// fileCalls are the system calls that are failed: all that a store makes of its files. Not every machine has each (?).
const fileCalls = "openat,read,?pread64,write,close,fsync,?fdatasync,?fstat,?newfstatat,?statx,linkat,?renameat,?renameat2,unlinkat,mkdirat," +
	"readlinkat,flock,ftruncate,fchmod,fchmodat,?fchmodat2,getdents64,lseek,fcntl"

// border names a file that is not there, so that strace tells the child's own system calls from its runtime's.
const border = "/there/is/no/such/file/as/this"

func init() {
	if os.Getenv(childEnv) == "steps" {
		runtime.LockOSThread() // strace counts the calls of each thread; all of the steps' are the first one's
	}
}

// steps is the whole life of a slot: three cursors are saved, each said on standard output once it is.
func steps(dir string) error {
	os.Readlink(border)
	defer os.Readlink(border)
	s, err := Open(dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	sl, err := s.Acquire(ctx, auth, "[INPUT] child.0")
	if err != nil {
		return err
	}
	var n int
	origin, err := sl.Load(&n)
	if err != nil {
		return err
	}
	fmt.Println("loaded", n, origin.Generation)
	for i := range 3 {
		if err := sl.Save(n + i + 1); err != nil {
			fmt.Println("failed", err)
			continue
		}
		fmt.Println("saved", n+i+1)
	}
	return sl.Release()
}

// nthCall is the n-th system call of its name that the child's first thread makes.
type nthCall struct {
	name string
	n    int
}

// life is a state that steps begin in.
type life struct {
	name   string
	before int      // the cursor saved last; 0: none, 1: there is no previous generation
	inject []string // what strace does in every run
	fates  []string // nil: all
}

var lives = []life{
	{name: "first start"},
	{name: "second start", before: 1, fates: []string{"EIO"}},
	{name: "restart", before: 2},
	{name: "restart, no links", before: 2, inject: []string{"-e", "inject=linkat:error=EPERM"}, fates: []string{killed}},
}

// TestEverySystemCall fails each system call that a store makes, and kills the process before each, from Open to
// Release. A clean process then finds the cursor that was acknowledged last, or a later one: never "nothing was saved"
// where something was, never a checkpoint that cannot be used; and it can save. Whatever was not saved was said so,
// with the path. With -errors each call fails with each error, which takes six times as long.
func TestEverySystemCall(t *testing.T) {
	if underRace {
		t.Skip("runs without the race detector: make pure")
	}
	strace, err := exec.LookPath("strace")
	if err == nil {
		var out []byte
		if out, err = exec.Command(strace, "-qq", "-o", os.DevNull, "true").CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
	}
	if err != nil {
		t.Skipf("*** NOT TESTED: no system call is failed, since strace cannot be used: %v", err)
	}
	for _, l := range lives {
		t.Run(l.name, func(t *testing.T) { l.run(t, strace) })
	}
}

func (l life) run(t *testing.T, strace string) {
	tr := trial{life: l, strace: strace}
	out, trace := tr.start(t, filepath.Join(t.TempDir(), "checkpoints"), nil)
	if want := fmt.Sprintf("saved %d\n", l.before+3); !strings.HasSuffix(out, want) {
		t.Fatalf("undisturbed: got %q, want %q in the end", out, want)
	}
	calls := callsIn(trace)
	if len(calls) < 40 {
		t.Fatalf("%d system calls:\n%s", len(calls), trace)
	}

	var mu sync.Mutex
	table, runs := map[string]map[string]int{}, 0 // outcomes by name of call
	t.Run("each", func(t *testing.T) {
		for i, c := range calls {
			if c.name == "fcntl" && !*everyError {
				continue // these only ask
			}
			for _, fate := range l.fatesOf(i) {
				t.Run(fmt.Sprintf("%s %d %s", c.name, c.n, fate), func(t *testing.T) {
					t.Parallel()
					outcome := tr.one(t, c, fate)
					mu.Lock()
					defer mu.Unlock()
					if runs++; table[c.name] == nil {
						table[c.name] = map[string]int{}
					}
					table[c.name][outcome]++
				})
			}
		}
	})
	t.Logf("%d system calls, %d runs:\n%s", len(calls), runs, render(table))
}

// fatesOf returns what happens to the i-th system call, in one run each.
func (l life) fatesOf(i int) []string {
	switch {
	case l.fates != nil:
		return l.fates
	case *everyError:
		return append(slices.Clone(callErrors), killed)
	}
	return []string{callErrors[i%len(callErrors)], killed}
}

// trial makes runs of one life.
type trial struct {
	life
	strace string
}

// start lets a child take the steps in the store at dir, and returns what it said and what strace wrote.
func (tr trial) start(t *testing.T, dir string, inject []string) (said, trace string) {
	t.Helper()
	if tr.before > 0 {
		sl := acquire(t, dir)
		mustLoad(t, sl)
		for n := range tr.before {
			mustSave(t, sl, n+1)
		}
		sl.Release()
	}
	exe, err := os.Executable()
	if err != nil {
		t.Error(err)
		return "", ""
	}
	log := dir + ".strace"
	args := slices.Concat([]string{"-f", "-qq", "-o", log, "-e", "trace=" + fileCalls, "-e", "signal=none"}, tr.inject, inject, []string{exe})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tr.strace, args...)
	cmd.Env = append(os.Environ(), childEnv+"=steps", childDirEnv+"="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil && !errors.As(err, new(*exec.ExitError)) || ctx.Err() != nil {
		t.Errorf("%v: %v\n%s", inject, err, out)
	}
	data, err := os.ReadFile(log)
	if err != nil {
		t.Error(err)
	}
	return string(out), string(data)
}

var traced = regexp.MustCompile(`(?m)^(\d+) +(\w+)\((.*)$`)

// callsIn returns the system calls between the two borders, without what is written to standard output.
func callsIn(trace string) (calls []nthCall) {
	count, marks := map[string]int{}, 0
	thread := ""
	for _, m := range traced.FindAllStringSubmatch(trace, -1) {
		thread = cmp.Or(thread, m[1])
		if m[1] != thread {
			continue
		}
		count[m[2]]++
		switch {
		case strings.Contains(m[3], border):
			marks++
		case marks == 1 && !strings.HasPrefix(m[3], "1, "):
			calls = append(calls, nthCall{m[2], count[m[2]]})
		}
	}
	return calls
}

// one makes one run and returns its outcome.
func (tr trial) one(t *testing.T, c nthCall, fate string) string {
	dir := filepath.Join(t.TempDir(), "checkpoints")
	how := "error=" + fate
	if fate == killed {
		how = "signal=KILL"
	}
	out, trace := tr.start(t, dir, []string{"-e", fmt.Sprintf("inject=%s:%s:when=%d", c.name, how, c.n)})
	if fate != killed && strings.Count(trace, "(INJECTED)") == 0 || fate == killed && strings.Count(trace, border) != 1 {
		t.Errorf("it did not happen:\n%s", out)
	}
	loaded, acknowledged, said := tr.before, 0, false
	for line := range strings.Lines(out) {
		var generation int
		switch {
		case strings.HasPrefix(line, "loaded "):
			fmt.Sscanf(line, "loaded %d %d", &loaded, &generation)
			if tr.before > 0 && Generation(generation) == Fresh {
				t.Errorf("silently from scratch: %q", out)
			}
		case strings.HasPrefix(line, "saved "):
			fmt.Sscanf(line, "saved %d", &acknowledged)
		case strings.Contains(line, "panic") || strings.Contains(line, "goroutine"):
			t.Error(out)
			return "panic"
		default:
			if said = true; !strings.Contains(line, dir) {
				t.Errorf("the message does not name the path: %s", line)
			}
		}
	}
	if !said && fate != killed && acknowledged != loaded+3 {
		t.Errorf("not all was saved, and nothing was said: %q", out)
	}

	// A clean process.
	sl := acquire(t, dir)
	defer sl.Release()
	n := 0
	origin, err := sl.Load(&n)
	// A current generation that could not be read once was given up for the one before it.
	least := max(min(loaded, tr.before), acknowledged)
	if err != nil || n < least || n > loaded+3 {
		t.Errorf("then got %d, %+v, error %v, want %d to %d\n%s", n, origin, err, least, loaded+3, out)
	}
	if origin.Generation == Fresh && !said && fate != killed {
		t.Errorf("nothing is there, and nothing was said: %q", out)
	}
	for _, next := range []int{100, 101} {
		if err := sl.Save(next); err != nil {
			t.Errorf("then cannot save: %v", err)
		}
	}
	if got := previous(t, sl); got != 100 {
		t.Errorf("previous generation in the end: got %d, want 100", got)
	}
	if left := names(t, sl); slices.ContainsFunc(left, func(s string) bool { return s[0] == '.' }) {
		t.Errorf("left behind: %v", left)
	}
	return outcome(fate, said, acknowledged == loaded+3, origin.Generation)
}

func outcome(fate string, said, all bool, g Generation) string {
	found := map[Generation]string{Fresh: "nothing, none acknowledged", Current: "current", Previous: "previous"}[g]
	switch {
	case fate == killed:
		return "killed: " + found
	case said:
		return "said: " + found
	case all:
		return "harmless: " + found
	}
	return "unsaid: " + found
}

// render returns a table of outcomes by system call.
func render(table map[string]map[string]int) string {
	columns := map[string]bool{}
	for _, row := range table {
		for c := range row {
			columns[c] = true
		}
	}
	names := slices.Sorted(maps.Keys(columns))
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight|tabwriter.Debug)
	fmt.Fprintln(w, "call\t"+strings.Join(names, "\t")+"\t")
	for _, name := range slices.Sorted(maps.Keys(table)) {
		fmt.Fprint(w, name, "\t")
		for _, c := range names {
			fmt.Fprint(w, table[name][c], "\t")
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	return b.String()
}
