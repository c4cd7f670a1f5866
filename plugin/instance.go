package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"duo_in/checkpoint"
	"duo_in/duo"
	"duo_in/plugin/record"
)

const (
	lockWait    = 10 * time.Second       // for an owner that is about to stop, as in a fast restart
	pollersStop = 150 * time.Millisecond // of the 500 ms that a stop may take
	saverStop   = 250 * time.Millisecond
	retrySave   = 2 * time.Second
	repeatError = time.Minute     // how often a lasting failure to save is said
	repeatOut   = 5 * time.Minute // how often an unusable checkpoint is said
	// growAfter is how many batches are taken until twice as much is handed over.
	growAfter = 60
	// batchPart is what a page is cut into, so that a callback can be filled up
	// to batch_size whatever the pages' sizes.
	batchPart = 64 << 10
)

// instance is one [INPUT]: its streams, their queue, and the ledger of what was
// handed over. Start it once; Stop ends it for good.
type instance struct {
	name    string // as Fluent Bit calls it: duo.0
	options options
	lines   *lines
	log     *slog.Logger
	queue   *queue
	// transport is what Duo is called through; nil until Start, unless a test
	// sets it.
	transport http.RoundTripper

	streams []*stream
	cancel  context.CancelFunc
	pollers sync.WaitGroup
	saver   sync.WaitGroup
	commits chan struct{} // wakes the saver

	mu     sync.Mutex // guards what follows
	ledger *checkpoint.Ledger
	handed []batch // what Fluent Bit holds between Collect and Release
	limit  int     // bytes to hand over at once: batch_size, or less while that is not taken in time
	taken  int     // batches in a row that were taken
	pauses int     // since the last Resume
}

// stream is one log of one account, with its checkpoint.
type stream struct {
	key    checkpoint.Stream
	slot   *checkpoint.Slot
	poller *duo.Poller
	broken error // why its checkpoint cannot be used: the stream stays out
}

// newInstance checks the configuration. The error names every problem.
func newInstance(name string, get getter, l *lines, now time.Time) (*instance, error) {
	o, err := parseOptions(get, now)
	log := slog.New(l)
	for _, w := range o.warnings {
		log.Warn(w)
	}
	if err != nil {
		return nil, err
	}
	return &instance{
		name: name, options: o, lines: l, log: log,
		queue:   newQueue(max(8<<20, 2*o.batchSize)),
		ledger:  checkpoint.NewLedger(o.settle),
		limit:   o.batchSize,
		commits: make(chan struct{}, 1),
	}, nil
}

// Start takes the checkpoints and begins to poll. It makes no network call. On
// an error it has let go of everything.
func (in *instance) Start(now time.Time) error {
	if err := in.acquire(now); err != nil {
		in.release()
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	in.cancel = cancel
	for _, s := range in.streams {
		in.pollers.Go(func() { in.run(ctx, s) })
	}
	in.saver.Go(func() { in.save(ctx) })
	return nil
}

// acquire opens the store and every stream's checkpoint. A checkpoint that
// cannot be used keeps its stream out; the error is for what concerns all.
func (in *instance) acquire(now time.Time) error {
	store, err := checkpoint.Open(in.options.checkpointDir)
	if err != nil {
		return err
	}
	if in.transport == nil {
		if in.transport, err = duo.NewTransport(in.options.transport); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), lockWait)
	defer cancel()
	usable := 0
	for _, l := range in.options.logs {
		s := &stream{key: checkpoint.Stream{Host: in.options.credentials.Host, Log: l.Name}}
		if s.slot, err = store.Acquire(ctx, s.key, "[INPUT] "+in.name); err != nil {
			return fmt.Errorf("%s: %w", l.Name, err)
		}
		in.streams = append(in.streams, s)
		s.poller = &duo.Poller{
			Log:    l,
			Client: duo.NewClient(in.options.credentials, in.transport, in.options.timeout, userAgent()),
			Window: in.options.window, Logger: in.log,
			Deliver: in.deliverer(s.key, l),
		}
		if in.begin(s, now); s.broken == nil {
			usable++
		}
	}
	if usable == 0 {
		return in.broken()
	}
	return nil
}

