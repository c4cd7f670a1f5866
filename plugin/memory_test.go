package main

import (
	"bytes"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"duo_in/duo"
	"duo_in/duo/duotest"
)

// TestSaveMemory: the operator's GOGC counts, else ours.
func TestSaveMemory(t *testing.T) {
	before := debug.SetGCPercent(77)
	defer debug.SetGCPercent(before)
	for _, tt := range []struct {
		env  string
		want int
	}{{"50", 77}, {"off", 77}, {"", gcPercent}} { // the runtime itself has read the first two
		t.Setenv("GOGC", tt.env)
		saveMemory()
		if got := debug.SetGCPercent(77); got != tt.want {
			t.Errorf("GOGC=%q: %d %%, want %d", tt.env, got, tt.want)
		}
	}
}

// TestRests: an instance rests when the host has all that Duo had.
func TestRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := newSite(t), newHandle()
		s.start(s.asks(1, k))
		defer s.exit(1, k)
		in := s.find(k).instance
		if s.collected(k); !in.rests() {
			t.Error("nothing came yet: it does not rest")
		}
		s.feed(k, 100)
		if in.rests() {
			t.Error("a batch waits: it rests")
		}
		if s.collected(k); in.rests() {
			t.Error("within a window: it rests")
		}
		fill(t, in.queue, batch{stream: in.key("", in.options.Logs[0]), cursor: &duo.Cursor{From: 1, Until: 2}})
		if s.collected(k); in.rests() {
			t.Error("at the end of a page: it rests")
		}
		in.stream(in.key("", in.options.Logs[0])).meter.note(func(r *reading) { r.pulled = false }) // as when its account is gone
		if !in.rests() {
			t.Error("nothing is pulled any more: it does not rest")
		}
		in.stream(in.key("", in.options.Logs[0])).meter.note(func(r *reading) { r.pulled = true })
		time.Sleep(restAfter - time.Second)
		if in.rests() {
			t.Error("no more came for nearly two minutes: it rests")
		}
		time.Sleep(time.Second)
		if !in.rests() {
			t.Error("no more came for two minutes: it does not rest")
		}
		fill(t, in.queue, batch{stream: in.key("", in.options.Logs[0]), cursor: &duo.Cursor{From: 1}})
		if s.collected(k); !in.rests() {
			t.Error("at the end of a window: it does not rest")
		}
	})
}

// TestCleanAtRestOnly: who was woken while it gave back memory looks again whether the
// instance rests.
func TestCleanAtRestOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, duotest.Config{})
		w.server.Fault(duotest.Fault{Kind: duotest.FaultHang, N: -1}) // nothing comes
		in, hold, times := w.make(), make(chan struct{}), 0
		in.giveBack = func() { times++; <-hold }
		if err := in.Start(time.Now()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wake(in.rested)
		fill(t, in.queue, batch{stream: in.key("", in.options.Logs[0]), data: []byte("x"), events: 1})
		close(hold)
		synctest.Wait()
		if times != 1 {
			t.Errorf("memory was given back %d times, once at rest", times)
		}
		in.Stop(time.Now())
	})
}

// TestGiveBack: memory is given back when there is enough of it, and then not again.
func TestGiveBack(t *testing.T) {
	var h idleHeap
	forced := func() uint32 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.NumForcedGC
	}
	all := func() uint64 {
		used, free := held()
		return used + free
	}
	runtime.GC()
	debug.FreeOSMemory() // what other tests left
	before := all()
	waste := make([]byte, 8*worthIt)
	if grown := all(); grown < before+4*worthIt {
		t.Fatalf("%d MiB more make the heap grow from %d to %d bytes", len(waste)>>20, before, grown)
	}
	runtime.KeepAlive(waste)
	h.used, h.free = before, 0
	if h.giveBack(); all() > before+3*worthIt {
		t.Errorf("%d bytes are held, %d before", all(), before)
	}
	n := forced()
	if h.giveBack(); forced() != n {
		t.Error("memory was given back again, of which there is none")
	}
	// What was in use when it was last given back, and is not now.
	waste = make([]byte, 8*worthIt)
	h.used, h.free = held()
	runtime.KeepAlive(waste)
	runtime.GC() // after which the runtime gives some of it back by itself, in time
	if h.giveBack(); all() > before+3*worthIt {
		t.Errorf("%d bytes are held of what was free, %d before", all(), before)
	}
}

// arena is memory that knows what is in use.
type arena struct {
	none bool // there is none left
	mu   sync.Mutex
	used map[unsafe.Pointer][]byte
	got  int // how often there was some
}

