package duo

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// position is the paging of the Trust Monitor: a window with both bounds, and
// an offset that counts the window's records. In which order they come is not
// documented, so nothing is concluded from it.
type position struct{}

// walkTime is what a walk has until its lower bound ages out, at least.
const walkTime = time.Hour

// hold returns the cursor with a lower bound that Duo keeps. An offset counts
// from there: so where the bound has aged out the walk begins anew, and what is
// known is dropped when it comes again.
func (position) hold(c Cursor, now time.Time) Cursor {
	oldest := ToMillis(now.Add(-retention))
	switch {
	case max(c.From, c.Held) < oldest:
		c.Held = max(oldest, min(oldest+Millis(walkTime.Milliseconds()), c.Until-Millis(minWindow.Milliseconds())))
	case c.Held != 0 && c.From >= oldest:
		c.Held = 0 // it was a clock that was ahead
	default:
		return c
	}
	c.Next, c.Equal = "", nil
	return c
}

func (l position) params(c Cursor, now time.Time, pageSize int) url.Values {
	c = l.hold(c, now)
	p := c.bounds(max(c.From, c.Held), pageSize)
	if c.Next != "" {
		p.Set("offset", c.Next)
	}
	return p
}

// advance follows next_offset wherever there is one: Duo leaves it out on the
// last page, so that an idle log costs one call.
func (l position) advance(c Cursor, p Page, w Window, _ int, now time.Time) (Cursor, []Record, error) {
	c = l.hold(c, now)
	if len(p.Records) > 0 && !goesOn(c.Next, p.Next) {
		return c, nil, fmt.Errorf("%w: the next_offset %q does not follow %q", ErrPaging, p.Next, c.Next)
	}
	within := func(at Millis) bool { return at >= c.From && at <= c.Until }
	var newest Millis
	fresh, equal := c.take(p.Records, c.Equal, func(r *Record) Millis {
		at := ToMillis(r.Time)
		switch {
		case !r.timed:
			r.Time = now
		case r.exact && within(at):
			newest = max(newest, at)
			return at
		}
		return c.Until // by Duo's count it is in the window, wherever
	})
	c.Newest, c.Equal = max(c.Newest, newest), equal
	if len(fresh) > 0 && c.SeenSince <= c.From {
		c.Reopened = 0 // it led on, and nothing was forgotten that another walk could bring
	}
	if len(p.Records) > 0 && p.Next != "" {
		c.Next = p.Next
		c.prune(w, c.SeenSince) // a page to come may be older than this one
		return c, fresh, nil
	}
	c.prune(w, cmp.Or(c.Newest, c.From)-Millis(w.Overlap.Milliseconds()))
	c.close(w)
	return c, fresh, nil
}

// goesOn reports whether an offset leads on from the one before it, which is
// empty at the first page, as the offset is at the last.
func goesOn(before, next string) bool {
	if before == "" || next == "" {
		return true
	}
	a, errA := strconv.ParseUint(before, 10, 64)
	b, errB := strconv.ParseUint(next, 10, 64)
	if errA != nil || errB != nil {
		return before != next
	}
	return a < b
}
