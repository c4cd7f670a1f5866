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
	events int         // how many
	cursor *duo.Cursor // only with the last batch of a page
}

// idle reports whether the batch stands for no events.
func (b batch) idle() bool { return len(b.data) == 0 }

// size is about what the batch takes in memory, in bytes: what a cursor
// remembers can be more than its events.
func (b batch) size() int {
	n := cap(b.data)
	if b.cursor != nil {
		n += 24 * len(b.cursor.Seen)
	}
	return n
}

// queue holds batches until Fluent Bit collects them: bounded in bytes, so
// that a full queue stops the pollers and with them the calls to Duo.
type queue struct {
	max  int           // bytes in memory
	bell *bell         // has the callback collect
	turn chan struct{} // holds a token while somebody pushes: the others wait in their order

	mu      sync.Mutex
	batches []batch
	bytes   int
	room    chan struct{} // closed, and made anew, by admit
}

func newQueue(max int) *queue {
	return &queue{max: max, turn: make(chan struct{}, 1), room: make(chan struct{})}
}

// size is how many bytes wait.
func (q *queue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}

// push appends a batch. It blocks while the queue is full, but an empty queue
// takes one batch of any size: nobody's smaller ones get ahead of it, since with
// them the queue might never be empty. The error is the context's.
func (q *queue) push(ctx context.Context, b batch) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case q.turn <- struct{}{}:
	}
	defer func() { <-q.turn }()
	added := false
	err := q.when(ctx, func() bool {
		if added = q.bytes == 0 || q.bytes+b.size() <= q.max; added {
			q.append(b)
		}
		return added
	})
	if added {
		q.bell.ring()
	}
	return err
}

// wants waits until the queue is less than four fifths full, which is what a
// callback takes: else a page waits beside it. The error is the context's.
func (q *queue) wants(ctx context.Context) error {
	return q.when(ctx, func() bool { return q.bytes < q.max/5*4 })
}

// when waits until ok holds, which is called with mu held. The error is the
// context's.
func (q *queue) when(ctx context.Context, ok func() bool) error {
	for {
		q.mu.Lock()
		done, room := ok(), q.room
		q.mu.Unlock()
		if done {
			return ctx.Err()
		}
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
				q.bytes += b.size() - old.size()
				q.batches[i] = b
				return
			}
			break
		}
	}
	q.batches = append(q.batches, b)
	q.bytes += b.size()
}

// empty reports whether nothing waits.
func (q *queue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.batches) == 0
}

// take removes and returns the oldest batches, up to limit bytes of events but
// at least one if there is any. Who waits for their room gets it by admit.
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
	for _, b := range taken {
		q.bytes -= b.size()
	}
	return taken
}

// admit lets in who waits for the room that take made. It comes after the callback:
// what it lets in wants every processor at once, and the callback one.
func (q *queue) admit() {
	q.mu.Lock()
	defer q.mu.Unlock()
	close(q.room)
	q.room = make(chan struct{})
}

// putBack returns batches to the head, in their order, whatever the bound.
func (q *queue) putBack(batches []batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.batches = slices.Insert(q.batches, 0, batches...)
	for _, b := range batches {
		q.bytes += b.size()
	}
}
