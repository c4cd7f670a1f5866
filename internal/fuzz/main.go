// Command fuzz runs every fuzz test of the module for a bounded time, and promises to say which failed and where the
// input is that did it. Each package is built once, instrumented, and the fuzz tests run two at a time.
//
// It must run in the module's root. Inputs found on the way are kept in the folder fuzz of Go's build cache, as go test
// keeps them; the one that makes a test fail is written to the package's testdata/fuzz, and go test then runs it for ever.
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

func main() {
	each := flag.Duration("time", 10*time.Second, "how long each fuzz test runs")
	atOnce := flag.Int("at-once", 2, "how many run at once")
	only := flag.String("run", ".", "regular expression: only the fuzz tests that it matches")
	cold := flag.Bool("cold", false, "begin with the seeds alone: a short run has no time for all that was found before")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	if err := run(ctx, *each, *atOnce, *only, *cold); err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

// target is one fuzz test.
type target struct{ folder, binary, name string }

func run(ctx context.Context, each time.Duration, atOnce int, only string, cold bool) error {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "duo_in-fuzz-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	targets, err := build(ctx, dir, wanted)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return fmt.Errorf("no fuzz test matches %q: correct -run", only)
	}
	cache := dir
	if !cold {
		if cache, err = output(ctx, ".", "go", "env", "GOCACHE"); err != nil {
			return err
		}
	}
	var all sync.WaitGroup
	var mu sync.Mutex // guards failures
	var failures []error
	turns := make(chan struct{}, max(atOnce, 1))
	for _, t := range targets {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			text, err := t.beyondSeeds(ctx, each, filepath.Join(strings.TrimSpace(cache), "fuzz", "duo_in", t.folder))
			fmt.Printf("%-24s %-18s %s\n", t.folder, t.name, executions(text))
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failures = append(failures, fmt.Errorf("%s in %s: %w\n%s", t.name, t.folder, err, text))
			}
		})
	}
	all.Wait()
	return errors.Join(failures...)
}

// build builds the packages that have fuzz tests and returns those tests.
func build(ctx context.Context, dir string, wanted *regexp.Regexp) (targets []target, err error) {
	files, err := output(ctx, ".", "go", "list", "-f", "{{$d := .Dir}}{{range .TestGoFiles}}{{$d}}/{{.}}\n{{end}}{{range .XTestGoFiles}}{{$d}}/{{.}}\n{{end}}", "./...")
	if err != nil {
		return nil, err
	}
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	built := map[string]string{} // by folder
	for _, file := range strings.Fields(files) {
		source, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`).FindAllSubmatch(source, -1) {
			folder, err := filepath.Rel(root, filepath.Dir(file))
			if err != nil || !wanted.Match(m[1]) {
				continue
			}
			if built[folder] == "" {
				built[folder] = filepath.Join(dir, strings.ReplaceAll(folder, "/", "_")+".test")
				if _, err := output(ctx, ".", "go", "test", "-c", "-fuzz=.", "-o", built[folder], "./"+folder); err != nil {
					return nil, err
				}
			}
			targets = append(targets, target{folder, built[folder], string(m[1])})
		}
	}
	return targets, nil
}

// patience is by how much longer a fuzz test may run until it gets beyond its
// seeds.
const patience = 8

// beyondSeeds runs the test for that long, and for longer if the seeds alone take
// that time: one that tries nothing new shows nothing.
func (t target) beyondSeeds(ctx context.Context, each time.Duration, cache string) (text string, err error) {
	for lasts := each; lasts <= patience*each; lasts *= 2 {
		if text, err = t.run(ctx, lasts, cache); err != nil || executions(text) != none {
			return text, err
		}
	}
	return text, fmt.Errorf("its seeds alone take longer than %v: take some out, or raise -time", patience*each)
}

// run fuzzes in the package's folder, as go test does, and interrupts the test when
// its time is over. -test.fuzztime would do that too, but on a busy machine a test
// that it ends can fail with "context deadline exceeded", though it found nothing:
// go.dev/issue/75804.
func (t target) run(ctx context.Context, each time.Duration, cache string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, each+hangs, fmt.Errorf("it has not ended %v after its time", hangs))
	defer cancel()
	cmd := exec.CommandContext(ctx, t.binary, "-test.run=^$", "-test.fuzz=^"+t.name+"$",
		"-test.fuzzminimizetime=5x", "-test.parallel=1", "-test.fuzzcachedir="+cache)
	cmd.WaitDelay = time.Minute // its worker holds the pipe too
	// The time counts from the first word: who is interrupted before is killed.
	said := &firstWord{then: func() { time.AfterFunc(each, func() { cmd.Process.Signal(os.Interrupt) }) }}
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.folder, said, said
	if err := cmd.Run(); err != nil {
		return said.text.String(), fmt.Errorf("%s: %w", t.binary, cmp.Or(context.Cause(ctx), err))
	}
	return said.text.String(), nil
}

// hangs is how long after its time a fuzz test is given up: go test's own limit does
// not hold for fuzzing.
const hangs = 10 * time.Minute

// firstWord keeps what is written and says when it begins.
type firstWord struct {
	text bytes.Buffer
	then func()
}

func (w *firstWord) Write(b []byte) (int, error) {
	if w.then != nil {
		w.then()
		w.then = nil
	}
	return w.text.Write(b)
}

const none = "no executions"

// executions is how far the last line of progress says that it got.
func executions(text string) string {
	all := regexp.MustCompile(`execs: \d+`).FindAllString(text, -1)
	if len(all) == 0 {
		return none
	}
	return all[len(all)-1]
}

// output runs a command; the error has what it said.
func output(ctx context.Context, folder, name string, args ...string) (string, error) {
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = folder, &out, &said
	if err := cmd.Run(); err != nil {
		return out.String() + said.String(), fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args[:2], " "), err, said.String())
	}
	return out.String() + said.String(), nil
}
