package duo

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"time"
)

const (
	// skipPages is how many pages of overlap are too many to be read again at each poll.
	skipPages = 2
	// skipMost is how long they are left out, at most: it delays what is filed late.
	skipMost = 10 * time.Minute
)

// skipMost is how long the overlap is left out, at most.
func (w Window) skipMost() Millis { return Millis(min(w.Overlap, skipMost).Milliseconds()) }

// searchAfter is the paging of the v2 logs: a window with both bounds, and a
// next_offset that names the millisecond and the id of the page's last record.
type searchAfter struct{}

func (searchAfter) params(c Cursor, now time.Time, pageSize int) url.Values {
	p := c.bounds(c.begin(now), pageSize)
	p.Set("sort", "ts:asc")
	if c.Next != "" {
		p.Set("next_offset", c.Next)
	}
	return p
}

func (searchAfter) advance(c Cursor, p Page, w Window, pageSize int, now time.Time) (Cursor, []Record, error) {
	n, end, before := len(p.Records), p.end(c.Until), c
	if n > 0 && c.Next != "" && p.Next == c.Next {
		return c, nil, fmt.Errorf("%w: the next_offset %q came again", ErrPaging, p.Next)
	}
	if c.Next != "" && end != 0 && end < c.Last {
		return c, nil, fmt.Errorf("%w: the page ends at %v, before the one before it, at %v", ErrPaging, end, c.Last)
	}
	switch {
	case n == 0 && c.Next != "":
		c.Verified, c.VerifiedAt, c.Tail = c.Newest, c.Until, c.Next
		if c.PageLen == c.PageCap {
			c.PageCap = 0 // what looked like the cap was the end
		}
	case n > 0 && c.Short && n == c.PageLen:
		// A short page was not the last one: this Duo caps its pages.
		c.PageCap = n
	case n > c.PageCap:
		c.PageCap = 0
	}
	begin := cmp.Or(c.Last, c.lower())
	placed := max(begin, end)
	fresh, equal := c.take(p.Records, c.Equal, func(r *Record) Millis {
		switch {
		case r.timed && ToMillis(r.Time) >= begin:
			return min(ToMillis(r.Time), placed)
		case r.timed:
			// Out of order: it may be anywhere on the page, and must not be
			// forgotten before that comes again.
		case end != 0:
			r.Time = end.Time()
		default:
			r.Time = now
		}
		return placed
	})
	c.Last, c.Equal = placed, equal
	c.Newest, c.Read = max(c.Newest, end), c.Read+n
	keep := placed - Millis(w.Overlap.Milliseconds())
	if c.skips() {
		keep = min(keep, c.From) // it will be read again
		if len(c.Seen) > w.maxSeen() {
			return before.sweep(), nil, nil
		}
	}
	c.prune(w, keep)
	if c.ends(p, w, pageSize) {
		c.closeAndSkip(w, now)
	} else {
		c.Next, c.PageLen, c.Short = p.Next, n, n < pageSize
	}
	return c, fresh, nil
}

// closeAndSkip ends the window. Where the overlap takes pages to read again, not
// every window does, but one in each overlap's time. That one begins where the
// next would have begun after the last that did: so it brings whatever was filed
// late, only not at the next poll.
func (c *Cursor) closeAndSkip(w Window, now time.Time) {
	from, skipped, newest, until := c.From, c.skips(), c.Newest, c.Until
	c.close(w)
	if skipped {
		c.From = max(from, c.SeenSince)
	} else {
		c.Swept = until // Checked may be of a clock that was ahead
	}
	i, _ := slices.BinarySearchFunc(c.Seen, newest-Millis(w.Overlap.Milliseconds()), func(s Seen, at Millis) int { return cmp.Compare(s.At, at) })
	again := len(c.Seen) - i
	// After a long way here the next window is a long one, and its overlap the
	// smaller part of it: what was skipped would have to be read again as well.
	end := max(until+Millis(w.PollInterval.Milliseconds()), ToMillis(now.Add(-w.Delay)))
	since := end - c.Swept // negative after a clock that was ahead
	if newest == 0 || again < skipPages*cmp.Or(c.PageCap, w.PageSize) || since < 0 || since >= w.skipMost() {
		return
	}
	// What the next one brings must be remembered with what is before it.
	if 2*len(c.Seen) <= w.maxSeen() {
		c.Skip = newest
	}
}

// sweep begins the open window again, with the overlap: a burst came that cannot
// be remembered with what was left out. That is to be read before it is forgotten.
func (c Cursor) sweep() Cursor {
	c.Skip, c.Next, c.Last, c.Newest, c.Reopened = 0, "", 0, 0, 0
	c.Read, c.PageLen, c.Short, c.Equal, c.Known = 0, 0, false, nil, 0
	return c
}

// ends reports whether the page was the last one of its window. A short page
// ends it, so that an idle log costs one call. But Duo may cap its pages lower
// than asked: so a short page is followed up where the total says that there is
// more, and, since no total is to be relied on, where its newest record is so
// old that the next windows would not get beyond it, once for each such record.
func (c *Cursor) ends(p Page, w Window, pageSize int) bool {
	n := len(p.Records)
	if n == 0 || p.Next == "" || p.beyond(c.Until) {
		return true
	}
	if n >= pageSize || c.Read < p.Total {
		return false
	}
	if c.PageCap > 0 && n >= c.PageCap {
		return false
	}
	if c.verified(p.Next, w) {
		return true
	}
	if c.Short && n < c.PageLen {
		return true // shorter still: these are the newest
	}
	return c.recent(w)
}