// begin sets the cursor to begin with: the stored one, or a first one, which is
// saved before anything is asked for. From then on since has no effect.
func (in *instance) begin(s *stream, now time.Time) {
	var c duo.Cursor
	origin, err := s.slot.Load(&c)
	if s.broken = err; err != nil {
		return
	}
	switch origin.Generation {
	case checkpoint.Fresh:
		c = duo.NewCursor(in.options.since, now)
		if s.broken = s.slot.Save(&c); s.broken != nil {
			return
		}
		in.log.Info(fmt.Sprintf("%s: no checkpoint yet; beginning at %v (since %s)", s.key.Log, c.From, in.options.sinceText))
	case checkpoint.Previous:
		in.log.Warn(fmt.Sprintf("%s: the checkpoint cannot be used (%v); going on from the one before it, saved %s: what was delivered since comes again",
			s.key.Log, origin.Why, origin.Saved.Format(time.RFC3339)))
	default:
		in.log.Info(fmt.Sprintf("%s: going on at %v, from the checkpoint of %s (the option since applies only without one)",
			s.key.Log, max(c.From, c.Last), origin.Saved.Format(time.RFC3339)))
	}
	s.poller.Cursor = c
}

// broken joins the errors of the streams that stay out.
func (in *instance) broken() error {
	var errs []error
	for _, s := range in.streams {
		if s.broken != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.key.Log, s.broken))
		}
	}
	return errors.Join(errs...)
}

// run polls one stream until the context ends. A stream whose checkpoint
// cannot be used says so again and again, until the operator has mended it; one
// that panics is begun again at its last page.
func (in *instance) run(ctx context.Context, s *stream) {
	for ctx.Err() == nil {
		wait := repeatOut
		if s.broken == nil {
			in.poll(ctx, s)
			wait = repeatError
		} else {
			in.log.Error(s.key.Log + ": not pulled: " + s.broken.Error())
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
			if s.broken != nil {
				in.begin(s, time.Now())
			}
		}
	}
}

func (in *instance) poll(ctx context.Context, s *stream) {
	defer func() {
		if r := recover(); r != nil {
			in.log.Error(fmt.Sprintf("%s: a fault in duo_in: %v; beginning again at the last page in a minute (please report this: %s)", s.key.Log, r, debug.Stack()))
		}
	}()
	_ = s.poller.Run(ctx) // ends with the context alone
}

// deliverer returns what takes a stream's pages: it encodes them and queues
// them in parts, of which only the last carries the cursor.
func (in *instance) deliverer(key checkpoint.Stream, l duo.Log) func(context.Context, []duo.Record, duo.Cursor) error {
	enc := record.NewEncoder(record.Options{Format: in.options.format, Exclude: in.options.exclude, Version: version})
	host := in.options.credentials.Host
	part := min(batchPart, in.options.batchSize)
	total, said := 0, false
	return func(ctx context.Context, records []duo.Record, c duo.Cursor) error {
		var data []byte
		if total += len(records); c.CaughtUp() && !said {
			said = true
			in.log.Info(l.Name+": caught up with Duo", "events", total)
		}
		for _, r := range records {
			if len(data) > 0 && len(data)+len(r.Raw) > part {
				if err := in.queue.push(ctx, batch{stream: key, data: data}); err != nil {
					return err
				}
				data = nil
			}
			if data == nil {
				data = make([]byte, 0, part+part/8)
			}
			data = enc.Append(data, record.Event{Raw: r.Raw, Time: r.Time, EventType: l.EventType, Host: host, EventID: r.EventID})
		}
		// A page of a few events must not hold the memory of a whole part.
		return in.queue.push(ctx, batch{stream: key, data: bytes.Clone(data), cursor: &c})
	}
}

// Collect returns what Fluent Bit is to take now, in parts; nil for nothing,
// after which no Release comes. Fluent Bit calls it once a second.
func (in *instance) Collect(now time.Time) [][]byte {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.pauses > 0 {
		return nil
	}
	if in.handed != nil {
		// No cleanup came: the host has not taken it.
		in.ledger.Drop(now)
		in.putBack()
	}
	batches := in.queue.take(in.limit)
	var parts [][]byte
	for _, b := range batches {
		if !b.idle() {
			parts = append(parts, b.data)
		}
	}
	if parts == nil {
		in.ledger.Pass(now, marks(batches))
		in.wakeSaver()
		return nil
	}
	in.handed = batches
	in.ledger.HandOver(now, marks(batches))
	return parts
}

// Release is Fluent Bit's cleanup: it is done with what Collect returned.
func (in *instance) Release(now time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.handed == nil {
		return
	}
	if !in.ledger.Release(now) {
		in.log.Warn("Fluent Bit took too long over a batch: its ring buffer was full, and the batch was dropped, or a processor is slow; handing it over again, in smaller parts")
		in.putBack()
		return
	}
	in.handed = nil
	if in.taken++; in.taken >= growAfter {
		in.limit, in.taken = min(in.limit*2, in.options.batchSize), 0
	}
	in.wakeSaver()
}

