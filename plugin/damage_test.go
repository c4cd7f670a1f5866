package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"duo_in/checkpoint"
	"duo_in/duo"
	"duo_in/duo/duotest"
)

var everyByte = flag.Bool("bytes", false, "TestDamagedCheckpoints cuts and changes the files of every log at every byte, not those of one")

// damage is what a checkpoint's file may have become. It returns nil for a file that is gone.
type damage struct {
	name string
	of   func(sound []byte) []byte
}

// damages returns what may become of a file of that size: cut at, and changed in, each step-th byte, and replaced.
func damages(size, step int) (all []damage) {
	replace := func(old, new string) func([]byte) []byte {
		return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(new), 1) }
	}
	long := strings.Repeat("x", 4<<10)
	for at := 0; at < size; at += step {
		all = append(all,
			damage{name: fmt.Sprint("cut at ", at), of: func(b []byte) []byte { return b[:at] }},
			damage{name: fmt.Sprint("zeros from ", at), of: func(b []byte) []byte { return append(bytes.Clone(b[:at]), make([]byte, len(b)-at)...) }})
		for _, flip := range []byte{0x01, 0x20, 0x80} { // another digit, another case, no ASCII
			all = append(all, damage{name: fmt.Sprintf("%#x of byte %d", flip, at), of: func(b []byte) []byte {
				b = bytes.Clone(b)
				b[at] ^= flip
				return b
			}})
		}
	}
	return append(all,
		damage{name: "rubbish behind it", of: func(b []byte) []byte { return append(bytes.Clone(b), "}rubbish"...) }},
		damage{name: "zeros behind it", of: func(b []byte) []byte { return append(bytes.Clone(b), 0, 0) }},
		damage{name: "twice", of: func(b []byte) []byte { return append(bytes.Clone(b), b...) }},
		damage{name: "empty", of: func([]byte) []byte { return []byte{} }},
		damage{name: "of another account", of: replace(`"account": "self"`, `"account": "DAXXXXXXXXXXXXXXXXXX"`)},
		damage{name: "of a newer version", of: replace(`"version": 1`, `"version": 2`)},
		damage{name: "of an older version", of: replace(`"version": 1`, `"version": 0`)},
		damage{name: "with a long checksum", of: replace(`"crc32c:`, `"`+long)},
		damage{name: "of a stream with a long name", of: replace(`"host": "`, `"host": "`+long)},
		damage{name: "with a long time", of: replace(`"saved_at": "`, `"saved_at": "`+long)},
		damage{name: "gone", of: func([]byte) []byte { return nil }})
}

// damaged is a stream of which two generations were saved.
type damaged struct {
	*world
	in             *instance
	s              *stream
	path           string
	first          duo.Cursor // kept beside both, for a boot of the machine
	older, newer   duo.Cursor // of the generations
	before, latest []byte     // their files
}

