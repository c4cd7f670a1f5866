package flbtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var buildDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "flbtest")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	buildDir = dir
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

var (
	cHost = sync.OnceValues(func() (string, error) { return BuildCHost(context.Background(), buildDir) })
	fake  = sync.OnceValues(func() (string, error) { return BuildFake(context.Background(), buildDir) })
)

// built skips the test where there is no C compiler.
func built(t *testing.T, build func() (string, error)) string {
	t.Helper()
	path, err := build()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skipf("SKIPPED, the hosts are NOT tested: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func hostPath(t *testing.T, kind Kind) string {
	t.Helper()
	if kind == CHost {
		return built(t, cHost)
	}
	path, ok := FluentBitPath()
	if !ok {
		t.Skip("SKIPPED, real Fluent Bit is NOT tested: put fluent-bit on PATH or its path into $FLUENT_BIT")
	}
	return path
}

// scenario is the fake plugin in a host.
type scenario struct {
	*testing.T
	kind    Kind
	spec    Spec
	journal string
	ctx     context.Context
}

func newScenario(t *testing.T, kind Kind, inputs ...Input) *scenario {
	t.Helper()
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // only a fault takes it
	t.Cleanup(cancel)
	s := &scenario{T: t, kind: kind, journal: filepath.Join(dir, "journal"), ctx: ctx}
	s.spec = Spec{Plugin: built(t, fake), Dir: dir, Inputs: inputs, Env: []string{"FAKE_JOURNAL=" + s.journal}}
	if kind == CHost {
		s.spec.Grace = 250 * time.Millisecond
		s.spec.CollectEvery = 50 * time.Millisecond
	}
	return s
}

func (s *scenario) start() *Process {
	s.Helper()
	p, err := Start(s.kind, hostPath(s.T, s.kind), s.spec)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := p.Close(); err != nil {
			s.Error(err)
		}
	})
	return p
}

// startReady also waits until the inputs are initialised.
func (s *scenario) startReady() *Process {
	s.Helper()
	p := s.start()
	s.check(p.WaitReady(s.ctx))
	return p
}

func (s *scenario) stop(p *Process) {
	s.Helper()
	_, err := p.Stop(s.ctx)
	s.check(err)
}

func (s *scenario) check(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// call is one line of the fake's journal.
type call struct {
	name   string
	thread int
	ms     int64
	detail string
}

func (s *scenario) calls() []call {
	s.Helper()
	b, err := os.ReadFile(s.journal)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.Fatal(err)
	}
	var calls []call
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(f) != 4 {
			continue // still being written
		}
		thread, _ := strconv.Atoi(f[1])
		ms, _ := strconv.ParseInt(f[2], 10, 64)
		calls = append(calls, call{f[0], thread, ms, f[3]})
	}
	return calls
}

// count counts the calls of a name whose detail contains a part.
func (s *scenario) count(name, part string) int {
	s.Helper()
	n := 0
	for _, c := range s.calls() {
		if c.name == name && strings.Contains(c.detail, part) {
			n++
		}
	}
	return n
}

// until polls a condition.
func (s *scenario) until(what string, condition func() bool) {
	s.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			s.Fatalf("in vain waited until %s", what)
		}
	}
}

func (s *scenario) records(tag string) []Record {
	s.Helper()
	records, err := Records(s.kind, s.spec.Dir, tag)
	s.check(err)
	return records
}

// numbers is the field n of each record.
func (s *scenario) numbers(records []Record) []int {
	s.Helper()
	var numbers []int
	for _, r := range records {
		n, err := strconv.Atoi(r.String("n"))
		s.check(err)
		numbers = append(numbers, n)
	}
	return numbers
}

func sequence(from, to int) []int {
	var numbers []int
	for n := from; n < to; n++ {
		numbers = append(numbers, n)
	}
	return numbers
}
