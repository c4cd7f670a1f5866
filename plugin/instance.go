package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"duo_in/checkpoint"
	"duo_in/duo"
	"duo_in/plugin/option"
	"duo_in/plugin/record"
)

const (
	lockWait    = 10 * time.Second       // for an owner that is about to stop, as in a fast restart
	workStop    = 300 * time.Millisecond // of the 500 ms that a stop may take, for pollers, saver and cleaner
	idleStop    = 100 * time.Millisecond // of workStop, for cursors that nothing is lost without
	retrySave   = 2 * time.Second
	repeatError = time.Minute     // how often a lasting failure to save is said
	repeatOut   = 5 * time.Minute // how often an unusable checkpoint is said
	// askAfter is how long a batch takes until the host is asked whether its ring
	// took it: it is dropped after ten pauses of 100 ms.
	askAfter = 500 * time.Millisecond
	// restAfter is how long after the last hand-over a window is not taken to bring more
	// soon.
	restAfter = 2 * time.Minute
	// growAfter is how many batches are taken until twice as much is handed over.
	growAfter = 60
	// diskCalls is how many checkpoints are read or written at once: with
	// hundreds of streams one after the other would take too long, and all at
	// once a thread each.
	diskCalls = 8
	// batchPart is what a page is cut into, so that a callback can be filled up
	// to batch_size whatever the pages' sizes.
	batchPart = 64 << 10
)

// instance is one [INPUT]: its streams, their queue, and the ledger of what was
// handed over. Start it once; Stop ends it for good.
type instance struct {
	name    string // as Fluent Bit calls it: duo.0
	options option.Values
	lines   *lines
	log     *slog.Logger
	queue   *queue
	parts   parts
	tray    tray
	// giveBack returns memory to the system, which takes a while.
	giveBack func()
	// transport is what Duo is called through; nil until Start, unless a test
	// sets it.
	transport http.RoundTripper
	// counted is how many of this input's events the host has counted; nil: it
	// does not count, or cannot be asked. Only its callbacks may ask.
	counted  counter
	storage  *storage
	exporter *exporter
	show     func() // has the exporter run, if it is to and does not yet

	families map[string]*checkpoint.Family // by log; none unless child accounts are pulled
	gate     *duo.Gate                     // of the child accounts' streams
	disk     chan struct{}                 // holds a token for each checkpoint that is being read or written
	ctx      context.Context               // ends when the instance is to stop
	cancel   context.CancelFunc
	pollers  sync.WaitGroup
	saver    sync.WaitGroup
	cleaner  sync.WaitGroup
	commits  chan struct{} // wakes the saver
	rested   chan struct{} // wakes the cleaner

	mu      sync.Mutex                    // guards what follows
	streams map[checkpoint.Stream]*stream // those of child accounts that are gone too
	closed  bool                          // no more streams are taken
	ledger  *checkpoint.Ledger
	handed  []batch   // what Fluent Bit holds between Collect and Release
	host    counts    // what the host has counted, by its last word before the last hand-over
	at      time.Time // of the last hand-over
	limit   int       // bytes to hand over at once: batch_size, or less while that is not taken in time
	taken   int       // batches in a row that were taken
	paused  bool
}

// stream is one log of one account, with its checkpoint.
type stream struct {
	key   checkpoint.Stream
	log   duo.Log
	name  string     // in log lines
	level slog.Level // of the lines that say that all is well
	open  bool       // the host has not yet all of what a window brings; instance.mu guards it
	slot  *checkpoint.Slot
	meter *meter

	// The business of who launches it, one goroutine:
	host   string             // where it is pulled from; "" while it is not
	cancel context.CancelFunc // of the last run
	done   chan struct{}      // closed when that has ended

	// The business of its run:
	begun  bool       // cursor is set
	cursor duo.Cursor // where to go on
	broken error      // why its checkpoint cannot be used: the stream stays out
}

