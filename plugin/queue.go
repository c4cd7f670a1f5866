package main

import (
	"context"
	"slices"
	"sync"

	"duo_in/checkpoint"
	"duo_in/duo"
)

// batch is a run of encoded events of one stream, and the cursor that follows
// them.
type batch struct {
	stream checkpoint.Stream
	data   []byte      // msgpack events; none: the batch brings only a cursor
	cursor *duo.Cursor // only with the last batch of a page
}

// idle reports whether the batch stands for no events.
func (b batch) idle() bool { return len(b.data) == 0 }

// queue holds batches until Fluent Bit collects them: bounded in bytes, so
// that a full queue stops the pollers and with them the calls to Duo.
type queue struct {
	max int // bytes

	mu      sync.Mutex
	batches []batch
	bytes   int
	room    chan struct{} // closed, and made anew, when something was taken
}

func newQueue(max int) *queue { return &queue{max: max, room: make(chan struct{})} }

// push appends a batch. It blocks while the queue is full, but an empty queue
// takes one batch of any size. The error is the context's.
func (q *queue) push(ctx context.Context, b batch) error {
	for {
		q.mu.Lock()
		if q.bytes == 0 || q.bytes+len(b.data) <= q.max {
			q.append(b)
			q.mu.Unlock()
			return ctx.Err()
		}
		room := q.room
		q.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-room:
		}
	}
}

// append adds a batch; a cursor without events takes the place of one of the
// same stream that nothing came behind, so that these do not pile up while
// nobody collects.
func (q *queue) append(b batch) {
	if b.idle() {
		for i, old := range slices.Backward(q.batches) {
			if old.stream != b.stream {
				continue
			}
			if old.idle() {
				q.batches[i] = b
				return
			}
			break
		}
	}
	q.batches = append(q.batches, b)
	q.bytes += len(b.data)
}

// take removes and returns the oldest batches, up to limit bytes but at least
// one if there is any.
func (q *queue) take(limit int) []batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < len(q.batches) && (n == 0 || size+len(q.batches[n].data) <= limit) {
		size += len(q.batches[n].data)
		n++
	}
	if n == 0 {
		return nil
	}
	taken := slices.Clone(q.batches[:n])
	q.batches = slices.Delete(q.batches, 0, n)
	q.bytes -= size
	close(q.room)
	q.room = make(chan struct{})
	return taken
}

// putBack returns batches to the head, in their order, whatever the bound.
func (q *queue) putBack(batches []batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.batches = slices.Insert(q.batches, 0, batches...)
	for _, b := range batches {
		q.bytes += len(b.data)
	}
}
