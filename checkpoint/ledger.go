package checkpoint

import (
	"cmp"
	"math"
	"slices"
	"time"
)

const (
	// dropAfter: cleanup that comes this long after the batch was handed over means that Fluent Bit's ring was full
	// through its ten tries of 100 ms, and that the batch was dropped (measured; src/flb_input_chunk.c).
	dropAfter = 900 * time.Millisecond
	// allTries: but ten pauses take as long as this, so that one that came before was taken at the last try, and will be
	// counted as well as when it is handed over again.
	allTries = time.Second
	// ringEmptied: what was released this long ago has left the ring, which is emptied every 250 ms.
	ringEmptied = 400 * time.Millisecond
	// idleEvery: how often a stream's cursor is written where it moved past no bytes.
	idleEvery = 5 * time.Minute
	// maxLine bounds the entries that wait for settle. One Collect a second needs settle/1 s of them.
	maxLine = 64
)

// Mark is a cursor that may become durable once Fluent Bit has taken what precedes it.
type Mark struct {
	Stream Stream
	Cursor any  // what Slot.Save is to write; the ledger never looks inside
	Idle   bool // it stands for no bytes: an empty page, or a page of known records
}

// Ledger decides which cursors may become durable: those whose bytes were released by Fluent Bit, have since then
// rested for settle in unpaused time and, where Fluent Bit counts, are counted. It gives no receipt, so this is as close
// to one as a plugin can come.
//
// A batch goes through HandOver and Release; a cursor without bytes through Pass. Due returns what has rested long
// enough, only the newest of each stream. Marks of a stream leave the ledger in the order in which they came.
//
// It is not safe for concurrent use. Every method takes the current time; a time before that of an earlier call counts
// as that of the earlier call, so that callers need not read the clock under their lock. It starts unpaused.
type Ledger struct {
	settle   time.Duration
	now      time.Time     // the newest time heard of
	unpaused time.Duration // time passed without a pause, up to now
	paused   bool
	count    count

	out     *batch               // handed over and not yet released; nil if none
	line    []entry              // released, resting, oldest first: from never decreases
	waiting marks                // rested
	taken   map[Stream]time.Time // when Due last returned a mark of the stream
}

// batch is what Fluent Bit holds at this moment: its marks and those passed behind it.
type batch struct {
	at    time.Time
	count position
	marks marks
}

// entry is what was released or passed at one time.
type entry struct {
	from  time.Duration // Ledger.unpaused at that time
	count position
	marks marks
}

// NewLedger returns an empty ledger whose marks rest for settle.
func NewLedger(settle time.Duration) *Ledger {
	return &Ledger{settle: settle, count: count{patience: patience * settle}, waiting: marks{}, taken: map[Stream]time.Time{}}
}

// Counted notes how many events Fluent Bit has counted so far of all that this input handed over: its
// fluentbit_input_records_total, a batch at a time, when it leaves the ring. It is called before each HandOver and before
// Exit, or never. It returns true when that count turns out not to be of our events, once: something in between changes
// their number, or loses some.
func (l *Ledger) Counted(now time.Time, total uint64) (odd bool) {
	l.advance(now)
	defer l.advance(now)
	return l.count.note(total, l.line, l.unpaused)
}

// HandOver notes that Collect is returning that many events to Fluent Bit, and the marks that follow within and behind
// them, in order; none if the events are the first part of a page. It panics if the batch before was not released: a host that
// skips a cleanup would otherwise make a gap. A caller that must expect one calls Release before each HandOver.
func (l *Ledger) HandOver(now time.Time, ms []Mark, events int) {
	l.advance(now)
	if l.out != nil {
		panic("checkpoint: batch handed over while another is outstanding")
	}
	l.out = &batch{at: l.now, count: l.count.handOver(events), marks: marks{}}
	l.out.marks.put(ms...)
}

