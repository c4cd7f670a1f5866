package main

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ugorji/go/codec"

	"duo_in/checkpoint"
	"duo_in/duo"
	"duo_in/duo/duotest"
)

// underRace: the detector makes all five to ten times as slow, and finds in what is repeated often no more than in what is
// repeated. The tests without cgo have run it at full length by then.
var underRace bool

// world is a simulated Duo and a folder for checkpoints; instances come and go
// in it. It lives in a synctest bubble.
type world struct {
	t      *testing.T
	server *duotest.Server
	pipe   *duotest.PipeListener
	set    map[string]string // options
	stderr *lockedBuffer
	events map[string]int    // event_id → how often Fluent Bit took it
	origin map[string]string // event_id → account_id at host
	late   time.Duration     // how long the host holds a batch before cleanup
	parted bool              // that batch is two for the ring, which takes the first
	slow   int               // batches of more bytes are taken, but late
	ring   ring              // outlives no kill
	total  uint64            // events that the host has counted of the instance made last
	counts bool              // the host counts what its ring takes and drops

	appended, dropped uint64

	queue int // bytes that an instance's queue may hold; 0: as in production

	emitter bool // a filter's emitter throws away what it gets after the pause of an end
}

// lockedBuffer is a bytes.Buffer for several writers.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newWorld(t *testing.T, c duotest.Config) *world {
	c.Host = "api-00000000.duosecurity.com"
	s := duotest.New(c)
	w := &world{t: t, server: s, pipe: s.Pipe(), stderr: &lockedBuffer{}, events: map[string]int{}, origin: map[string]string{}}
	t.Cleanup(w.pipe.Close)
	w.set = map[string]string{
		"api_host": c.Host, "integration_key": duotest.IntegrationKey, "secret_key": duotest.SecretKey,
		"checkpoint_dir": filepath.Join(t.TempDir(), "checkpoints"), "logs": "activity",
	}
	return w
}

// start begins an instance, as FLBPluginInit does.
func (w *world) start() *instance {
	w.t.Helper()
	in := w.make()
	if err := in.Start(time.Now()); err != nil {
		w.t.Fatal(err)
	}
	return in
}