func newStream(key checkpoint.Stream, l duo.Log, slot *checkpoint.Slot, m *meter) *stream {
	if key.Account == "" {
		return &stream{key: key, log: l, name: l.Name, level: slog.LevelInfo, slot: slot, meter: m}
	}
	return &stream{key: key, log: l, name: l.Name + " of " + key.Account, level: slog.LevelDebug, slot: slot, meter: m}
}

// newInstance checks the configuration. The error names every problem.
func newInstance(name string, get option.Getter, l *lines, now time.Time) (*instance, error) {
	o, err := option.Parse(get, now)
	log := slog.New(l)
	for _, w := range o.Warnings {
		log.Warn(w)
	}
	if err != nil {
		return nil, err
	}
	q := newQueue(o.BatchSize + o.BatchSize/4 + 2*batchPart)
	q.bell = l.bell
	return &instance{
		name: name, options: o, lines: l, log: log,
		queue:    q,
		parts:    parts{size: min(batchPart, o.BatchSize)},
		tray:     tray{size: o.BatchSize},
		giveBack: heap.giveBack,
		exporter: newExporter(o, q.size),
		show:     func() {},
		ledger:   checkpoint.NewLedger(o.Settle),
		limit:    o.BatchSize,
		storage:  newStorage(name, o.CheckpointDir, o.BatchSize, log),
		commits:  make(chan struct{}, 1),
		rested:   make(chan struct{}, 1),
		disk:     make(chan struct{}, diskCalls),
		streams:  map[checkpoint.Stream]*stream{},
	}, nil
}

// Start takes the checkpoints and begins to poll. It makes no network call. On
// an error it has let go of everything.
func (in *instance) Start(now time.Time) error {
	if err := in.acquire(now); err != nil {
		in.release()
		return err
	}
	in.ctx, in.cancel = context.WithCancel(context.Background())
	in.storage.look() // those of the run before are open now
	in.pollers.Go(func() {
		in.withstand("looking for Fluent Bit's buffer", "what is known of it by now counts", func() { in.storage.seek(in.ctx) })
	})
	if in.options.Accounts.Any() {
		in.pollers.Go(in.follow)
	} else {
		for _, s := range in.streams {
			in.launch(s, in.options.Credentials.Host, 0)
		}
	}
	in.saver.Go(func() { in.keepUp("saving checkpoints", in.save) })
	in.cleaner.Go(func() { in.keepUp("giving back memory", in.clean) })
	return nil
}

// export has the host show the metrics, under the name that it gives the input.
// It is called in the host's Init, after Start. They are kept up to date from the
// input's first callback on: if its processors, a filter or an output cannot be
// started, Fluent Bit frees the metrics without an Exit (src/flb_input_thread.c:input_thread).
func (in *instance) export(host registrar, input string, now time.Time) {
	in.exporter.begin(host, input, now)
	in.exporter.update(now)
	in.show = sync.OnceFunc(func() {
		in.pollers.Go(func() { in.keepUp("metrics", in.exporter.run) })
	})
}

// keepUp runs f until the context ends, and anew a minute after a fault in it: the
// host lives on, and all else.
func (in *instance) keepUp(what string, f func(context.Context)) {
	for in.ctx.Err() == nil {
		in.withstand(what, "going on in a minute", func() { f(in.ctx) })
		pause(in.ctx, repeatError)
	}
}

// withstand runs f and says so if there is a fault in it, and what is done then.
func (in *instance) withstand(what, then string, f func()) {
	defer func() {
		if r := recover(); r != nil {
			in.log.Error(fmt.Sprintf("%s: a fault in duo_in: %v; %s (please report this: %s)", what, r, then, debug.Stack()))
		}
	}()
	f()
}

