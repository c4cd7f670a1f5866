//go:build cgo

package scenario

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite what the tests make of docs/guarantees.md; takes -patient and both hosts")

// sightings is what a run saw: what came out, by trouble and place, and what
// was said, by trouble. They are the same in both hosts.
type sightings struct {
	mu    sync.Mutex // guards what follows
	cells map[sighting]string
	said  map[string][]string // sorted, each line once
	whys  []string            // why a trouble cannot be at a place
	hosts map[sighting]int    // in how many hosts a cell was seen
	wrong []string            // where one host showed another thing than the other
}

type sighting struct {
	trouble string
	place   place
}

func newSightings() *sightings {
	return &sightings{cells: map[sighting]string{}, said: map[string][]string{}, hosts: map[sighting]int{}}
}

// saw notes what a host showed.
func (s *sightings) saw(tr *trouble, p place, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := sighting{tr.name, p}
	s.hosts[at]++
	if before, ok := s.cells[at]; ok && before != text {
		s.wrong = append(s.wrong, fmt.Sprintf("%s, %s: %q in one host, %q in the other", tr.name, p, before, text))
	}
	s.cells[at] = text
}

// heard notes what was said of a trouble, be it nothing.
func (s *sightings) heard(tr *trouble, lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said[tr.name] = slices.Clip(s.said[tr.name])
	for _, line := range lines {
		if i, found := slices.BinarySearch(s.said[tr.name], line); !found {
			s.said[tr.name] = slices.Insert(s.said[tr.name], i, line)
		}
	}
}

// never notes that a trouble cannot be at a place.
func (s *sightings) never(tr *trouble, p place, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.whys, why)
	if i < 0 {
		i, s.whys = len(s.whys), append(s.whys, why)
	}
	s.cells[sighting{tr.name, p}] = fmt.Sprintf("– (%d)", i+1)
}

const (
	faultsBegin = "<!-- faults:begin -->\n"
	faultsEnd   = "<!-- faults:end -->\n"
)

// settle compares the document with what was seen, or rewrites it.
func (s *sightings) settle(t *testing.T) {
	for _, w := range s.wrong {
		t.Error(w)
	}
	path := filepath.Join("..", "..", "docs", "guarantees.md")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, begun := strings.Cut(string(data), faultsBegin)
	written, tail, ended := strings.Cut(rest, faultsEnd)
	if !begun || !ended {
		t.Fatalf("%s has no lines %q and %q", path, faultsBegin, faultsEnd)
	}
	if !*update {
		if diff := cmp.Diff(written, s.render(read(written))); diff != "" && !t.Failed() {
			t.Errorf("what was seen is not what docs/guarantees.md says; to rewrite it run go test ./internal/scenario -run TestFaults -patient -update -timeout 20m (-document +seen):\n%s", diff)
		}
		return
	}
	if at, ok := s.unseen(); ok || t.Failed() {
		t.Errorf("%s was not rewritten: that takes -patient, both hosts, namespaces, and a run without an error; not seen: %v", path, at)
		return
	}
	if err := os.WriteFile(path, []byte(head+faultsBegin+s.render(document{})+faultsEnd+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}

// unseen returns a cell that was not seen in each host that can show it.
func (s *sightings) unseen() (at sighting, ok bool) {
	for _, tr := range allTroubles() {
		for _, p := range places {
			want := 2
			if tr.where == inCHost {
				want = 1
			}
			at = sighting{tr.name, p}
			if tr.never[p] == "" && s.hosts[at] < want {
				return at, true
			}
		}
	}
	return sighting{}, false
}

// faultsLegend says what the tables show, which is what the cells are held to.
const faultsLegend = `
Each cell was run in the C host and in Fluent Bit, with an input, a simulated Duo and a checkpoint folder of its own.
*Complete*: none of the events was missing, those included that were filed while the trouble lasted, and none came twice
but where the cell says so. *By itself*: without a restart. What could not be saved was delivered all the same, on a full disk
perhaps only when there was room again. Each line of the second table was logged once when the trouble began, and one line,
"Duo answers again", "checkpoints can be saved again" or "there is room …", when it was over. At exit, the input's other log was delivered while the trouble lasted, unless that was of all of Duo, of the disk or of the host.

`

// render writes the tables; what this run did not see is as it was.
func (s *sightings) render(before document) string {
	var b strings.Builder
	b.WriteString(faultsLegend)
	for _, p := range places {
		fmt.Fprintf(&b, "- *%s*: %s\n", p, placeHelp[p])
	}
	b.WriteString("\n| trouble |")
	for _, p := range places {
		fmt.Fprintf(&b, " %s |", p)
	}
	b.WriteString("\n|" + strings.Repeat("---|", 1+len(places)) + "\n")
	for _, tr := range allTroubles() {
		fmt.Fprintf(&b, "| %s |", tr.name)
		for _, p := range places {
			at := sighting{tr.name, p}
			text, seen := s.cells[at]
			if !seen {
				text = before.cells[at]
			}
			fmt.Fprintf(&b, " %s |", text)
		}
		b.WriteString("\n")
	}
	b.WriteString("\n")
	for i, why := range s.whys {
		fmt.Fprintf(&b, "%d. %s\n", i+1, why)
	}
	b.WriteString("\n| trouble | what the log says when it begins |\n|---|---|\n")
	for _, tr := range allTroubles() {
		said := "nothing"
		if lines, seen := s.said[tr.name]; !seen || tr.waits && before.holds(tr, lines) {
			said = before.said[tr.name]
		} else if len(lines) > 0 {
			said = "`" + strings.Join(lines, "`<br>`") + "`"
		}
		fmt.Fprintf(&b, "| %s | %s |\n", tr.name, said)
	}
	b.WriteString("\n")
	return b.String()
}

// document is what render wrote.
type document struct {
	cells map[sighting]string
	said  map[string]string
}

// holds reports whether each of the lines is in the document. Of a trouble that
// has the input wait or not, not every run hears all lines.
func (d document) holds(tr *trouble, lines []string) bool {
	for _, line := range lines {
		if !strings.Contains(d.said[tr.name], "`"+line+"`") {
			return false
		}
	}
	return true
}

// read reads what render wrote.
func read(text string) document {
	d := document{cells: map[sighting]string{}, said: map[string]string{}}
	for line := range strings.Lines(text) {
		row := strings.Split(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "| "), " |"), " | ")
		switch len(row) {
		case 2:
			d.said[row[0]] = row[1]
		case 1 + len(places):
			for i, p := range places {
				d.cells[sighting{row[0], p}] = row[i+1]
			}
		}
	}
	return d
}