// make returns an instance that is not started yet.
func (w *world) make() *instance {
	w.t.Helper()
	l := newLines("duo.0", -4)
	l.stderr = newSink(w.stderr)
	in, err := newInstance("duo.0", func(name string) string { return w.set[name] }, l, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	tr, err := duo.NewTransport(duo.TransportConfig{})
	if err != nil {
		w.t.Fatal(err)
	}
	tr.Proxy, tr.DialContext, tr.TLSClientConfig.RootCAs = nil, w.pipe.DialContext, w.pipe.Pool()
	in.transport = http.RoundTripper(tr)
	w.total = 0
	in.counted = func() counts {
		return counts{count{w.total, true}, count{w.appended, w.counts}, count{w.dropped, w.counts}}
	}
	if w.queue > 0 {
		in.queue = newQueue(w.queue)
	}
	w.t.Cleanup(tr.CloseIdleConnections)
	return in
}

// ring is Fluent Bit's, between the callback and its chunks: emptied every
// 250 ms unless the input's buffer is paused.
type ring struct {
	slots  [][]byte
	paused bool
}

// run lets the host work for d: a collect each second, the ring emptied every
// 250 ms, and what before says at each of these ticks.
func (w *world) run(in *instance, d time.Duration, before func(tick int)) {
	w.t.Helper()
	for tick := range int(d / (250 * time.Millisecond)) {
		if before != nil {
			before(tick)
		}
		if tick%4 == 0 {
			w.collect(in)
		}
		time.Sleep(250 * time.Millisecond)
		w.empty()
	}
}

func (w *world) collect(in *instance) {
	parts := in.Collect(time.Now())
	if parts == nil {
		return
	}
	if w.late > 0 {
		// The ring is full: ten tries, and the batch is gone.
		time.Sleep(w.late)
		w.late = 0
		w.dropped++
		if w.parted {
			w.appended++
		}
	} else {
		data := slices.Concat(parts...)
		if w.slow > 0 && len(data) > w.slow {
			time.Sleep(time.Second)
		}
		w.ring.slots = append(w.ring.slots, data)
		w.appended++
	}
	in.Release(time.Now())
}

func (w *world) empty() {
	if w.ring.paused {
		return
	}
	for _, data := range w.ring.slots {
		for _, ev := range bodiesOf(w.t, data) {
			w.total++
			id := ev["event_id"].(string)
			w.events[id]++
			account, _ := ev["account_id"].(string)
			w.origin[id] = account + " at " + ev["host"].(string)
		}
	}
	w.ring.slots = nil
}

// pause and resume are Fluent Bit's when its buffers are full.
func (w *world) pause(in *instance)  { w.ring.paused = true; in.Pause(time.Now()) }
func (w *world) resume(in *instance) { w.ring.paused = false; in.Resume(time.Now()) }

// kill ends an instance as kill -9 ends its process, some time after a callback:
// nothing is saved any more and the ring is gone.
func (w *world) kill(in *instance, after time.Duration) {
	w.collect(in)
	time.Sleep(after)
	if after >= 250*time.Millisecond {
		w.empty()
	}
	in.lines.close()
	in.cancel()
	in.pollers.Wait()
	in.saver.Wait()
	in.cleaner.Wait()
	in.release()
	w.ring = ring{}
}

// stop is a clean exit of Fluent Bit: it pauses the inputs, empties the ring for
// up to a second, pauses again, and exits.
func (w *world) stop(in *instance) {
	in.Pause(time.Now())
	if w.emitter {
		w.ring = ring{}
	}
	w.run(in, time.Second, nil)
	in.Pause(time.Now())
	in.Stop(time.Now())
	w.ring = ring{}
}

// check compares what Fluent Bit has with what the log holds.
func (w *world) check(log string, maxTwice int) {
	w.t.Helper()
	missing, twice := 0, 0
	for _, n := range w.events {
		twice += n - 1
	}
	seen := map[string]bool{}
	for id := range w.events {
		seen[id[:strings.LastIndex(id, "-")]] = true
	}
	for _, id := range w.server.IDs(log) {
		if !seen[id] {
			missing++
		}
	}
	if missing > 0 || twice > maxTwice {
		w.t.Errorf("of %d records %d are missing and %d came twice (at most %d may)\n%s", w.server.Len(log), missing, twice, maxTwice, w.stderr)
	}
}

func bodiesOf(t *testing.T, data []byte) (bodies []map[any]any) {
	h := &codec.MsgpackHandle{}
	h.RawToString = true
	dec := codec.NewDecoderBytes(data, h)
	for dec.NumBytesRead() < len(data) {
		var event []any
		if err := dec.Decode(&event); err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, event[1].(map[any]any))
	}
	return bodies
}

// small is for tests of many events: the race detector takes half a millisecond
// over one of full size, each time that it is read.
var small = duotest.Options{Small: true}

// backlog files n small events of the last 20 hours, none younger than to.
func (w *world) backlog(log string, to time.Duration, n int) {
	now := time.Now()
	w.server.Add(log, duotest.NewGenerator(log, 1, small).Spread(now.Add(-20*time.Hour), now.Add(-to), n)...)
}

// trickle files a small event every gap until stopped.
func (w *world) trickle(log string, gap time.Duration) (stop func()) {
	done, over := make(chan struct{}), make(chan struct{})
	g := duotest.NewGenerator(log, 99, small)
	go func() {
		defer close(over)
		tick := time.NewTicker(gap)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				w.server.Add(log, g.At(time.Now()))
			}
		}
	}()
	return func() { close(done); <-over }
}

func TestPauseOneSecondInFour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, duotest.Config{})
		in := w.start()
		stop := w.trickle("activity", time.Second)
		most := 0
		w.run(in, time.Hour, func(tick int) {
			switch tick % 16 {
			case 3:
				w.pause(in)
			case 7:
				w.resume(in)
			}
			in.mu.Lock()
			most = max(most, in.ledger.Len())
			in.mu.Unlock()
		})
		stop()
		w.resume(in)
		w.run(in, 5*time.Minute, nil)
		w.check("activity", 0)
		if most > 20 {
			t.Errorf("the ledger held %d entries", most)
		}
		w.stop(in)

		// What was saved is the end: nothing comes again.
		in = w.start()
		w.run(in, 5*time.Minute, nil)
		w.check("activity", 0)
		w.stop(in)
	})
}