// acquire opens the store and every stream's checkpoint that is known now. A
// checkpoint that cannot be used keeps its stream out; the error is for what
// concerns all.
func (in *instance) acquire(now time.Time) error {
	store, err := checkpoint.Open(in.options.CheckpointDir)
	if err != nil {
		return err
	}
	for _, w := range store.Warnings() {
		in.log.Warn(w)
	}
	if in.transport == nil {
		if in.transport, err = duo.NewTransport(in.options.Transport); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), lockWait)
	defer cancel()
	if in.options.Accounts.Any() {
		return in.acquireFamilies(ctx, store)
	}
	usable := 0
	for _, l := range in.options.Logs {
		key := in.key("", l)
		slot, err := store.Acquire(ctx, key, "[INPUT] "+in.name)
		if err != nil {
			return fmt.Errorf("%s: %w", l.Name, err)
		}
		s := in.take(key, l, slot, now)
		if in.begin(s, now); s.broken == nil {
			usable++
		}
	}
	if usable == 0 {
		return in.broken()
	}
	return nil
}

// key names a log of an account, "" for the one that the keys belong to.
func (in *instance) key(account string, l duo.Log) checkpoint.Stream {
	return checkpoint.Stream{Host: in.options.Credentials.Host, Account: account, Log: l.Name}
}

// take adds a stream; mu is held, or nothing runs yet.
func (in *instance) take(key checkpoint.Stream, l duo.Log, slot *checkpoint.Slot, now time.Time) *stream {
	s := newStream(key, l, slot, newMeter(now, in.options.Window.Delay))
	in.streams[key] = s
	in.exporter.add(key, s.meter)
	return s
}

// begin sets the cursor to begin with: the stored one, or a first one, which is
// saved before anything is asked for. From then on since has no effect.
func (in *instance) begin(s *stream, now time.Time) {
	var c duo.Cursor
	origin, err := s.slot.Load(&c)
	s.broken, s.begun = err, false
	if err != nil {
		return
	}
	switch origin.Generation {
	case checkpoint.Fresh:
		c = duo.NewCursor(in.options.Since, now)
		if s.broken = s.slot.Save(&c); s.broken != nil {
			return
		}
		in.log.Log(context.Background(), s.level, fmt.Sprintf("%s: no checkpoint yet; beginning at %v (since %s)", s.name, c.From, in.options.SinceText))
	case checkpoint.Previous:
		in.log.Warn(fmt.Sprintf("%s: the checkpoint cannot be used (%v); going on from the one before it, saved %s: what was delivered since comes again",
			s.name, origin.Why, origin.Saved.Format(time.RFC3339)))
	case checkpoint.Older:
		if origin.Why != nil {
			in.log.Warn(fmt.Sprintf("%s: the checkpoint saved last cannot be used (%v)", s.name, origin.Why))
		}
		in.log.Log(context.Background(), s.level, fmt.Sprintf("%s: the machine has been started anew, so that Fluent Bit may have lost what it took last; going on at %v, from the checkpoint of %s: what was delivered since comes again",
			s.name, max(c.From, c.Last), origin.Saved.Format(time.RFC3339)))
	default:
		in.log.Log(context.Background(), s.level, fmt.Sprintf("%s: going on at %v, from the checkpoint of %s (the option since applies only without one)",
			s.name, max(c.From, c.Last), origin.Saved.Format(time.RFC3339)))
	}
	s.begun, s.cursor = true, c
	s.meter.note(func(r *reading) { r.reach = c.Reach() })
}

// broken joins the errors of the streams that stay out.
func (in *instance) broken() error {
	var errs []error
	for _, l := range in.options.Logs {
		if s := in.streams[in.key("", l)]; s.broken != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, s.broken))
		}
	}
	return errors.Join(errs...)
}

// launch begins to pull a stream from a host, after a while and not before its
// last run has ended.
func (in *instance) launch(s *stream, host string, after time.Duration) {
	ctx, cancel := context.WithCancel(in.ctx)
	last, done := s.done, make(chan struct{})
	s.host, s.cancel, s.done = host, cancel, done
	s.meter.note(func(r *reading) { r.pulled = true })
	in.pollers.Go(func() {
		defer close(done)
		if last != nil {
			<-last
		}
		if pause(ctx, after) {
			in.run(ctx, s, host)
		}
	})
}