// putBack returns what was handed over to the queue's head; mu is held. The
// next batches are smaller: a slow append looks like a dropped one, and would
// be repeated for ever if it stayed slow.
func (in *instance) putBack() {
	in.queue.putBack(in.handed)
	in.handed, in.taken = nil, 0
	in.limit = max(in.limit/2, batchPart)
}

// Pause and Resume are Fluent Bit's. While paused nothing is handed over, the
// queue fills up, and the pollers wait.
func (in *instance) Pause(now time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.pauses++
	in.ledger.Pause(now)
}

// Resume takes back every Pause.
func (in *instance) Resume(now time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.pauses = 0
	in.ledger.Resume(now)
	in.wakeSaver()
}

// marks are the cursors of batches.
func marks(batches []batch) (ms []checkpoint.Mark) {
	for _, b := range batches {
		if b.cursor != nil {
			ms = append(ms, checkpoint.Mark{Stream: b.stream, Cursor: b.cursor, Idle: b.idle()})
		}
	}
	return ms
}

func (in *instance) wakeSaver() {
	select {
	case in.commits <- struct{}{}:
	default:
	}
}

// save writes cursors when they are due, until the context ends. It is the
// only one to write while the instance runs, so that the callback never waits
// for a disk.
func (in *instance) save(ctx context.Context) {
	var said time.Time // when a failure was last said; zero: all is well
	for {
		in.mu.Lock()
		due := in.ledger.Due(time.Now())
		next, ok := in.ledger.Next(time.Now())
		in.mu.Unlock()
		var failures []error
		for _, m := range due {
			if err := in.slot(m.Stream).Save(m.Cursor); err != nil {
				failures = append(failures, err)
				in.mu.Lock()
				in.ledger.Failed(time.Now(), m)
				in.mu.Unlock()
			}
		}
		switch {
		case len(failures) > 0:
			if time.Since(said) >= repeatError {
				in.log.Error(fmt.Sprintf("%v; going on without, so that a restart would deliver again what came since; retrying", errors.Join(failures...)))
				said = time.Now()
			}
			next, ok = retrySave, true
		case len(due) > 0 && !said.IsZero():
			in.log.Info("checkpoints can be saved again")
			said = time.Time{}
		}
		if !in.waitSave(ctx, next, ok, len(failures) > 0) {
			return
		}
	}
}

// waitSave waits until a cursor may be due; after a failure nothing but time
// ends the wait.
func (in *instance) waitSave(ctx context.Context, next time.Duration, ok, failed bool) bool {
	var timer <-chan time.Time
	if ok {
		timer = time.After(next)
	}
	commits := in.commits
	if failed {
		commits = nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-timer:
	case <-commits:
	}
	return true
}

func (in *instance) slot(key checkpoint.Stream) *checkpoint.Slot {
	for _, s := range in.streams {
		if s.key == key {
			return s.slot
		}
	}
	return nil
}

// Stop ends the instance within half a second, whatever a call or a disk is
// doing, and commits what Fluent Bit is known to have. After Stop nothing of it
// runs, except a write that a disk holds up.
func (in *instance) Stop(now time.Time) {
	in.lines.close()
	for _, s := range in.streams {
		s.slot.Closing()
	}
	in.cancel()
	if !within(pollersStop, in.pollers.Wait) {
		in.log.Warn("a poller has not stopped in time; its page is read again at the next start")
	}
	(&http.Client{Transport: in.transport}).CloseIdleConnections()
	if !within(saverStop, func() { in.saver.Wait(); in.commit(now) }) {
		in.log.Warn("the checkpoints could not be saved in time; what came since the last save is delivered again at the next start")
	}
}

// commit is the saver's last work.
func (in *instance) commit(now time.Time) {
	in.mu.Lock()
	// At exit Fluent Bit pauses an input twice, unless it was paused before
	// because its buffers are full: then it does not, and has not emptied its
	// ring since (src/flb_input.c:flb_input_pause).
	due := in.ledger.Exit(now, in.pauses == 1)
	in.mu.Unlock()
	for _, m := range due {
		if err := in.slot(m.Stream).Save(m.Cursor); err != nil {
			in.log.Error(err.Error() + "; what came since the last save is delivered again at the next start")
		}
	}
	in.release()
}

// release gives the checkpoints back.
func (in *instance) release() {
	for _, s := range in.streams {
		if err := s.slot.Release(); err != nil {
			in.log.Error(err.Error())
		}
	}
}

// within runs f and reports whether it ended within d. If not, it goes on.
func within(d time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}