var seeds = flag.Uint64("seeds", 2, "how many random runs TestKillsAtRandomInstants and TestCleanStopsLoseNothing make")

func TestKillsAtRandomInstants(t *testing.T) {
	for seed := range *seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 0))
				w := newWorld(t, duotest.Config{})
				w.set["poll_interval"], w.set["page_size"], w.set["batch_size"] = "10s", "50", "64K"
				w.queue = 256 << 10 // else each start reads all that there is
				now := time.Now()
				w.server.Add("activity", duotest.NewRecords("activity", seed, now.Add(-20*time.Hour), now, 4000)...)
				stop := w.trickle("activity", 500*time.Millisecond)
				kills := 0
				for range 40 {
					in := w.start()
					w.run(in, time.Duration(rnd.Int64N(int64(8*time.Second))), func(int) { time.Sleep(time.Duration(rnd.Int64N(int64(20 * time.Millisecond)))) })
					w.kill(in, time.Duration(rnd.Int64N(int64(500*time.Millisecond))))
					kills++
				}
				stop()
				in := w.start()
				w.run(in, 3*time.Minute, nil)
				w.stop(in)
				// settle of 2 s is at most three callbacks of 64 KiB, of about 40
				// records of 700 bytes and more, and a page.
				w.check("activity", kills*(3*95+50))
			})
		})
	}
}

// What is on the ring when the end begins may still get through, or not, where
// a filter such as rewrite_tag sends records on: it comes again.
func TestCleanStopsLoseNothing(t *testing.T) {
	for seed := range *seeds {
		emitter := seed%2 == 1
		t.Run(fmt.Sprint("seed ", seed, ", emitter ", emitter), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 2))
				w := newWorld(t, duotest.Config{})
				w.set["poll_interval"], w.set["page_size"], w.set["batch_size"] = "10s", "50", "64K"
				w.queue = 256 << 10 // else each start reads all that there is
				now := time.Now()
				w.server.Add("activity", duotest.NewRecords("activity", 1, now.Add(-20*time.Hour), now, 4000)...)
				const stops = 20
				for range stops {
					in := w.start()
					w.run(in, time.Duration(rnd.Int64N(int64(6*time.Second))), nil)
					w.collect(in)
					if after := time.Duration(rnd.Int64N(int64(500 * time.Millisecond))); after < 250*time.Millisecond {
						time.Sleep(after)
					} else {
						time.Sleep(250 * time.Millisecond)
						w.empty()
						time.Sleep(after - 250*time.Millisecond)
					}
					w.emitter = emitter
					w.stop(in)
					w.emitter = false
				}
				in := w.start()
				w.run(in, 3*time.Minute, nil)
				w.stop(in)
				w.check("activity", stops*95)
			})
		})
	}
}

// Fluent Bit's buffers are full when it is told to end: what it still held on
// its ring is freed, and must come again.
func TestStopWhileBuffersAreFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, duotest.Config{})
		w.set["page_size"], w.set["batch_size"] = "50", "64K"
		w.queue = 256 << 10
		now := time.Now()
		w.server.Add("activity", duotest.NewRecords("activity", 1, now.Add(-20*time.Hour), now.Add(-time.Hour), 2000)...)
		for range 10 {
			in := w.start()
			w.run(in, 4*time.Second, nil)
			w.collect(in)
			w.pause(in)
			time.Sleep(time.Minute)
			in.Stop(time.Now()) // no second Pause, src/flb_input.c:flb_input_pause
			w.ring = ring{}
		}
		in := w.start()
		w.run(in, 10*time.Minute, nil)
		w.check("activity", 10*3*95)
		w.stop(in)
	})
}

func TestDroppedAppendsComeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, duotest.Config{})
		w.set["batch_size"] = "64K"
		now := time.Now()
		w.server.Add("activity", duotest.NewRecords("activity", 1, now.Add(-20*time.Hour), now.Add(-time.Hour), 2000)...)
		in := w.start()
		w.run(in, 10*time.Minute, func(tick int) {
			// Three in a row: putting a batch back only once would lose it.
			if n := tick % 40; n == 8 || n == 12 || n == 16 {
				w.late = time.Second
			}
		})
		w.check("activity", 0)
		if !strings.Contains(w.stderr.String(), "took too long over a batch") {
			t.Error("no log line says so")
		}
		w.stop(in)
		in = w.start()
		w.run(in, 5*time.Minute, nil)
		w.check("activity", 0)
		w.stop(in)
	})
}

// TestBatchesNotTaken: what there was no memory for, so that no cleanup comes, is
// handed over again, and nobody waits for room for ever; a pause or the end may come
// before that.
func TestBatchesNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, duotest.Config{})
		w.set["batch_size"], w.set["logs"], w.queue = "64K", "activity, telephony", 128<<10
		now := time.Now()
		for _, log := range []string{"activity", "telephony"} {
			w.server.Add(log, duotest.NewRecords(log, 1, now.Add(-20*time.Hour), now.Add(-time.Hour), 1500)...)
		}
		for range 2 {
			in := w.start()
			w.run(in, 5*time.Minute, func(tick int) {
				switch tick % 40 {
				case 8, 9, 12, 20:
					in.Collect(time.Now())
				case 21:
					w.pause(in)
				case 30:
					w.resume(in)
				}
			})
			w.check("activity", 0)
			w.check("telephony", 0)
			in.Collect(time.Now())
			w.stop(in)
		}
	})
}

// A processor that takes a second over large batches looks like a full ring.
// Smaller ones end the repetitions.
func TestSlowProcessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, duotest.Config{})
		now := time.Now()
		w.server.Add("activity", duotest.NewRecords("activity", 1, now.Add(-20*time.Hour), now.Add(-time.Hour), 5000)...)
		w.slow = 300 << 10
		in := w.start()
		w.run(in, 2*time.Minute, nil)
		// 2 MiB, 1 MiB and 512 KiB come again, no more.
		w.check("activity", (2+1)<<20/600+1000)
		w.stop(in)
		before := len(w.events)
		in = w.start()
		w.run(in, 5*time.Minute, nil)
		w.stop(in)
		if len(w.events) != before || before != 5000 {
			t.Errorf("%d events, after a restart %d", before, len(w.events))
		}
	})
}

// A host that counts what its ring takes and drops is believed, whatever time it
// needs: nothing comes again but what was dropped, and that does.
func TestHostThatCountsItsRing(t *testing.T) {
	for _, tt := range []struct {
		name   string
		slow   int
		parted bool
	}{
		{name: "fast"},
		{name: "each batch takes a second", slow: 1},
		{name: "conditional routes, and the ring takes but the first part", parted: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, duotest.Config{})
				w.counts, w.slow, w.parted = true, tt.slow, tt.parted
				w.set["batch_size"] = "64K"
				now := time.Now()
				w.server.Add("activity", duotest.NewRecords("activity", 1, now.Add(-20*time.Hour), now.Add(-time.Hour), 1000)...)
				in := w.start()
				drops := 0
				w.run(in, 3*time.Minute, func(tick int) {
					if tick%40 == 8 && tick < 200 {
						// Ten pauses, by a clock that is a little fast or not.
						w.late = time.Duration(960+40*(drops%2)) * time.Millisecond
						drops++
					}
				})
				w.check("activity", 0)
				if got := uint64(strings.Count(w.stderr.String(), "took too long over a batch")); got != w.dropped || got == 0 {
					t.Errorf("%d batches were dropped, %d were said to be", w.dropped, got)
				}
				w.stop(in)
				in = w.start()
				w.run(in, 2*time.Minute, nil)
				w.check("activity", 0)
				w.stop(in)
			})
		})
	}
}