// run polls one stream until the context ends. A stream whose checkpoint
// cannot be used says so again and again, until the operator has mended it; one
// that panics is begun again at its last page.
func (in *instance) run(ctx context.Context, s *stream, host string) {
	for {
		if !s.begun && !in.turn(ctx) {
			return
		}
		if !s.begun {
			in.beginAgain(s)
		}
		wait := repeatError
		switch {
		case s.broken != nil:
			in.log.Error(s.name + ": not pulled: " + s.broken.Error())
			wait = repeatOut
		case s.begun:
			in.poll(ctx, s, host)
		}
		if !pause(ctx, wait) {
			return
		}
	}
}

// beginAgain is begin on a turn of the disk, which it ends. It survives a fault.
func (in *instance) beginAgain(s *stream) {
	defer func() { <-in.disk }()
	s.broken = nil
	in.withstand(s.name, "reading its checkpoint again in a minute", func() { in.begin(s, time.Now()) })
}

// pause waits and reports whether the context lasted as long. Without a timer if it
// is for no time: that would be fired by its own goroutine, which under the race
// detector can crash tests in virtual time (go.dev/issue/78156).
func pause(ctx context.Context, d time.Duration) bool {
	if d > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
	}
	return ctx.Err() == nil
}

func (in *instance) poll(ctx context.Context, s *stream, host string) {
	keys := in.options.Credentials
	keys.Host, keys.Account = host, s.key.Account
	p := &duo.Poller{
		Name: s.name, Log: s.log, Window: in.options.Window, Cursor: s.cursor, Logger: in.log, Gate: in.gate, Stats: &s.meter.Stats,
		Client:  duo.NewClient(keys, in.transport, in.options.Timeout, userAgent()),
		Room:    in.queue.wants,
		Deliver: in.deliverer(s, host),
	}
	in.withstand(s.name, "beginning again at the last page in a minute", func() {
		_ = p.Run(ctx) // ends with the context alone
	})
	s.cursor = p.Cursor
}

// deliverer returns what takes a stream's pages: it encodes them and queues
// them in parts, of which only the last carries the cursor. A page that was read
// of a child account is delivered even if the account has gone since: were it
// given up half-way, its first parts would come again when the account does.
func (in *instance) deliverer(s *stream, host string) func(context.Context, []duo.Record, duo.Cursor) error {
	enc := record.NewEncoder(record.Options{Format: in.options.Format, Exclude: in.options.Exclude, Version: version})
	total, said := 0, false
	return func(_ context.Context, records []duo.Record, c duo.Cursor) error {
		ctx, key := in.ctx, s.key
		var data []byte
		events := 0 // in data
		if total += len(records); c.CaughtUp() && !said {
			said = true
			in.log.Log(ctx, s.level, s.name+": caught up with Duo", "events", total)
		}
		for i, r := range records {
			records[i] = duo.Record{} // a page that waits for room gives back what it can
			if len(data) > 0 && len(data)+len(r.Raw) > in.parts.size {
				if err := in.push(ctx, batch{stream: key, data: data, events: events}); err != nil {
					return err
				}
				data, events = nil, 0
				runtime.Gosched() // a callback that enters Go may be waiting for a processor
			}
			if data == nil {
				data = in.parts.get()
			}
			data = enc.Append(data, record.Event{
				Raw: r.Raw, Time: r.Time, EventType: s.log.EventType, Host: host, EventID: r.EventID, AccountID: key.Account,
			})
			events++
		}
		// A page of a few events must not hold the memory of a whole part.
		last := batch{stream: key, data: bytes.Clone(data), events: events, cursor: &c}
		in.parts.put(data)
		return in.push(ctx, last)
	}
}

