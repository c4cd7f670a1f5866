package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"duo_in/checkpoint"
	"duo_in/duo"

	"github.com/google/go-cmp/cmp"
)

const apiHost = "api-00000000.duosecurity.com"

var window = duo.Window{Delay: 2 * time.Minute, Overlap: 5 * time.Minute, PollInterval: time.Minute, PageSize: 2}

// save writes cursors as duo_in would, the last one as the current generation.
func save(t *testing.T, dir string, st checkpoint.Stream, cursors ...duo.Cursor) {
	t.Helper()
	h, err := hold(dir, []checkpoint.Stream{st})
	defer h.release()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.slots[0].Load(&duo.Cursor{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range cursors {
		if err := h.slots[0].Save(c); err != nil {
			t.Fatal(err)
		}
	}
}

// load reads what duo_in would go on from.
func load(t *testing.T, dir string, st checkpoint.Stream) (c duo.Cursor) {
	t.Helper()
	h, err := hold(dir, []checkpoint.Stream{st})
	defer h.release()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.slots[0].Load(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

// within returns a cursor that began an hour before now and is in the middle of its first window, two records in.
func within(t *testing.T, now time.Time) duo.Cursor {
	t.Helper()
	c, _, _ := duo.NewCursor(now.Add(-time.Hour), now).Open(now, window)
	l, err := duo.LookupLog("authentication")
	if err != nil {
		t.Fatal(err)
	}
	record := func(id string, age time.Duration) string {
		return `{"txid":"` + id + `","isotimestamp":"` + now.Add(-age).Format(time.RFC3339Nano) + `"}`
	}
	body := `{"stat":"OK","response":{"authlogs":[` + record("a", 50*time.Minute) + `,` + record("b", 40*time.Minute) +
		`],"metadata":{"next_offset":["1","b"]}}}`
	page, err := duo.ParsePage(l, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	c, _, err = c.Advance(l, page, window, 2, now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWords(t *testing.T) {
	now := time.Date(2026, 2, 13, 19, 0, 0, 0, time.UTC)
	saved := now.Add(-65 * time.Second)
	read := duo.Cursor{From: duo.ToMillis(now.Add(-10 * time.Minute)), Checked: duo.ToMillis(now.Add(-2 * time.Minute))}
	ahead := duo.NewCursor(now.Add(time.Hour), now)
	tests := []struct {
		name   string
		cursor duo.Cursor
		want   string
	}{
		{"not begun", duo.NewCursor(now.Add(-30*time.Hour), now), "to begin at 2026-02-12T13:00:00.000Z, 1d6h behind now"},
		{"read to its end", read, "read to its end at 2026-02-13T18:58:00.000Z, 2m0s behind now"},
		{"in a window", within(t, now), "at 2026-02-13T18:20:00.000Z, within the window from 2026-02-13T18:00:00.000Z to 2026-02-13T18:58:00.000Z, " +
			"records of it read: 2, 40m0s behind now"},
		{"ahead", ahead, "to begin at 2026-02-13T20:00:00.000Z, 1h0m AHEAD of this machine's clock"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			save(t, dir, checkpoint.Stream{Host: apiHost, Log: "authentication"}, test.cursor)
			entries, err := list(dir)
			if err != nil {
				t.Fatal(err)
			}
			s := look(entries[0], now)
			s.Current.Saved = &saved
			lines := strings.Split(s.words(now), "\n")
			if diff := cmp.Diff("    "+test.want, lines[1]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if want := "    saved 2026-02-13T18:58:55.000Z, 1m5s ago; records remembered: "; !strings.HasPrefix(lines[2], want) {
				t.Errorf("got %q, want it to begin with %q", lines[2], want)
			}
		})
	}
}

// duoctl runs the command within this process and returns what it printed.
func duoctl(t *testing.T, wantStatus int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	if status := run(args, &out, &errs); status != wantStatus {
		t.Errorf("duoctl %q: status %d, want %d; stderr:\n%s", args, status, wantStatus, &errs)
	}
	return out.String(), errs.String()
}

func match(t *testing.T, text string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(text) {
			t.Errorf("no match of %q in\n%s", p, text)
		}
	}
}

// TestCheckpointShow runs where no time passes between a save and what is said of it.
func TestCheckpointShow(t *testing.T) { synctest.Test(t, checkpointShow) }

func checkpointShow(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	auth := checkpoint.Stream{Host: apiHost, Log: "authentication"}
	child := checkpoint.Stream{Host: apiHost, Account: "DA00000000000000EX01", Log: "activity"}
	save(t, dir, auth, duo.NewCursor(now.Add(-3*time.Hour), now), within(t, now))
	save(t, dir, child, duo.NewCursor(now.Add(-2*time.Hour), now))

	stdout, _ := duoctl(t, 0, "checkpoint", "-dir", dir)
	match(t, stdout, `(?m)^`+apiHost+`, account DA00000000000000EX01, activity\n    to begin at `, `(?m)^    no generation before it$`,
		`(?m)^`+apiHost+`, the keys' own account, authentication\n    at .*, records of it read: 2, 40m0s behind now$`,
		`saved \S+Z, 0s ago; records remembered: 1`, `the generation before it: to begin at .*, saved \S+Z, 0s ago`)
	again, _ := duoctl(t, 0, "checkpoint", "-dir", dir, "show")
	if got, want := strings.Count(again, "\n"), strings.Count(stdout, "\n"); got != want {
		t.Errorf("show prints %d lines, without its name %d", got, want)
	}

	for _, args := range [][]string{{"-json"}, {"show", "-json"}} {
		stdout, _ = duoctl(t, 0, append([]string{"checkpoint", "-dir", dir}, args...)...)
		var all []map[string]any
		if err := json.Unmarshal([]byte(stdout), &all); err != nil || len(all) != 2 || all[1]["log"] != "authentication" {
			t.Errorf("%q: %d objects, error %v:\n%s", args, len(all), err, stdout)
		}
	}

	// One file is damaged: it is named, the others are shown all the same.
	file := filepath.Join(dir, apiHost, "self", "authentication.json")
	if err := os.WriteFile(file, []byte(`{"version":1`), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr := duoctl(t, 1, "checkpoint", "-dir", dir)
	match(t, stdout, `CANNOT BE USED: \S+/authentication\.json: torn, or not a checkpoint`, `the generation before it: to begin at`, `, activity\n    to begin at`)
	match(t, stderr, `duoctl checkpoint: 1 of 2 checkpoints have a file that cannot be used`)
	stdout, _ = duoctl(t, 1, "checkpoint", "-dir", dir, "-json")
	match(t, stdout, `"behind_seconds": null`, `"error": "torn, or not a checkpoint`)

	// The folder is not a checkpoint folder, or is none.
	empty := t.TempDir()
	_, stderr = duoctl(t, 1, "checkpoint", "-dir", empty)
	match(t, stderr, `no checkpoint in it: give the folder that is duo_in's checkpoint_dir`)
	_, stderr = duoctl(t, 1, "checkpoint", "-dir", filepath.Join(empty, "gone"))
	match(t, stderr, `gone: no such file or directory`)
	if entries, err := os.ReadDir(empty); err != nil || len(entries) != 0 {
		t.Errorf("the folder that was asked about has %d entries, error %v: want none", len(entries), err)
	}
}

func TestCheckpointRewind(t *testing.T) {
	now := time.Now()
	auth := checkpoint.Stream{Host: apiHost, Log: "authentication"}
	tele := checkpoint.Stream{Host: apiHost, Log: "telephony"}
	child := checkpoint.Stream{Host: apiHost, Account: "DA00000000000000EX01", Log: "telephony"}
	date := now.Add(-5 * 24 * time.Hour).UTC().Truncate(24 * time.Hour)
	begin := now.Add(-2 * time.Hour)

	tests := []struct {
		name    string
		args    []string
		status  int
		rewound []checkpoint.Stream
		to      time.Time
		stderr  string
	}{
		{"a duration, all", []string{"36h"}, 0, []checkpoint.Stream{auth, tele, child}, now.Add(-36 * time.Hour), ""},
		{"a date, one log of all accounts", []string{"-log", "telephony", date.Format(time.DateOnly)}, 0, []checkpoint.Stream{tele, child}, date, ""},
		{"a time, an alias", []string{"-log", "auth", date.Add(time.Second).Format(time.RFC3339)}, 0, []checkpoint.Stream{auth}, date.Add(time.Second), ""},
		{"own account", []string{"-account", "self", "3d"}, 0, []checkpoint.Stream{auth, tele}, now.Add(-72 * time.Hour), ""},
		{"a child", []string{"-account", child.Account, "-host", strings.ToUpper(apiHost), "3d"}, 0, []checkpoint.Stream{child}, now.Add(-72 * time.Hour), ""},
		{"further back than Duo keeps", []string{"-log", "authentication", "400d"}, 0, []checkpoint.Stream{auth}, now.Add(-180*24*time.Hour + 15*time.Minute), ""},
		{"forward", []string{"1h"}, 1, nil, time.Time{}, `telephony is at .* is later, and events would be skipped for good; -force .*nothing was changed`},
		{"forward by force", []string{"-force", "-log", "telephony", "-account", "self", "1h"}, 0, []checkpoint.Stream{tele}, now.Add(-time.Hour), ""},
		{"no such log", []string{"-log", "sso", "1h"}, 2, nil, time.Time{}, `-log: there is no log "sso"; the logs are .*, or all`},
		{"a log without a checkpoint", []string{"-log", "adminaction", "1h"}, 1, nil, time.Time{}, `: -log "administrator": none of the 3 checkpoints`},
		{"not a time", []string{"yesterday"}, 2, nil, time.Time{}, `time "yesterday": want RFC 3339`},
		{"in the future", []string{now.Add(time.Hour).Format(time.RFC3339)}, 2, nil, time.Time{}, `in the future`},
		{"negative", []string{"--", "-1h"}, 2, nil, time.Time{}, `want RFC 3339`},
		{"no time", nil, 2, nil, time.Time{}, `0 arguments`},
		{"flags behind", []string{"1h", "-force"}, 2, nil, time.Time{}, `2 arguments`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, st := range []checkpoint.Stream{auth, tele, child} {
				save(t, dir, st, duo.NewCursor(begin, now))
			}
			stdout, stderr := duoctl(t, test.status, append([]string{"checkpoint", "-dir", dir, "rewind"}, test.args...)...)
			match(t, stderr, test.stderr)
			if got := strings.Count(stdout, ": from "); got != len(test.rewound) {
				t.Errorf("%d logs are said to be rewound, want %d:\n%s", got, len(test.rewound), stdout)
			}
			for _, st := range []checkpoint.Stream{auth, tele, child} {
				want := begin
				for _, r := range test.rewound {
					if r == st {
						want = test.to
					}
				}
				c := load(t, dir, st)
				if off := c.From - duo.ToMillis(want); off < 0 || off > late(now) || len(c.Seen) != 0 || c.SeenSince != c.From {
					t.Errorf("%v: from %v, seen since %v, %d seen; want from %v with nothing seen", st, c.From, c.SeenSince, len(c.Seen), want)
				}
			}
		})
	}
}

// late is by how much what duoctl counts back from its present may be later than what the test counts back from now.
func late(now time.Time) duo.Millis { return duo.Millis(time.Since(now)/time.Millisecond) + 1 }

// TestCheckpointRewindWithinOverlap holds that a log that goes on from before the time, to get what Duo files late, is not
// set forward to it.
func TestCheckpointRewindWithinOverlap(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	auth := checkpoint.Stream{Host: apiHost, Log: "authentication"}
	c := duo.NewCursor(now.Add(-20*time.Minute), now)
	c.Checked = duo.ToMillis(now.Add(-2 * time.Minute))
	save(t, dir, auth, c)
	for _, test := range []struct {
		to   string
		want duo.Millis
	}{
		{"10m", c.From}, // behind what was read, ahead of where it goes on
		{"30m", duo.ToMillis(now.Add(-30 * time.Minute))},
	} {
		duoctl(t, 0, "checkpoint", "-dir", dir, "rewind", test.to)
		if got := load(t, dir, auth).From; got < test.want || got > test.want+late(now) {
			t.Errorf("rewind %s: from %v, want %v", test.to, got, test.want)
		}
	}
}

// TestCheckpointRewindWhileCatchingUp holds that a log in the midst of a long
// window goes back no further than asked, or than what is read again.
func TestCheckpointRewindWhileCatchingUp(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	auth := checkpoint.Stream{Host: apiHost, Log: "authentication"}
	ago := func(d time.Duration) duo.Millis { return duo.ToMillis(now.Add(-d)) }
	c := duo.NewCursor(now.Add(-30*24*time.Hour), now)
	c.Until, c.Next, c.Last, c.SeenSince = ago(2*time.Minute), "1,a", ago(20*time.Hour), ago(21*time.Hour)
	for _, test := range []struct {
		to   string
		want duo.Millis
	}{
		{"26h", ago(26 * time.Hour)},
		{"1230m", ago(21 * time.Hour)},
	} {
		save(t, dir, auth, c)
		duoctl(t, 0, "checkpoint", "-dir", dir, "rewind", test.to)
		if got := load(t, dir, auth).From; got < test.want || got > test.want+late(now) {
			t.Errorf("rewind %s: from %v, want %v", test.to, got, test.want)
		}
	}
}

// TestCheckpointRewindRefuses holds that nothing is changed if not all can be.
func TestCheckpointRewindRefuses(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	auth := checkpoint.Stream{Host: apiHost, Log: "authentication"}
	tele := checkpoint.Stream{Host: apiHost, Log: "telephony"}
	for _, st := range []checkpoint.Stream{auth, tele} {
		save(t, dir, st, duo.NewCursor(now.Add(-time.Hour), now))
	}
	before := files(t, dir)

	store, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	slot, err := store.Acquire(context.Background(), tele, "[INPUT] duo.0")
	if err != nil {
		t.Fatal(err)
	}
	_, stderr := duoctl(t, 1, "checkpoint", "-dir", dir, "rewind", "2h")
	match(t, stderr, `self/telephony is in use by \[INPUT\] duo\.0, pid \d+: stop Fluent Bit first`)
	if err := slot.Release(); err != nil {
		t.Fatal(err)
	}

	torn := filepath.Join(dir, apiHost, "self", "telephony.json")
	before[torn] = "torn"
	if err := os.WriteFile(torn, []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr = duoctl(t, 1, "checkpoint", "-dir", dir, "rewind", "2h")
	match(t, stderr, `telephony.json cannot be used: .* nothing was changed`)

	if diff := cmp.Diff(before, files(t, dir)); diff != "" {
		t.Errorf("files (-before +after):\n%s", diff)
	}
}

// files returns the content of the checkpoint files below dir.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	content := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) == ".lock" {
			return err
		}
		b, err := os.ReadFile(path)
		content[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return content
}