// A full disk: events go on, the failure is said once a minute, and when there
// is room again a restart repeats nothing.
func TestCheckpointFolderThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, duotest.Config{})
		in := w.start()
		stop := w.trickle("activity", time.Second)
		w.run(in, 5*time.Minute, nil)
		dir := filepath.Join(w.set["checkpoint_dir"], "api-00000000.duosecurity.com")
		if err := os.Rename(dir, dir+".away"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir, []byte("in the way"), 0o600); err != nil {
			t.Fatal(err)
		}
		w.run(in, 10*time.Minute, nil)
		if n := strings.Count(w.stderr.String(), "going on without"); n < 8 || n > 11 {
			t.Errorf("said %d times in 10 minutes:\n%s", n, w.stderr)
		}
		synctest.Wait() // the saver would make the folder anew between the two
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(dir+".away", dir); err != nil {
			t.Fatal(err)
		}
		w.run(in, time.Minute, nil)
		stop()
		w.run(in, 5*time.Minute, nil)
		w.stop(in)
		in = w.start()
		w.run(in, 5*time.Minute, nil)
		w.stop(in)
		w.check("activity", 0)
	})
}

// A stop that finds the saver about to try again does not say that it succeeded.
func TestStopBeforeAnotherTryToSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, duotest.Config{})
		in := w.start()
		if err := os.RemoveAll(w.set["checkpoint_dir"]); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(w.set["checkpoint_dir"], []byte("in the way"), 0o600); err != nil {
			t.Fatal(err)
		}
		stop := w.trickle("activity", time.Second)
		w.run(in, 5*time.Minute, nil)
		for range diskCalls {
			in.disk <- struct{}{} // a slow disk
		}
		w.run(in, 2*retrySave, nil)
		stop()
		in.Stop(time.Now())
		for range diskCalls {
			<-in.disk
		}
		synctest.Wait() // what outlasts Stop writes until now
		if log := w.stderr.String(); !strings.Contains(log, "going on without") || strings.Contains(log, "saved again") {
			t.Error(log)
		}
	})
}

// A checkpoint that cannot be read keeps its log out, says so again and again,
// and is taken up when the operator has mended it; the other logs run.
func TestUnusableCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, duotest.Config{})
		w.set["logs"] = "activity, telephony"
		now := time.Now()
		for _, log := range []string{"activity", "telephony"} {
			w.server.Add(log, duotest.NewRecords(log, 1, now.Add(-2*time.Hour), now.Add(-time.Hour), 20)...)
		}
		in := w.start()
		w.stop(in)
		file := filepath.Join(w.set["checkpoint_dir"], "api-00000000.duosecurity.com", "self", "activity.json")
		for _, f := range []string{file, file + ".prev"} {
			if err := os.WriteFile(f, []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		in = w.start()
		w.run(in, 11*time.Minute, nil)
		w.check("telephony", 0)
		if n := strings.Count(w.stderr.String(), "activity: not pulled: checkpoint "+file); n != 3 {
			t.Errorf("said %d times in 11 minutes:\n%s", n, w.stderr)
		}
		for _, f := range []string{file, file + ".prev"} {
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
		w.run(in, 5*time.Minute, nil)
		w.check("activity", 0)
		w.stop(in)
	})
}

// Stop ends within half a second, whatever a call is doing.
func TestStopDuringHangingCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, duotest.Config{})
		w.server.Fault(duotest.Fault{Kind: duotest.FaultHang, N: -1})
		in := w.start()
		w.run(in, 3*time.Second, nil)
		begin := time.Now()
		in.Stop(time.Now())
		if took := time.Since(begin); took > 500*time.Millisecond {
			t.Errorf("Stop took %v", took)
		}
	})
}

// An output that is down for hours: the queue is bounded, the calls stop, and
// afterwards everything comes.
func TestPauseForHoursBoundsMemoryAndCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, duotest.Config{})
		if most := w.make().queue.max; most > 3<<20 {
			t.Errorf("the queue may hold %d bytes, want at most 3 MiB", most)
		}
		w.queue = 1 << 20
		w.backlog("activity", time.Hour, 6000)
		in := w.start()
		w.pause(in)
		w.run(in, 6*time.Hour, nil)
		in.queue.mu.Lock()
		if n := in.queue.bytes; n > w.queue || n < w.queue*3/4 {
			t.Errorf("the queue holds %d bytes, want it full at %d", n, w.queue)
		}
		in.queue.mu.Unlock()
		calls := len(w.server.Calls())
		w.run(in, time.Hour, nil)
		if n := len(w.server.Calls()) - calls; n != 0 {
			t.Errorf("%d calls while nothing could be taken", n)
		}
		w.resume(in)
		w.run(in, 10*time.Minute, nil)
		w.check("activity", 0)
		w.stop(in)
	})
}