// push queues a batch, and makes room for it on the tray.
func (in *instance) push(ctx context.Context, b batch) error {
	err := in.queue.push(ctx, b)
	in.tray.prepare(in.queue.size())
	return err
}

// Collect returns what Fluent Bit is to take now, in parts that are good until
// Release; nil for nothing, after which no Release comes. Fluent Bit calls it once
// a second.
func (in *instance) Collect(now time.Time) [][]byte {
	in.show()
	in.mu.Lock()
	defer in.mu.Unlock()
	in.count(now)
	if in.paused {
		return nil
	}
	if in.handed != nil {
		// No cleanup came: the host has not taken it.
		in.ledger.Drop(now)
		in.putBack()
	}
	room := in.storage.room(now, in.limit)
	if room == 0 {
		return nil // as in a pause
	}
	batches := in.queue.take(room)
	var parts [][]byte
	events := 0
	for _, b := range batches {
		if !b.idle() {
			parts = append(parts, b.data)
			events += b.events
		}
	}
	if parts == nil {
		in.ledger.Pass(now, marks(batches))
		in.measure(batches)
		in.queue.admit()
		in.wakeSaver()
		return nil
	}
	in.handed, in.at = batches, now
	in.ledger.HandOver(now, marks(batches), events)
	in.storage.handOver()
	return parts
}

// Busy reports whether there is work for the next Collect even if nothing comes:
// something waits, or is not counted yet by the host.
func (in *instance) Busy() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.paused || in.handed != nil || in.ledger.Outstanding() || in.storage.lacks() || !in.queue.empty()
}

// count tells the ledger what the host has counted; mu is held.
func (in *instance) count(now time.Time) {
	if in.counted == nil {
		return
	}
	before := in.host
	in.host = in.counted()
	if !in.host.records.ok || in.host.records == before.records {
		return
	}
	if in.ledger.Counted(now, in.host.records.n) {
		in.log.Info("Fluent Bit counts other numbers of events than were handed to it: a processor of this input adds or drops events, or its disk was full and some are lost")
	}
	in.wakeSaver()
}

// Release is Fluent Bit's cleanup: it is done with what Collect returned.
func (in *instance) Release(now time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.handed == nil {
		return
	}
	if !in.took(now) {
		in.log.Warn("Fluent Bit took too long over a batch: its ring buffer was full, and the batch was dropped, or a processor is slow; handing it over again, in smaller parts")
		in.putBack()
		return
	}
	in.measure(in.handed)
	for _, b := range in.handed {
		in.parts.put(b.data)
	}
	in.handed = nil
	in.queue.admit()
	if in.taken++; in.taken >= growAfter {
		in.limit, in.taken = min(in.limit*2, in.options.BatchSize), 0
	}
	in.wakeSaver()
}

// measure notes what the host has taken; mu is held.
func (in *instance) measure(batches []batch) {
	for _, b := range batches {
		in.streams[b.stream].meter.note(func(r *reading) {
			r.records += uint64(b.events)
			r.bytes += uint64(len(b.data))
			if b.cursor != nil {
				r.reach = b.cursor.Reach()
			}
		})
		in.streams[b.stream].open = b.cursor == nil || !b.cursor.CaughtUp()
	}
}

// rests reports whether the host has all that Duo had, as far as it comes: of an
// account that is gone, or a log that is refused half-way, no more does.
func (in *instance) rests() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if time.Since(in.at) < restAfter {
		for _, s := range in.streams {
			if s.open && s.meter.pulled() {
				return false
			}
		}
	}
	return in.queue.empty()
}

