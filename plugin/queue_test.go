package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"duo_in/checkpoint"
	"duo_in/duo"
)

// events is a batch of n bytes of the stream of that log.
func events(log string, n int) batch {
	return batch{stream: checkpoint.Stream{Log: log}, data: make([]byte, n)}
}

// idleAt is a batch that brings only a cursor, which can be told by its from.
func idleAt(log string, from duo.Millis) batch {
	return batch{stream: checkpoint.Stream{Log: log}, cursor: &duo.Cursor{From: from}}
}

// describe writes batches as log:bytes and log@cursor.
func describe(batches []batch) (out []string) {
	for _, b := range batches {
		if b.idle() {
			out = append(out, fmt.Sprintf("%s@%d", b.stream.Log, b.cursor.From))
		} else {
			out = append(out, fmt.Sprintf("%s:%d", b.stream.Log, len(b.data)))
		}
	}
	return out
}

// fill pushes batches that must find room.
func fill(t *testing.T, q *queue, batches ...batch) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, b := range batches {
		if err := q.push(ctx, b); err != nil {
			t.Fatalf("push %v: %v", describe([]batch{b}), err)
		}
	}
}

// TestQueueLargeBatch: a batch that fits into an empty queue only gets in, however
// many small ones others have.
func TestQueueLargeBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(300)
		ctx, cancel := context.WithCancel(t.Context())
		var pushers sync.WaitGroup
		for range 2 {
			pushers.Go(func() {
				for q.push(ctx, events("small", 100)) == nil {
				}
			})
		}
		synctest.Wait() // it is full
		pushers.Go(func() { _ = q.push(ctx, events("large", 1000)) })
		for n := 0; ; n++ {
			synctest.Wait()
			got := q.take(100)
			if q.admit(); slices.Contains(describe(got), "large:1000") {
				break
			}
			if n == 10 {
				t.Error("it is not in the queue after ten callbacks")
				break
			}
		}
		cancel()
		pushers.Wait()
	})
}