// odd is a cursor that cannot even be encoded.
type odd struct{}

func (odd) MarshalJSON() ([]byte, error) { panic("odd") }

// TestFaultInSave: a fault while a checkpoint is saved is said, and the instance
// goes on.
func TestFaultInSave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, duotest.Config{})
		in := w.start()
		w.run(in, 5*time.Second, nil)
		in.mu.Lock()
		for key := range in.streams {
			in.ledger.HandOver(time.Now(), []checkpoint.Mark{{Stream: key, Cursor: odd{}}}, 0)
			in.ledger.Release(time.Now())
		}
		in.mu.Unlock()
		in.wakeSaver()
		w.run(in, 15*time.Second, nil)
		if !strings.Contains(w.stderr.String(), "the checkpoint is not saved: a fault in duo_in: odd") {
			t.Errorf("the log:\n%s", w.stderr)
		}
		in.Stop(time.Now())
	})
}

// TestFaultBeside: neither a fault in looking for chunks, nor one in reading a
// checkpoint, again and again, nor one in a stop, ends the host or keeps the other
// streams from going on, and the checkpoints are given back.
func TestFaultBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, duotest.Config{})
		in := w.make()
		looks := 0
		in.storage.find = func() string {
			if looks++; looks > 1 { // the first is Start's
				panic("no such folder")
			}
			return ""
		}
		if err := in.Start(time.Now()); err != nil {
			t.Fatal(err)
		}
		key := in.key("", in.options.Logs[0])
		in.launch(newStream(key, in.options.Logs[0], nil, newMeter(time.Now(), 0)), key.Host, 0) // Load needs a slot
		const minutes = 2 * diskCalls
		stop := w.trickle("activity", time.Minute)
		w.run(in, minutes*time.Minute, nil)
		stop()
		w.run(in, 10*time.Minute, nil)
		w.check("activity", 0)
		in.counted = func() counts { panic("no such counter") }
		in.mu.Lock()
		in.ledger = nil
		in.mu.Unlock()
		in.Stop(time.Now())
		if in.ctx.Err() == nil {
			t.Error("its pollers go on")
		}
		for text, least := range map[string]int{
			"looking for Fluent Bit's buffer: a fault in duo_in: no such folder":                            1,
			"activity: a fault in duo_in: runtime error: invalid memory address or nil pointer dereference": minutes,
			"counting events: a fault in duo_in: no such counter":                                           1,
			"saving checkpoints: a fault in duo_in: runtime error: invalid memory address":                  1,
		} {
			if n := w.said(text); n < least {
				t.Errorf("%q was said %d times, want %d at least", text, n, least)
			}
		}
		w.stop(w.start())
	})
}

// TestFaultInSaver: neither a fault in what the saver does beside, nor one in giving
// back memory, keeps checkpoints from being saved a minute later.
func TestFaultInSaver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, duotest.Config{})
		in := w.make()
		in.giveBack = func() { panic("odd") }
		if err := in.Start(time.Now()); err != nil {
			t.Fatal(err)
		}
		in.mu.Lock()
		in.streams[checkpoint.Stream{Log: "none"}] = nil
		in.at = time.Now() // something was handed over lately, so that the streams are looked at
		in.mu.Unlock()
		in.wakeSaver()
		synctest.Wait()
		in.mu.Lock()
		delete(in.streams, checkpoint.Stream{Log: "none"})
		in.mu.Unlock()
		stop := w.trickle("activity", time.Second)
		w.run(in, 10*time.Minute, nil)
		stop()
		w.run(in, 10*time.Minute, nil)
		w.kill(in, time.Second)
		in = w.start()
		w.run(in, 10*time.Minute, nil)
		w.stop(in)
		w.check("activity", 0)
		for _, want := range []string{
			"giving back memory: a fault in duo_in: odd; going on in a minute",
			"saving checkpoints: a fault in duo_in: runtime error: invalid memory address",
		} {
			if !strings.Contains(w.stderr.String(), want) {
				t.Errorf("the log lacks %q:\n%s", want, w.stderr)
			}
		}
	})
}
