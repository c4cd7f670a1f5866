package checkpoint

import "time"

const (
	// patience: how many times settle the batch rests that Fluent Bit has counted last. A batch is counted before its
	// filters run and before it is written (src/flb_input_chunk.c:input_chunk_append_raw): only the next one's count tells
	// that it came through. Supervisors kill what hangs within that time, two minutes by default: Kubernetes after 60 s.
	patience = 60
	// A count that is behind a batch for so long, while the main thread was at work (see count.awake), is not of the
	// events that we hand over: the ring has 1,024 places, and who needs less than 3.5 s for each has emptied it by
	// then. A host that counted nothing at all for so long never will.
	oddAfter = time.Hour
)

// count compares the events that were handed over with those that Fluent Bit counts. Its main thread takes the batches
// off the ring in their order, and counts each as a whole; when that thread hangs, in a filter or a disk, the count
// stands still. Processors run before the ring and change the number: then only a rise says something, see odd.
type count struct {
	patience time.Duration

	known bool          // the host counts
	total uint64        // its last word
	rises bool          // that was more than before, once at least
	rose  time.Duration // Ledger.unpaused at the last time
	awake time.Duration // time that the main thread was at work: up to each rise, but at most patience, so that no hang is in it
	due   uint64        // what total will be when all that was handed over has left the ring
	odd   bool          // due is not to be relied on: what was there when total rose is taken to have left the ring
}

// position is a batch's place in the count.
type position struct {
	events uint64 // 0: nothing to be counted
	upTo   uint64 // count.due, it included
	before uint64 // count.total and awake when it was handed over
	awake  time.Duration
	joined bool // of several batches
}

func (c *count) handOver(events int) position {
	c.due += uint64(events)
	return position{events: uint64(events), upTo: c.due, before: c.total, awake: c.awake}
}

func (c *count) takeBack(p position) { c.due -= p.events }

// join is the place of two batches that are taken for one, the second behind the first.
func (p position) join(q position) position {
	switch {
	case q.events == 0:
		return p
	case p.events > 0:
		q.events, q.joined = q.events+p.events, true
	}
	return q
}

// note takes in the host's count, and reports whether it became odd by that. line is what was released before.
func (c *count) note(total uint64, line []entry, unpaused time.Duration) bool {
	if !c.known {
		c.known, c.total, c.due = true, total, total+c.due
	}
	if total > c.total {
		c.awake += min(unpaused-c.rose, c.patience)
		c.rises, c.rose = true, unpaused
	}
	c.total = total
	if c.odd {
		return false
	}
	c.odd = total > c.due
	for _, e := range line {
		p := e.count
		part := !p.joined && p.upTo-p.events < total && total < p.upTo
		late := total < p.upTo && c.awake-p.awake >= oddAfter
		c.odd = c.odd || p.events > 0 && (part || late)
	}
	return c.odd
}

// passed reports whether a batch has left the ring, as far as one can know.
func (c *count) passed(p position) bool {
	switch {
	case !c.known || p.events == 0:
		return true
	case c.odd:
		return c.total > p.before
	}
	return c.total >= p.upTo
}

// cleared reports whether a batch has left the ring and its filters.
func (c *count) cleared(p position) bool {
	return c.passed(p) && (!c.known || c.odd || p.events == 0 || c.total > p.upTo)
}

// doubtful reports whether no count may ever tell that a batch came through, since it is the last one or the host never
// counts at all; and until when it rests then, in Ledger.unpaused, that was released at from.
func (c *count) doubtful(p position, from time.Duration) (until time.Duration, ok bool) {
	if c.passed(p) {
		return max(from, c.rose) + c.patience, true
	}
	return from + oddAfter, !c.rises
}