func TestQueueTake(t *testing.T) {
	for _, c := range []struct {
		name    string
		batches []batch
		limit   int
		want    []string
		left    []string
	}{
		{"of an empty queue", nil, 100, nil, nil},
		{"oldest first", []batch{events("a", 1), events("b", 2), events("a", 3)}, 100, []string{"a:1", "b:2", "a:3"}, nil},
		{"up to the limit", []batch{events("a", 60), events("a", 40), events("a", 1)}, 100, []string{"a:60", "a:40"}, []string{"a:1"}},
		{"never past it to a smaller one", []batch{events("a", 60), events("b", 50), events("a", 1)}, 100, []string{"a:60"}, []string{"b:50", "a:1"}},
		{"at least one", []batch{events("a", 200), events("a", 1)}, 100, []string{"a:200"}, []string{"a:1"}},
		{"a cursor costs nothing", []batch{events("a", 100), idleAt("b", 1)}, 100, []string{"a:100", "b@1"}, nil},
		{"a cursor is one too", []batch{idleAt("b", 1), events("a", 200)}, 100, []string{"b@1"}, []string{"a:200"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := newQueue(1000)
			fill(t, q, c.batches...)
			if diff := cmp.Diff(c.want, describe(q.take(c.limit))); diff != "" {
				t.Errorf("taken (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.left, describe(q.batches)); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
		})
	}
}

func TestQueueIdle(t *testing.T) {
	for _, c := range []struct {
		name    string
		batches []batch
		want    []string
	}{
		{"the newest takes the place", []batch{idleAt("a", 1), idleAt("a", 2), idleAt("a", 3)}, []string{"a@3"}},
		{"of its own stream only", []batch{idleAt("a", 1), idleAt("b", 1), idleAt("a", 2), idleAt("b", 2)}, []string{"a@2", "b@2"}},
		{"never ahead of events", []batch{idleAt("a", 1), events("a", 5), idleAt("a", 2)}, []string{"a@1", "a:5", "a@2"}},
		{"others' events do not count", []batch{idleAt("a", 1), events("b", 5), idleAt("a", 2)}, []string{"a@2", "b:5"}},
		{"events never take a place", []batch{idleAt("a", 1), events("a", 5)}, []string{"a@1", "a:5"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := newQueue(1000)
			fill(t, q, c.batches...)
			if diff := cmp.Diff(c.want, describe(q.take(1000))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestQueueIdleBehindPutBack covers the one way in which a batch gets in front
// of another of its stream: it must be the older one.
func TestQueueIdleBehindPutBack(t *testing.T) {
	q := newQueue(1000)
	fill(t, q, events("a", 5), idleAt("a", 1))
	taken := q.take(1000)
	fill(t, q, idleAt("a", 2))
	q.putBack(taken)
	fill(t, q, idleAt("a", 3))
	if diff := cmp.Diff([]string{"a:5", "a@1", "a@3"}, describe(q.take(1000))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestQueuePutBack(t *testing.T) {
	q := newQueue(100)
	fill(t, q, events("a", 60), events("b", 40))
	taken := q.take(100)
	fill(t, q, events("a", 70))
	q.putBack(taken) // above the bound: what was taken once is not refused
	if q.bytes != 170 {
		t.Errorf("the queue counts %d bytes, want 170", q.bytes)
	}
	if diff := cmp.Diff([]string{"a:60", "b:40", "a:70"}, describe(q.take(1000))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if q.bytes != 0 {
		t.Errorf("the empty queue counts %d bytes", q.bytes)
	}
}

// TestQueueBound pushes into queues that are filled to some degree and looks
// whether that blocks.
func TestQueueBound(t *testing.T) {
	for _, c := range []struct {
		name   string
		full   []batch
		push   batch
		blocks bool
	}{
		{"empty, of any size", nil, events("a", 1000), false},
		{"up to the bound", []batch{events("a", 60)}, events("b", 40), false},
		{"past the bound", []batch{events("a", 60)}, events("b", 41), true},
		{"a cursor into a full one", []batch{events("a", 100)}, idleAt("a", 1), false},
		{"behind cursors only, of any size", []batch{idleAt("a", 1)}, events("a", 1000), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueue(100)
				fill(t, q, c.full...)
				done := make(chan error, 1)
				go func() { done <- q.push(t.Context(), c.push) }()
				synctest.Wait()
				if blocks := len(done) == 0; blocks != c.blocks {
					t.Errorf("it blocks: %v, want %v", blocks, c.blocks)
				}
				q.take(1000) // now there is room for all
				q.admit()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestQueuePushEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(100)
		fill(t, q, events("a", 100))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		start := time.Now()
		if err := q.push(ctx, events("a", 1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("push ends with %v", err)
		}
		if waited := time.Since(start); waited != time.Hour {
			t.Errorf("push waited for %s, want 1h", waited)
		}
		if diff := cmp.Diff([]string{"a:100"}, describe(q.take(1000))); diff != "" {
			t.Errorf("a push that failed left something (-want +got):\n%s", diff)
		}
		if err := q.push(ctx, events("a", 1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("push with an ended context returns %v", err)
		}
	})
}

// TestQueueConcurrent has four streams push while one goroutine takes, and now
// and then puts back what it took. Every stream's batches must come out
// complete and in order, and the bound must hold.
func TestQueueConcurrent(t *testing.T) {
	const streams, each, bound = 4, 500, 200
	q := newQueue(bound)
	var pushers sync.WaitGroup
	for s := range streams {
		pushers.Go(func() {
			for i := range each {
				b := events(fmt.Sprint(s), 1+i%50)
				if i%7 == 6 {
					b.data = nil
				}
				b.cursor = &duo.Cursor{From: duo.Millis(i)}
				if err := q.push(t.Context(), b); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { defer close(done); pushers.Wait() }()

	last := map[string]duo.Millis{}
	events := 0
	accept := func(batches []batch) {
		for _, b := range batches {
			if n, ok := last[b.stream.Log]; ok && b.cursor.From <= n {
				t.Fatalf("stream %s: %d came after %d", b.stream.Log, b.cursor.From, n)
			}
			last[b.stream.Log] = b.cursor.From
			if !b.idle() {
				events++
			}
		}
	}
	for round, open := 0, true; open; round++ {
		select {
		case <-done:
			open = false
		default:
		}
		batches := q.take(100)
		if size := bytesOf(batches); size > bound {
			t.Fatalf("%d bytes were taken, with a limit of 100", size)
		}
		if round%5 == 0 {
			q.putBack(batches)
			batches = q.take(100)
		}
		q.admit()
		accept(batches)
	}
	accept(q.take(1 << 20))
	// Each stream pushes each batches, of which every seventh is only a cursor.
	if want := streams * (each - each/7); events != want {
		t.Errorf("%d batches with events came out, want %d", events, want)
	}
	want := slices.Repeat([]duo.Millis{each - 1}, streams)
	if got := []duo.Millis{last["0"], last["1"], last["2"], last["3"]}; !slices.Equal(got, want) {
		t.Errorf("the streams end at %v, want %v", got, want)
	}
	if q.bytes != 0 {
		t.Errorf("the empty queue counts %d bytes", q.bytes)
	}
}

func bytesOf(batches []batch) (n int) {
	for _, b := range batches {
		n += len(b.data)
	}
	return n
}

// TestWants: no page is fetched while a callback's batch waits.
func TestWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(100)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		fill(t, q, events("a", 79))
		if err := q.wants(ctx); err != nil {
			t.Fatalf("79 of 100 bytes: %v", err)
		}
		fill(t, q, events("a", 1))
		got := make(chan error, 1)
		go func() { got <- q.wants(ctx) }()
		synctest.Wait()
		select {
		case err := <-got:
			t.Fatalf("80 of 100 bytes: wanted, %v", err)
		default:
		}
		q.take(79)
		synctest.Wait()
		if len(got) > 0 {
			t.Error("it wants more before the callback is over")
		}
		q.admit()
		if err := <-got; err != nil {
			t.Errorf("1 of 100 bytes: %v", err)
		}
		fill(t, q, events("a", 99))
		cancel()
		if err := q.wants(ctx); err != context.Canceled {
			t.Errorf("full, and at its end: %v", err)
		}
	})
}

// TestRoomAfterCallback: who waits for room is let in when the host is done with what
// made it, be it at the callback itself, which found cursors only.
func TestRoomAfterCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, k := newSite(t), newHandle()
		s.start(s.asks(1, k))
		defer s.exit(1, k)
		in := s.find(k).instance
		in.queue.mu.Lock()
		in.queue.max = 1000
		in.queue.mu.Unlock()
		key := in.key("", in.options.Logs[0])
		pushed := make(chan error, 1)
		waits := func(first, second batch) {
			t.Helper()
			fill(t, in.queue, first)
			go func() { pushed <- in.queue.push(t.Context(), second) }()
			if synctest.Wait(); len(pushed) > 0 {
				t.Fatal("there is room for both")
			}
		}
		waits(batch{stream: key, data: make([]byte, 900)}, batch{stream: key, cursor: &duo.Cursor{Seen: make([]duo.Seen, 40)}})
		s.Collect(k)
		if synctest.Wait(); len(pushed) > 0 {
			t.Error("it is let in while the host copies")
		}
		s.Release(k)
		if synctest.Wait(); len(pushed) != 1 || <-pushed != nil {
			t.Fatal("it is not let in when the host is done")
		}
		s.Collect(k)
		waits(batch{stream: key, cursor: &duo.Cursor{Seen: make([]duo.Seen, 40)}}, batch{stream: key, data: make([]byte, 900)})
		s.Collect(k)
		if synctest.Wait(); len(pushed) != 1 || <-pushed != nil {
			t.Fatal("it is not let in behind a cursor")
		}
	})
}
