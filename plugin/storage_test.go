package main

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"duo_in/duo/duotest"
)

func TestVolumeRoom(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	for _, tt := range []struct {
		name         string
		v            volume
		limit, batch int
		want         int
	}{
		{"plenty", volume{100 * gib, 50 * gib, 1e6, 1e6}, 2 * mib, 2 * mib, 2 * mib},
		{"nothing is told", volume{}, 2 * mib, 2 * mib, 2 * mib},
		{"as many files as one likes", volume{100 * gib, 50 * gib, 0, 0}, 2 * mib, 2 * mib, 2 * mib},
		{"full", volume{100 * gib, 0, 1e6, 1e6}, 2 * mib, 2 * mib, 0},
		{"less than the reserve", volume{100 * gib, 32*mib - 1, 1e6, 1e6}, 2 * mib, 2 * mib, 0},
		{"the reserve", volume{100 * gib, 32 * mib, 1e6, 1e6}, 2 * mib, 2 * mib, 2 * mib},
		{"a limit that is lower", volume{100 * gib, 32 * mib, 1e6, 1e6}, 64 << 10, 2 * mib, 64 << 10},
		{"small batches", volume{100 * gib, 32*mib - 1, 1e6, 1e6}, 64 << 10, 64 << 10, 0},
		{"large batches", volume{100 * gib, gib - 1, 1e6, 1e6}, 2 * mib, 64 * mib, 0},
		{"a small volume", volume{16 * mib, 4 * mib, 1e3, 1e3}, 2 * mib, 2 * mib, 512 << 10},
		{"a small volume, its reserve", volume{16 * mib, 4*mib - 1, 1e3, 1e3}, 2 * mib, 2 * mib, 0},
		{"a tiny volume", volume{256 << 10, 256 << 10, 100, 100}, 2 * mib, 2 * mib, 64 << 10},
		{"no files", volume{100 * gib, 50 * gib, 1e6, 63}, 2 * mib, 2 * mib, 0},
		{"some files", volume{100 * gib, 50 * gib, 1e6, 64}, 2 * mib, 2 * mib, 2 * mib},
		{"few files at all", volume{100 * gib, 50 * gib, 20, 5}, 2 * mib, 2 * mib, 2 * mib},
	} {
		if got := tt.v.room(tt.limit, tt.batch); got != tt.want {
			t.Errorf("%s: room for %d bytes, want %d", tt.name, got, tt.want)
		}
	}
}

// Two inputs hand over, nobody reads it, filters add a half to it, and it is
// written two callbacks later: it fits in the volume, and all but the reserve is used.
func TestRoomIsThere(t *testing.T) {
	for size := uint64(3 << 20); size <= 1<<30; size = size * 3 / 2 {
		free := int64(size)
		var late [2]int64
		for idle := 0; idle < 3; idle++ {
			if free -= late[1]; free < 0 {
				t.Fatalf("a volume of %d bytes: %d too many were handed over", size, -free)
			}
			v := volume{bytes: size, free: uint64(free)}
			late[0], late[1] = 0, late[0]
			for range 2 {
				if room := v.room(2<<20, 2<<20); room > 0 {
					late[0] += int64(room)*3/2 + 36<<10
					idle = 0
				}
			}
		}
		if kept := min(size/4, 32<<20); free > int64(kept) {
			t.Errorf("a volume of %d bytes: %d are not used, want %d", size, free, kept)
		}
	}
}

// Fluent Bit's disk fills up, and is emptied later: meanwhile nothing is
// handed over and Duo is not called, which is said once, and then everything comes.
func TestFullStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, duotest.Config{})
		now := time.Now()
		w.server.Add("activity", duotest.NewRecords("activity", 1, now.Add(-20*time.Hour), now.Add(-time.Hour), 30000)...)
		in := w.make()
		disk := volume{bytes: 1 << 30, free: 40 << 20}
		in.storage.find = func() string { return "/storage/duo.0" }
		in.storage.stat = func(string) (volume, error) {
			v := disk
			v.free -= uint64(min(2048*len(w.events), 12<<20)) // about what they take
			return v, nil
		}
		if err := in.Start(now); err != nil {
			t.Fatal(err)
		}
		w.run(in, time.Minute, nil)
		events, calls := len(w.events), len(w.server.Calls())
		if events == 0 || events == 30000 {
			t.Errorf("%d events were handed over until the disk was full, want some", events)
		}
		w.run(in, 5*time.Minute, nil)
		if more := len(w.events) - events; more > 0 {
			t.Errorf("%d events were handed over to a full disk", more)
		}
		if more := len(w.server.Calls()) - calls; more > 0 {
			t.Errorf("%d calls while nothing could be taken", more)
		}
		disk.free = 1 << 30
		w.run(in, time.Minute, nil)
		w.check("activity", 0)
		w.stop(in)
		for line, want := range map[string]int{"no room for Fluent Bit's buffer": 1, "there is room": 1} {
			if n := strings.Count(w.stderr.String(), line); n != want {
				t.Errorf("%q is said %d times, want %d:\n%s", line, n, want, w.stderr)
			}
		}
	})
}