func (a *arena) memory() *memory {
	a.used = map[unsafe.Pointer][]byte{}
	return &memory{
		alloc: func(n int) unsafe.Pointer {
			if a.none {
				return nil
			}
			b := bytes.Repeat([]byte{'?'}, n)
			a.mu.Lock()
			defer a.mu.Unlock()
			a.got++
			a.used[unsafe.Pointer(&b[0])] = b
			return unsafe.Pointer(&b[0])
		},
		free: func(p unsafe.Pointer, n int) {
			a.mu.Lock()
			defer a.mu.Unlock()
			if len(a.used[p]) != n {
				panic("what is freed is not what was got")
			}
			delete(a.used, p)
		},
	}
}

// inUse is how many pieces are in use.
func (a *arena) inUse() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.used)
}

// content is what the only piece in use holds.
func (a *arena) content() string {
	for _, b := range a.used {
		return string(b)
	}
	return ""
}

// TestTray: one place for one batch after the other, ready before it is lent.
func TestTray(t *testing.T) {
	var a arena
	tr := tray{size: 8, memory: a.memory()}
	hand := func(text string) (back func()) {
		t.Helper()
		p := tr.lend(len(text))
		if p == nil {
			t.Fatalf("no place for %q", text)
		}
		copy(unsafe.Slice((*byte)(p), len(text)), text)
		return func() {
			t.Helper()
			if !tr.takeBack(p) {
				t.Errorf("the place of %q is not taken back", text)
			}
		}
	}
	holds := func(want string) {
		t.Helper()
		if diff := cmp.Diff(want, a.content()); diff != "" {
			t.Errorf("it holds (-want +got):\n%s", diff)
		}
	}
	tr.prepare(3)
	holds("\x00\x00\x00?????")
	back := hand("abcd")
	tr.prepare(6) // while the host has it
	holds("abcd\x00\x00??")
	if p := tr.lend(1); p != nil {
		t.Error("it is lent twice")
	}
	if tr.takeBack(unsafe.Pointer(&a)) {
		t.Error("it takes back what it did not lend")
	}
	tr.drop(0)
	holds("abcd\x00\x00??")
	back()
	hand("efghijkl")()
	holds("efghijkl")
	tr.prepare(100)
	holds("efghijkl")
	if p := tr.lend(9); p != nil {
		t.Error("a batch of more than its size is lent a place")
	}
	if tr.drop(8); a.got != 1 || a.inUse() != 1 {
		t.Errorf("memory was asked for %d times, of which %d are in use, want one", a.got, a.inUse())
	}
	if tr.drop(7); a.inUse() != 0 {
		t.Error("it is not given back")
	}
	a.none = true
	if tr.prepare(1); tr.lend(1) != nil {
		t.Error("something is lent where there is no memory")
	}
	a.none = false
	hand("mn")
	tr.end()
	if a.inUse() != 1 {
		t.Error("the host's is freed at the end")
	}
	if tr.prepare(1); tr.lend(1) != nil || a.got != 2 {
		t.Error("there is a tray after the end")
	}
}

// TestTrayOfInstance: it is ready for the batch that waits, is used again, and does
// not outlast the instance.
func TestTrayOfInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a arena
		s, k := newSite(t), newHandle()
		c := s.asks(1, k)
		c.memory = a.memory()
		s.start(c)
		in := s.find(k).instance
		key := in.key("", in.options.Logs[0])
		for round := range 3 {
			if err := in.push(t.Context(), batch{stream: key, data: make([]byte, 1000)}); err != nil {
				t.Fatal(err)
			}
			if got := strings.Count(a.content(), "\x00"); got != 1000 {
				t.Errorf("%d bytes are ready for a batch of 1000", got)
			}
			s.Collect(k)
			p := s.Lend(k, 1000)
			if p == nil || s.Lend(k, 1000) != nil || !s.TakeBack(k, p) || s.TakeBack(k, p) {
				t.Errorf("round %d: it is not lent once", round)
			}
			s.Release(k)
		}
		if a.got != 1 {
			t.Errorf("memory was asked for %d times", a.got)
		}
		if s.exit(1, k); a.inUse() != 0 {
			t.Error("it outlasts the instance")
		}
		if s.Lend(k, 1) != nil || s.TakeBack(k, unsafe.Pointer(&a)) {
			t.Error("an instance that ended lends")
		}
	})
}

// TestTrayOfRefused: a log that is refused half-way is all that there is. Nothing
// happens any more, and the tray does not stay for that.
func TestTrayOfRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a arena
		s, k := newSite(t), newHandle()
		c := s.asks(1, k)
		c.memory = a.memory()
		s.start(c)
		defer s.exit(1, k)
		in := s.find(k).instance
		if err := in.push(t.Context(), batch{stream: in.key("", in.options.Logs[0]), data: make([]byte, 2*trayKeep)}); err != nil {
			t.Fatal(err)
		}
		s.collected(k)
		time.Sleep(restAfter - time.Second)
		if a.inUse() != 1 {
			t.Error("there is none while more may come")
		}
		time.Sleep(2 * time.Second)
		if synctest.Wait(); a.inUse() != 0 {
			t.Error("it stays")
		}
	})
}