// newDamaged returns one whose cursors remember as many records as that.
func newDamaged(t *testing.T, log string, remembered int) *damaged {
	w := newWorld(t, duotest.Config{})
	w.set["logs"] = log
	in := w.make()
	if err := in.acquire(time.Now()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(in.release)
	d := &damaged{world: w, in: in}
	in.lines.take()
	for _, s := range in.streams {
		d.s = s
	}
	d.first = d.s.cursor
	d.path = w.set["checkpoint_dir"] + "/" + d.s.key.String() + ".json"
	d.older, d.newer = cursorOf(t, d.s.log, remembered), cursorOf(t, d.s.log, remembered+7)
	for _, c := range []duo.Cursor{d.older, d.newer} {
		if err := d.s.slot.Save(c); err != nil {
			t.Fatal(err)
		}
	}
	d.before, d.latest = contents(t, d.path+".prev"), contents(t, d.path)
	return d
}

// cursorOf returns the cursor of a reader that has just received n records.
func cursorOf(t *testing.T, l duo.Log, n int) duo.Cursor {
	now := time.Now()
	var page bytes.Buffer
	for i, r := range duotest.NewRecords(l.Name, 1, now.Add(-4*time.Minute), now.Add(-3*time.Minute), n) {
		if i > 0 {
			page.WriteByte(',')
		}
		page.Write(r)
	}
	body := fmt.Sprintf(`{"stat":"OK","response":{"%s":[%s],"metadata":{}}}`, l.List, page.Bytes())
	if l.List == "" {
		body = fmt.Sprintf(`{"stat":"OK","response":[%s]}`, page.Bytes())
	}
	p, err := duo.ParsePage(l, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	window := duo.Window{Delay: 2 * time.Minute, Overlap: 5 * time.Minute, PollInterval: time.Minute, PageSize: 1000}
	c, _, _ := duo.NewCursor(now.Add(-time.Hour), now).Open(now, window)
	c, _, err = c.Advance(l, p, window, 1000, now)
	if err != nil || len(c.Seen) < n/2 {
		t.Fatalf("%s: %d remembered, error %v", l.Name, len(c.Seen), err)
	}
	return c
}

func contents(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return b
}

// put makes the two files what is given, nil for none.
func (d *damaged) put(current, previous []byte) {
	d.t.Helper()
	for path, data := range map[string][]byte{d.path: current, d.path + ".prev": previous} {
		err := os.Remove(path)
		if data != nil {
			err = os.WriteFile(path, data, 0o600)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			d.t.Fatal(err)
		}
	}
}

// savedAt finds in a checkpoint's file when it was saved, to the second.
var savedAt = regexp.MustCompile(`"saved_at": "([^".Z]*)`)

// begin begins the stream with these files and returns what is wrong with how it went on, and what was logged. Where
// it may stay out it must say so; else it must have a cursor, one of those that were saved.
func (d *damaged) begin(current, previous []byte, mayStayOut bool) (wrong, logged string) {
	d.t.Helper()
	d.put(current, previous)
	d.in.begin(d.s, time.Now())
	d.in.lines.print(func(n line) { logged += n.text + "\n" })
	if d.s.broken != nil {
		var unusable *checkpoint.UnusableError
		switch {
		case !mayStayOut:
			return "it stays out: " + d.s.broken.Error(), logged
		case !errors.As(d.s.broken, &unusable) || !strings.Contains(d.s.broken.Error(), d.path) || len(d.s.broken.Error()) > maxLine/2 || d.s.begun:
			return fmt.Sprintf("begun %v, error %v, want an UnusableError that names %s, not too long for a log line", d.s.begun, d.s.broken, d.path), logged
		}
		return "", logged
	}
	switch {
	case !d.s.begun:
		return "it has not begun, and says nothing", logged
	case sameCursor(d.s.cursor, d.newer):
		return "", logged
	case sameCursor(d.s.cursor, d.first) && strings.Contains(logged, "the machine has been started anew"):
		return "", logged // what tells one boot from another is what was damaged
	case !sameCursor(d.s.cursor, d.older):
		return fmt.Sprintf("it goes on at %v, which was never saved", d.s.cursor.From), logged
	}
	at := savedAt.FindSubmatch(previous) // as it reads, damaged or not
	for _, part := range []string{fmt.Sprintf("going on from the one before it, saved %s", at[1]), "comes again"} {
		if !strings.Contains(logged, part) {
			return fmt.Sprintf("it goes on from the previous generation without saying %q", part), logged
		}
	}
	return "", logged
}

func sameCursor(a, b duo.Cursor) bool {
	return a.From == b.From && a.Until == b.Until && a.Next == b.Next && a.Newest == b.Newest && slices.Equal(a.Seen, b.Seen)
}

// save saves a cursor, or is refused, and reports what is wrong with what is there then.
func (d *damaged) save() string {
	current, previous, had := contents(d.t, d.path), contents(d.t, d.path+".prev"), d.s.cursor
	third := cursorOf(d.t, d.s.log, 20)
	err := d.s.slot.Save(third)
	if d.s.broken != nil {
		if err == nil || !bytes.Equal(contents(d.t, d.path), current) || !bytes.Equal(contents(d.t, d.path+".prev"), previous) {
			return fmt.Sprintf("a save was not refused (%v), or changed what is there", err)
		}
		return ""
	}
	var c duo.Cursor
	if origin, loadErr := d.s.slot.Load(&c); err != nil || loadErr != nil || origin.Generation != checkpoint.Current || !sameCursor(c, third) {
		return fmt.Sprintf("after a save: %+v, errors %v, %v", origin, err, loadErr)
	}
	d.put(nil, contents(d.t, d.path+".prev"))
	if origin, err := d.s.slot.Load(&c); err != nil || origin.Generation != checkpoint.Previous || !sameCursor(c, had) {
		return fmt.Sprintf("the generation that was gone on from is not the previous one: %+v, %v", origin, err)
	}
	return ""
}

// TestDamagedCheckpoints: whatever became of a checkpoint's files, the stream goes on from one of its generations, and
// says so and from when it is where that is the previous one, or it stays out, and says that. It never begins anew while
// anything is there, and never destroys what is sound. Of the other logs, and of a large checkpoint, it takes a sample,
// under the race detector, which has one goroutine to look at, a smaller one, and none of the large; with -bytes every byte of each log's, which
// takes minutes.
func TestDamagedCheckpoints(t *testing.T) {
	type sample struct {
		log              string
		remembered, step int
	}
	samples := []sample{{"authentication", 2000, 9001}}
	if underRace {
		samples = nil
	}
	for i, l := range duo.Logs() {
		step := 97
		if i == 0 {
			step = 11
		}
		switch {
		case *everyByte:
			step = 1
		case underRace:
			step *= 10
		}
		samples = append(samples, sample{l.Name, 50, step})
	}
	for _, tc := range samples {
		t.Run(fmt.Sprintf("%s, %d remembered", tc.log, tc.remembered), func(t *testing.T) {
			d := newDamaged(t, tc.log, tc.remembered)
			n, stayed := 0, 0
			for i, dm := range damages(len(d.before), tc.step) {
				current, previous := dm.of(d.latest), dm.of(d.before)
				for _, state := range []struct {
					name              string
					current, previous []byte
					mayStayOut        bool
				}{
					{"the current", current, d.before, false},
					{"both", current, previous, true},
					{"the only one", current, nil, true},
					{"the previous", d.latest, previous, false},
				} {
					if state.current == nil && state.previous == nil {
						continue // it begins anew
					}
					n++
					wrong, logged := d.begin(state.current, state.previous, state.mayStayOut)
					if wrong == "" && strings.Contains(logged, "no checkpoint yet") {
						wrong = "it begins anew"
					}
					if d.s.broken != nil {
						stayed++
					}
					if wrong == "" && (i%199 == 0 || i%tc.step == 0 && tc.step > 90) {
						wrong = d.save()
					}
					if wrong != "" {
						t.Errorf("%s, %s: %s\n%s", state.name, dm.name, wrong, logged)
					}
				}
			}
			t.Logf("files of %d bytes in %d states, in %d of which the stream stayed out", len(d.latest), n, stayed)
		})
	}
}