// Release notes that the cleanup callback came, and reports whether Fluent Bit took the batch. If it did not, its ring
// was full: the marks of the batch, and all that were passed behind it, are forgotten, and the caller puts the batch
// back at the head of its queue. (A forgotten idle mark costs nothing: its stream comes by with a newer one at its next
// poll, and until then the older cursor leads to the same records.) With no batch outstanding it returns true.
func (l *Ledger) Release(now time.Time) (taken bool) {
	l.advance(now)
	out := l.out
	if l.out = nil; out == nil {
		return true
	}
	if held := l.now.Sub(out.at); held >= dropAfter {
		if held >= allTries {
			l.count.takeBack(out.count)
		}
		return false
	}
	l.push(out.marks, out.count)
	return true
}

// Taken is Release where the host says that it took the batch, however long that was.
func (l *Ledger) Taken(now time.Time) {
	l.advance(now)
	if out := l.out; out != nil {
		l.out = nil
		l.push(out.marks, out.count)
	}
}

// Drop notes that the batch handed over last was not taken: its marks, and all that were passed behind it, are
// forgotten, as by a Release that returns false.
func (l *Ledger) Drop(now time.Time) {
	l.advance(now)
	if l.out != nil {
		l.count.takeBack(l.out.count)
	}
	l.out = nil
}

// Pass notes marks without bytes, and with nothing of their streams before them in the caller's queue. They rest like
// a batch that is released now, or together with the batch that is outstanding.
func (l *Ledger) Pass(now time.Time, ms []Mark) {
	l.advance(now)
	if l.out != nil {
		l.out.marks.put(ms...)
		return
	}
	passed := marks{}
	passed.put(ms...)
	l.push(passed, position{})
}

// Pause stops the clock of settle: while paused, Fluent Bit may not be emptying its ring. A second Pause changes
// nothing.
func (l *Ledger) Pause(now time.Time) {
	l.advance(now)
	l.paused = true
}

// Resume lets the clock of settle go on. A second Resume changes nothing.
func (l *Ledger) Resume(now time.Time) {
	l.advance(now)
	l.paused = false
}

// Due takes out what may be saved now, the newest mark of each stream, sorted by stream. A stream whose marks were all
// idle since its last Due waits until that is 5 minutes ago. The caller saves what it gets before it asks again, and
// hands back with Failed what it could not save.
func (l *Ledger) Due(now time.Time) []Mark {
	l.advance(now)
	return l.take(func(m Mark) bool { return l.held(m) == 0 })
}

// Failed hands back a mark that Due returned and that could not be saved. It is due again at once, unless a newer one
// of its stream has become so: how soon to try again is the caller's decision.
func (l *Ledger) Failed(now time.Time, m Mark) {
	l.advance(now)
	delete(l.taken, m.Stream) // nothing was written: an idle mark must not wait for 5 minutes because of it
	newer, ok := l.waiting[m.Stream]
	l.waiting[m.Stream] = m
	if ok {
		l.waiting.put(newer)
	}
}

// Next returns how long from now Due may have something to return: 0 if it has now. It returns false if that takes a
// call of another method first.
func (l *Ledger) Next(now time.Time) (time.Duration, bool) {
	l.advance(now)
	next := time.Duration(math.MaxInt64)
	for _, m := range l.waiting {
		next = min(next, l.held(m))
	}
	if len(l.line) > 0 && !l.paused {
		if wait, ok := l.waits(l.line[0]); ok {
			next = min(next, wait)
		}
	}
	if next == math.MaxInt64 {
		return 0, false
	}
	return next, true
}

// Exit takes out what is to be saved at the end: the newest mark of each stream, idle or not, of all that was released
// at least 0.4 s of unpaused time ago and, where Fluent Bit counts, is counted, sorted by stream. After the pause that an
// end begins with, Fluent Bit empties its ring still, unless its buffer is full; but what a filter such as rewrite_tag
// then passes on is thrown away (plugins/in_emitter/emitter.c:cb_emitter_exit). A batch that is outstanding is never in
// it.
func (l *Ledger) Exit(now time.Time) []Mark {
	l.advance(now)
	l.ripen(func(e entry) bool { return l.unpaused-e.from >= ringEmptied && l.count.passed(e.count) })
	return l.take(func(Mark) bool { return true })
}

// Outstanding reports whether a batch is not released, or where Fluent Bit counts, not counted: what rests besides needs
// nothing but time.
func (l *Ledger) Outstanding() bool {
	return l.out != nil || slices.ContainsFunc(l.line, func(e entry) bool { return !l.count.passed(e.count) })
}

