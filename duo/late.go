package duo

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// lateEvery is how often late events are said, at most.
const lateEvery = time.Hour

// late counts the events that Duo filed later than the overlap. One of them is
// found only where nothing newer had moved the window on: so each that is found
// stands for others that were not.
type late struct {
	events int           // since that was last said
	most   time.Duration // how late one was, at least
	said   time.Time
}

// note looks at what is fresh of a page, beside the cursor that it was asked by,
// and returns how much of it was late.
func (l *late) note(c Cursor, fresh []Record, w Window) (n int) {
	for _, r := range fresh {
		// Up to there the log had been read to its end, without this one.
		by := c.read().Time().Sub(r.Time)
		// What is not within the window has an odd time. (A window may end a poll
		// before its last record, and v1 logs are read by whole seconds.)
		if r.exact && ToMillis(r.Time) >= c.From && by > w.Overlap+w.PollInterval+time.Second && !updates(r, c) {
			n, l.most = n+1, max(l.most, by)
		}
	}
	l.events += n
	return n
}

// updates reports whether a record with an id is most likely one that was
// received before, changed since: another has its very time.
func updates(r Record, c Cursor) bool {
	_, found := slices.BinarySearchFunc(c.Seen, ToMillis(r.Time), func(s Seen, at Millis) int { return cmp.Compare(s.At, at) })
	return r.id != "" && found
}

// say returns what the operator should know, if it is time to.
func (l *late) say(w Window) (text string, ok bool) {
	if l.events == 0 || !l.said.IsZero() && time.Since(l.said) < lateEvery {
		return "", false
	}
	text = fmt.Sprintf("%d events came up to %v later than they happened, which is more than overlap (%v): they are delivered, but others like them will have been missed wherever newer ones had come; raise overlap, if this machine's clock is right",
		l.events, l.most.Round(time.Second), w.Overlap)
	*l = late{said: time.Now()}
	return text, true
}