// took tells the ledger that the host is done with a batch, and reports whether
// it took it: by the counts of its ring, where it has them and they say, else by the
// time that it needed. mu is held.
func (in *instance) took(now time.Time) bool {
	if in.counted != nil && now.Sub(in.at) >= askAfter {
		// A batch can be several for the ring, of which it takes some: by conditional
		// routes, 4.2 to 5.0.4 (src/flb_input_log.c:split_and_append_route_payloads).
		switch host := in.counted(); {
		case host.dropped.after(in.host.dropped):
			in.ledger.Drop(now)
			return false
		case host.appended.after(in.host.appended):
			in.ledger.Taken(now)
			return true
		}
	}
	return in.ledger.Release(now)
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
	in.show() // a pause can come before the first Collect
	in.mu.Lock()
	defer in.mu.Unlock()
	in.paused = true
	in.ledger.Pause(now)
}

// Resume takes back every Pause.
func (in *instance) Resume(now time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.paused = false
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

func (in *instance) wakeSaver() { wake(in.commits) }

// wake wakes who waits for c, now or the next time that it does.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// clean gives back memory whenever the instance rests, until the context ends. The
// saver does not, since a stop could come meanwhile, whose checkpoints would wait.
func (in *instance) clean(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-in.rested:
			if ctx.Err() != nil || !in.rests() { // by now
				continue
			}
			in.tray.drop(trayKeep)
			in.giveBack()
		}
	}
}

// save writes cursors when they are due, until the context ends. It is the
// only one to write while the instance runs, so that the callback never waits
// for a disk.
func (in *instance) save(ctx context.Context) {
	var said time.Time // when a failure was last said; zero: all is well
	for {
		due, next, ok := in.due(time.Now())
		failures := in.saveAll(ctx, due, func(m checkpoint.Mark) {
			in.mu.Lock()
			defer in.mu.Unlock()
			in.ledger.Failed(time.Now(), m)
		})
		switch {
		case len(failures) > 0:
			if time.Since(said) >= repeatError {
				in.log.Error(fmt.Sprintf("%v; going on without, so that a restart would deliver again what came since; retrying", brief(failures)))
				said = time.Now()
			}
			next, ok = retrySave, true
		case len(due) > 0 && !said.IsZero() && ctx.Err() == nil: // else it may be that none was tried
			in.log.Info("checkpoints can be saved again")
			said = time.Time{}
		}
		switch {
		case in.rests():
			wake(in.rested)
		case !ok:
			next, ok = restAfter, true // by then it does, if nothing more comes
		}
		if !in.waitSave(ctx, next, ok, len(failures) > 0) {
			return
		}
	}
}

// due returns the cursors to save now, and when the next one may be, if any may.
func (in *instance) due(now time.Time) (due []checkpoint.Mark, next time.Duration, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	due = in.ledger.Due(now)
	next, ok = in.ledger.Next(now)
	return due, next, ok
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

// saveAll saves marks, several at once, as long as the context lasts, and
// returns what went wrong; failed is called with each that was not saved, from
// several goroutines.
func (in *instance) saveAll(ctx context.Context, ms []checkpoint.Mark, failed func(checkpoint.Mark)) (failures []error) {
	var all sync.WaitGroup
	var mu sync.Mutex // guards failures
	for _, m := range ms {
		// A stop has a budget, and an order, of its own for what is left.
		if !in.turn(ctx) {
			failed(m)
			continue
		}
		all.Go(func() {
			defer func() { <-in.disk }()
			if err := in.write(m); err != nil {
				mu.Lock()
				failures = append(failures, err)
				mu.Unlock()
				failed(m)
			}
		})
	}
	all.Wait()
	return failures
}

// write saves a mark. A fault in it is an error as any other: the host lives on.
func (in *instance) write(m checkpoint.Mark) (err error) {
	s := in.stream(m.Stream)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: the checkpoint is not saved: a fault in duo_in: %v (please report this: %s)", s.name, r, debug.Stack())
		}
		s.meter.saved(err)
	}()
	return s.slot.Save(m.Cursor)
}

// turn waits until a checkpoint may be read or written, and reports whether the
// context lasted as long; the caller then takes the token back out of disk.
func (in *instance) turn(ctx context.Context) bool {
	if ctx.Err() != nil {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case in.disk <- struct{}{}:
		return true
	}
}