// Len returns the number of entries held: the batch that is outstanding, what rests (at most 64 entries, each with at
// most one mark per stream), and what has rested (at most one mark per stream).
func (l *Ledger) Len() int {
	n := len(l.line) + len(l.waiting)
	if l.out != nil {
		n++
	}
	return n
}

// advance moves the clocks to now and the marks that have rested by then from the line to waiting.
func (l *Ledger) advance(now time.Time) {
	if l.now.IsZero() {
		l.now = now
	}
	if passed := now.Sub(l.now); passed > 0 {
		l.now = now
		if !l.paused {
			l.unpaused += passed
		}
	}
	l.ripen(func(e entry) bool { wait, ok := l.waits(e); return ok && wait == 0 })
}

// waits returns how long an entry at the head of the line must still rest, or false if it waits for Fluent Bit's count.
func (l *Ledger) waits(e entry) (time.Duration, bool) {
	ready := e.from + l.settle
	if !l.count.cleared(e.count) {
		until, ok := l.count.doubtful(e.count, e.from)
		if !ok {
			return 0, false
		}
		ready = max(ready, until)
	}
	return max(0, ready-l.unpaused), true
}

// ripen moves the marks at the head of the line that are ready to waiting.
func (l *Ledger) ripen(ready func(entry) bool) {
	n := 0
	for ; n < len(l.line) && ready(l.line[n]); n++ {
		l.waiting.merge(l.line[n].marks)
	}
	l.line = slices.Delete(l.line, 0, n)
}

// push puts marks at the end of the line; the ledger keeps the map. A full line takes them into its last entry, which
// rests anew: a place is free within settle, so no mark rests longer than twice that, unless Fluent Bit does not count.
func (l *Ledger) push(ms marks, c position) {
	if len(ms) == 0 && c.events == 0 {
		return
	}
	l.compact()
	if n := len(l.line); n == maxLine {
		last := &l.line[n-1]
		last.marks.merge(ms)
		last.from, last.count = l.unpaused, last.count.join(c)
		return
	}
	l.line = append(l.line, entry{from: l.unpaused, count: c, marks: ms})
}

// compact merges neighbours that will be ready at the same time whatever comes: they came in the same pause. So a pause
// may last, while idle pages come in, without the line growing.
func (l *Ledger) compact() {
	kept := l.line[:0]
	for _, e := range l.line {
		n := len(kept)
		if n > 0 && kept[n-1].from == e.from {
			kept[n-1].marks.merge(e.marks)
			kept[n-1].count = kept[n-1].count.join(e.count)
			continue
		}
		kept = append(kept, e)
	}
	clear(l.line[len(kept):])
	l.line = kept
}

// held returns how long a mark that has rested must still wait.
func (l *Ledger) held(m Mark) time.Duration {
	taken, ok := l.taken[m.Stream]
	if !m.Idle || !ok {
		return 0
	}
	return max(0, idleEvery-l.now.Sub(taken))
}

// take removes from waiting, and returns, the marks that are wanted.
func (l *Ledger) take(wanted func(Mark) bool) []Mark {
	var due []Mark
	for s, m := range l.waiting {
		if wanted(m) {
			due = append(due, m)
			delete(l.waiting, s)
			l.taken[s] = l.now
		}
	}
	slices.SortFunc(due, func(a, b Mark) int {
		return cmp.Or(cmp.Compare(a.Stream.Host, b.Stream.Host), cmp.Compare(a.Stream.Account, b.Stream.Account),
			cmp.Compare(a.Stream.Log, b.Stream.Log))
	})
	return due
}

// marks holds the newest mark of each stream. It is idle only if all that it replaced were.
type marks map[Stream]Mark

func (ms marks) put(newer ...Mark) {
	for _, m := range newer {
		if old, ok := ms[m.Stream]; ok {
			m.Idle = m.Idle && old.Idle
		}
		ms[m.Stream] = m
	}
}

func (ms marks) merge(newer marks) {
	for _, m := range newer {
		ms.put(m)
	}
}