// A volume whose state cannot be had, as a network's that is out of reach, holds
// up neither the callback, for more than a moment once, nor the end.
func TestStuckVolume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, duotest.Config{})
		now := time.Now()
		w.server.Add("activity", duotest.NewRecords("activity", 1, now.Add(-20*time.Hour), now.Add(-time.Hour), 5000)...)
		in := w.make()
		stuck := make(chan struct{})
		var asked atomic.Int32
		in.storage.stat = func(string) (volume, error) {
			if asked.Add(1) > 1 {
				<-stuck
			}
			return volume{bytes: 1 << 30, free: 1 << 30}, nil
		}
		if err := in.Start(now); err != nil {
			t.Fatal(err)
		}
		for n := range 60 {
			began := time.Now()
			w.collect(in)
			took := time.Since(began)
			if most := map[bool]time.Duration{true: statWait}[n == 1]; took > most {
				t.Errorf("callback %d took %v, want at most %v", n, took, most)
			}
			time.Sleep(time.Second)
			w.empty()
		}
		w.check("activity", 0)
		began := time.Now()
		in.Stop(began)
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("Stop took %v", took)
		}
		if n := asked.Load(); n != 2 {
			t.Errorf("asked %d times, want no more while it is stuck", n)
		}
		close(stuck)
	})
}

// What is on and off is said once, and its end only when it is one.
func TestStorageSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &lockedBuffer{}
		s := newStorage("duo.0", "/checkpoints", 2<<20, slog.New(slog.NewTextHandler(out, nil)))
		s.find = func() string { return "" }
		now := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
		s.stat = func(folder string) (volume, error) { return volume{bytes: 1 << 30}, nil }
		if got := s.room(now, 2<<20); got != 0 || !strings.Contains(out.String(), "of /checkpoints:") {
			t.Errorf("before a chunk is seen: got %d and %q", got, out)
		}
		s.lacked = time.Time{}
		s.find = func() string { return "/storage/duo.0" }
		s.stat = func(folder string) (volume, error) {
			return map[string]volume{"/checkpoints": {bytes: 1 << 30}, "/storage/duo.0": {bytes: 1 << 30, free: 1 << 30}}[folder], nil
		}
		if got := s.room(now, 2<<20); got != 2<<20 || !s.seen() {
			t.Errorf("with a chunk on another volume: got %d, seen %v", got, s.seen())
		}
		for _, tt := range []struct {
			free uint64
			err  error
			want int // bytes
			says string
		}{
			{free: 1 << 30, want: 2 << 20},
			{free: 1 << 20, want: 0, says: "no room for Fluent Bit's buffer on the volume of /storage/duo.0: 1024 of its 1048576 KiB"},
			{free: 1 << 20, want: 0},
			{free: 32 << 20, want: 2 << 20},
			{free: 1 << 20, want: 0},
			{err: errors.New("no such folder"), want: 2 << 20},
			{free: 1 << 30, want: 2 << 20},
			{free: 1 << 30, want: 2 << 20, says: "there is room for Fluent Bit's buffer again"},
			{free: 1 << 30, want: 2 << 20},
			{free: 0, want: 0, says: "no room"},
		} {
			now = now.Add(4 * time.Second)
			s.stat = func(string) (volume, error) { return volume{bytes: 1 << 30, free: tt.free}, tt.err }
			before := len(out.String())
			got := s.room(now, 2<<20)
			line := out.String()[before:]
			if got != tt.want || !strings.Contains(line, tt.says) || (line == "") != (tt.says == "") {
				t.Errorf("%+v: got %d and %q", tt, got, line)
			}
		}
	})
}

// A chunk is there only from 400 to 500 ms behind a hand-over, from some
// hand-over on: it is seen. Where none ever is, the looks become rare.
func TestSeekChunks(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first int // hand-over whose chunk is there long enough; 0: none is
		want  string
		looks int // at most
	}{
		{"the first", 1, "/storage/duo.0", 12}, {"the fifth", 5, "/storage/duo.0", 100}, {"memory storage", 0, "", 10*21 + 6*21 + 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, duotest.Config{})
				in := w.make()
				var mu sync.Mutex
				sent, at, looks := 0, time.Now(), 0
				in.storage.find = func() string {
					mu.Lock()
					defer mu.Unlock()
					looks++
					if age := time.Since(at); sent == tt.first && sent > 0 && age >= 400*time.Millisecond && age < 500*time.Millisecond {
						return "/storage/duo.0"
					}
					return ""
				}
				if err := in.Start(time.Now()); err != nil {
					t.Fatal(err)
				}
				folder := func() string {
					in.storage.mu.Lock()
					defer in.storage.mu.Unlock()
					return in.storage.folder
				}
				for sent < 3600 && folder() != "/storage/duo.0" {
					mu.Lock()
					sent, at = sent+1, time.Now()
					mu.Unlock()
					in.storage.handOver()
					time.Sleep(time.Second)
					synctest.Wait()
				}
				in.Stop(time.Now())
				if got := folder(); got != tt.want || looks > tt.looks {
					t.Errorf("the folder is %q after %d hand-overs and %d looks, want %q and at most %d looks", got, sent, looks, tt.want, tt.looks)
				}
			})
		})
	}
}