// brief joins errors, but not hundreds of them.
func brief(errs []error) error {
	const most = 5
	if more := len(errs) - most; more > 1 {
		errs = append(slices.Clone(errs[:most]), fmt.Errorf("and %d more like these", more))
	}
	return errors.Join(errs...)
}

func (in *instance) stream(key checkpoint.Stream) *stream {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.streams[key]
}

// Stop ends the instance within half a second, whatever a call, a disk or stderr
// is doing, and commits what Fluent Bit is known to have. After Stop nothing of
// it runs, except a write that a disk or stderr holds up, and the end of a collection
// of garbage.
func (in *instance) Stop(now time.Time) {
	in.exporter.end()
	in.lines.close()
	defer in.lines.flush()
	defer in.tray.end()
	const lost = "what came since the last save is delivered again at the next start"
	in.withstand("counting events", lost, func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		in.count(now) // here, since what outlasts Stop must not ask the host
	})
	in.announce()
	in.cancel()
	pollers := ended(func() {
		in.pollers.Wait()
		(&http.Client{Transport: in.transport}).CloseIdleConnections() // which says goodbye to each
	})
	saver := ended(func() {
		in.saver.Wait()
		in.withstand("saving checkpoints", lost, func() { in.commit(now) })
		in.withstand("giving checkpoints back", "they are free when the process ends", in.release)
	})
	late, cancel := context.WithTimeout(context.Background(), workStop)
	defer cancel()
	if !inTime(late, pollers) {
		in.log.Warn("a poller has not stopped in time; its page is read again at the next start")
	}
	if !inTime(late, saver) {
		in.log.Warn("the checkpoints could not be saved in time; what came since the last save is delivered again at the next start")
	}
	inTime(late, ended(in.cleaner.Wait)) // else it ends by itself, soon
}

// commit is the saver's last work. Cursors that stand for no events come last,
// as far as there is time: without them the same pages are read again, and
// nothing of them is delivered again.
func (in *instance) commit(now time.Time) {
	began := time.Now()
	due := in.exit(now)
	idle := func(m checkpoint.Mark) bool { return m.Idle }
	failures := in.saveAll(context.Background(), slices.DeleteFunc(slices.Clone(due), idle), func(checkpoint.Mark) {})
	for rest := range slices.Chunk(slices.DeleteFunc(due, func(m checkpoint.Mark) bool { return !m.Idle }), diskCalls) {
		if time.Since(began) < idleStop {
			failures = append(failures, in.saveAll(context.Background(), rest, func(checkpoint.Mark) {})...)
		}
	}
	if len(failures) > 0 {
		in.log.Error(brief(failures).Error() + "; what came since the last save is delivered again at the next start")
	}
}

// exit returns the cursors that a stop is to save.
func (in *instance) exit(now time.Time) []checkpoint.Mark {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.ledger.Exit(now)
}

// announce has a restart wait for release, and takes no more streams.
func (in *instance) announce() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	for _, f := range in.families {
		f.Closing()
	}
	for _, s := range in.streams {
		s.slot.Closing()
	}
}

// release gives the checkpoints back, the families' last: what is within one has
// no lock of its own.
func (in *instance) release() {
	in.mu.Lock()
	defer in.mu.Unlock()
	var failures []error
	for _, s := range in.streams {
		failures = append(failures, s.slot.Release())
	}
	for _, f := range in.families {
		failures = append(failures, f.Release())
	}
	failures = slices.DeleteFunc(failures, func(err error) bool { return err == nil })
	if len(failures) > 0 {
		in.log.Error(brief(failures).Error())
	}
}

// ended runs f and returns what is closed at its end.
func ended(f func()) <-chan struct{} {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	return done
}

// inTime waits for done, and reports whether that came before it was late.
func inTime(late context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-late.Done():
	}
	select {
	case <-done:
		return true
	default:
		return false
	}
}