// report tells what came of the cell, and what was wrong.
func (c *cell) report() {
	t, tr := c.rig.t, c.trouble
	wrong := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s, %s: %s; lines:\n%s", tr.name, c.place, fmt.Sprintf(format, args...), strings.Join(c.rig.said.of(c.name), "\n"))
	}
	c.got.update()
	if n := c.filed - len(c.got.count); n != 0 {
		wrong("%d of %d events are missing", n, c.filed)
	}
	switch twice, late := c.got.twice(), c.rig.said.first(c.name).late; {
	case len(late) > 0:
		t.Logf("%s, %s: %d events came twice after %q", tr.name, c.place, twice, late)
	case (twice > 0) != c.again() && !(tr.waits && c.again()):
		wrong("%d events came twice", twice)
	}
	c.reportLines(wrong)
	if gap := c.untilNextCall(); gap < tr.wait {
		wrong("the next call came after %v, want at least %v", gap, tr.wait)
	}
	text := "complete, at the restart"
	switch {
	case c.alone:
		text = "complete, by itself"
	case c.rig.refused:
		text = "refused; then complete"
	case c.place != atExit && tr.host == nothing:
		return // only a patient run sees what comes of it
	case c.again() && !tr.waits:
		text += ", again what came since the last save"
	}
	c.rig.seen.saw(tr, c.place, text)
}

// untilNextCall is how long after the last call that failed another one came, in
// the host's first run.
func (c *cell) untilNextCall() time.Duration {
	gap, failed := time.Duration(math.MaxInt64), time.Time{}
	for _, call := range c.server.Calls() {
		switch {
		case call.Log != cellLog || call.At.After(c.rig.until):
		case call.Fault != "":
			gap, failed = math.MaxInt64, call.At
		case !failed.IsZero():
			gap = min(gap, call.At.Sub(failed))
		}
	}
	return gap
}

// reportLines holds what was said to: each line once, and its end once.
func (c *cell) reportLines(wrong func(string, ...any)) {
	said, after := c.rig.said.first(c.name), c.lines()
	lines := slices.Sorted(slices.Values(said.begin))
	if c.trouble.seldom && len(lines) == 1 && len(said.end) == 1 {
		return
	}
	// That nothing can be saved is said once a minute.
	minutes := c.trouble.refused && c.lasted > 50*time.Second
	if distinct := slices.Compact(slices.Clone(lines)); len(distinct) != len(lines) && !minutes {
		wrong("a line was said more than once")
	}
	if len(lines) < c.says() || c.says() == 0 && len(lines) > 0 {
		wrong("%d lines were said of it", len(lines))
	}
	ends := 0
	if c.alone && c.says() > 0 {
		ends = 1
	}
	// A slow machine may come to the end of a wait that only a patient run is
	// for; and on a full disk two things may be over, saves and the wait.
	maybe := c.trouble.wait > 0 && !*patient || c.trouble.waits && len(said.end) == ends+1
	if len(said.end) != ends && !maybe {
		wrong("%d lines said that it was over, want %d", len(said.end), ends)
	}
	if len(after.begin)+len(after.end) > 0 {
		wrong("after the restart there was still something to say")
	}
	c.rig.seen.heard(c.trouble, lines)
}
