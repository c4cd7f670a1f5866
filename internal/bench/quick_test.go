//go:build cgo && linux

package main

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"duo_in/duo/duotest"
)

// tiny is a scale of which every figure is far from true, but none is absurd.
var tiny = scale{
	records: 2000, rounds: 1, pages: 2, shareRounds: 1, memory: []int{500, 1500}, settle: 200 * time.Millisecond, far: 3000, limit: time.Minute,
}

// The cheap measurements, from the building of the plugin to the table.
func TestMeasurements(t *testing.T) {
	l, err := newLab(t.Context(), t.TempDir(), tiny, t.Output())
	if errors.Is(err, exec.ErrNotFound) {
		t.Skipf("SKIPPED, nothing was measured: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	r := l.measureAll(t.Context(), regexp.MustCompile("share|memory|latency"))
	if len(r.Failed) > 0 {
		t.Fatal(r.Failed)
	}
	text := r.text()
	if strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
		t.Errorf("a figure is none:\n%s", text)
	}
	// What is measured, by a part of its name, and between what a sane figure is.
	for _, tt := range []struct {
		what      string
		low, high float64
	}{
		{"our own share", 0.5, 500},                // µs
		{"300 ms latency", 30, 101},                // %
		{"once caught up, at default", 10, 200},    // MB
		{"its growth", -30, 100},                   // MB
		{"the callback that hands over", 0, 10000}, // ms
		{"memory of the hosts", 0.5, 10},           // MB, of the C host, the first
	} {
		t.Run(tt.what, func(t *testing.T) {
			for _, row := range r.Rows {
				if !strings.Contains(row.What, tt.what) {
					continue
				}
				v, err := firstNumber(row.Measured)
				if err != nil || v < tt.low || v > tt.high {
					t.Errorf("%q: %v, want %v to %v", row.Measured, err, tt.low, tt.high)
				}
				return
			}
			t.Errorf("no such row:\n%s", text)
		})
	}
}

// firstNumber is the first one of a text that has a unit behind it.
func firstNumber(text string) (float64, error) {
	m := regexp.MustCompile(`(-?[\d.]+) (?:µs|%|MB|ms)`).FindStringSubmatch(text)
	if m == nil {
		return 0, errors.New("there is no number")
	}
	return strconv.ParseFloat(m[1], 64)
}

// The ways without a host read every event, and the one that only reads is the
// cheaper one.
func TestRoles(t *testing.T) {
	const n = 3000
	l := &lab{dir: t.TempDir(), out: io.Discard}
	duo, err := startDuo(t.Context(), duoTask{Dir: l.dir, Backlogs: map[string]backlog{
		duotest.Authentication: tenant(2*n, time.Now())[duotest.Authentication],
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer duo.end()
	begin := time.Now()
	costs := map[string]cost{}
	for _, role := range []string{"plain", "bytes"} {
		if costs[role], err = l.role(duo, role, n).run(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if plain, bytes := costs["plain"], costs["bytes"]; plain.cpu <= bytes.cpu || bytes.cpu <= 0 {
		t.Errorf("plain took %v, bytes %v", plain.cpu, bytes.cpu)
	}
	calls, err := duo.calls(begin)
	if err != nil || len(calls) != 2*(n/pageSize+1) {
		t.Errorf("%d calls, %v; want %d", len(calls), err, 2*(n/pageSize+1))
	}
	if calls, err = duo.calls(time.Now()); err != nil || len(calls) != 0 {
		t.Errorf("%d calls after the last one, %v", len(calls), err)
	}
}

// A helper ends with who started it, and what is wrong with its task is told.
func TestRoleEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	duo, err := startDuo(ctx, duoTask{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := duo.actor.end(); err == nil {
		t.Error("it was not killed")
	}
	if _, err := startDuo(t.Context(), duoTask{Dir: "/nonexistent"}); err == nil || !strings.Contains(err.Error(), "/nonexistent") {
		t.Errorf("error %v", err)
	}
}
