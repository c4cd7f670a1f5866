package duo

import (
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// bySecond is the paging of the v1 logs, which know neither an upper bound nor
// an offset nor an id: a call brings the earliest records from a second on, as
// many as fit a page. So each page begins with a whole second, a full one is
// followed by the page from its last second on, and what came twice is dropped;
// of records that are equal, as many are delivered as one page holds of them.
// What is younger than the window is left for a later one.
//
// Cursor.Next is the second, in Unix time, from which the next call asks.
type bySecond struct {
	page int // records in a full page, about: Duo documents no figure
}

// full reports whether a page of n records may have left out some.
func (b bySecond) full(n int) bool { return n >= b.page*9/10 }

// Sources disagree whether Duo's mintime is inclusive. So calls ask from a
// second before the one that they need, and drop what is older.

func (bySecond) params(c Cursor, now time.Time, _ int) url.Values {
	return url.Values{"mintime": {strconv.FormatInt(c.asked(now), 10)}}
}

// asked is the second from which the cursor's call asks.
func (c Cursor) asked(now time.Time) int64 {
	if s, err := strconv.ParseInt(c.Next, 10, 64); err == nil {
		return max(s, ToMillis(now.Add(-retention)).second())
	}
	return c.begin(now).second() - 1
}

// second is the Unix second that a time lies in.
func (m Millis) second() int64 { return m.Time().Unix() }

// wholeSecond is the time as Duo orders these logs by.
func (m Millis) wholeSecond() Millis { return 1000 * Millis(m.second()) }

func (b bySecond) advance(c Cursor, p Page, w Window, _ int, now time.Time) (Cursor, []Record, error) {
	begin, asked := max(c.Last, c.From), c.asked(now)
	if len(c.Seen) == 0 {
		begin = begin.wholeSecond() // the rest of the second in which the log is begun
	}
	part, first, last, later := c.split(p.Records, begin, asked)
	n, full := len(p.Records), b.full(len(p.Records)) || p.cut
	if p.cut && !c.sorted(p.Records, asked) {
		// What was cut off need not be the latest.
		return c, nil, fmt.Errorf("%w, and is not in the order of time", ErrTooLarge)
	}
	if full && !later && last.second() < asked {
		return c, nil, fmt.Errorf("%w: asked for records from %v on, Duo sent a page that ends at %v", ErrPaging, time.Unix(asked, 0).UTC(), last)
	}
	placed := max(begin, last)
	fresh, _ := c.take(part, nil, func(r *Record) Millis {
		switch {
		case c.orders(*r, asked):
			return ToMillis(r.Time).wholeSecond()
		case r.timed:
		case last != 0:
			r.Time = last.Time()
		default:
			r.Time = now
		}
		return max(placed, ToMillis(now)) // it may be younger than the window
	})
	followed, more := c.Next != "", last > c.Last
	c.Last, c.Newest, c.Crowded = placed, max(c.Newest, last), 0
	c.prune(w, placed-Millis(w.Overlap.Milliseconds()))

	if full && !later && first == last.second() && last >= begin {
		c.Crowded = last
	}
	switch {
	case later, n == 0 && !followed:
		c.close(w)
	case n == 0, followed && !more && !full && n != c.PageLen:
		// That there is nothing behind the last second was looked at.
		c.Verified, c.VerifiedAt, c.Tail = c.Newest, c.Until, secondText(c.Newest.second())
		c.close(w)
	case last == 0:
		c.close(w)
	case full:
		c.goOn(asked, last.second(), -1, n)
	case c.recent(w), c.verified(secondText(last.second()), w):
		c.close(w)
	default:
		// A page that is not full should be the last. But then a Duo that has
		// smaller pages would be read no further than the first of them.
		c.goOn(asked, last.second(), 0, n)
	}
	return c, fresh, nil
}

// orders reports whether a record's time is what Duo orders it by. One from
// another field that is not within what was asked for is odd.
func (c Cursor) orders(r Record, asked int64) bool {
	at := ToMillis(r.Time).wholeSecond()
	return r.exact || r.timed && at.second() >= asked && at <= c.Until
}

// sorted reports whether a page is in the order of time, but for records whose
// time is none that was asked for: those are odd, wherever they stand.
func (c Cursor) sorted(records []Record, asked int64) bool {
	last := Millis(asked * 1000)
	for _, r := range records {
		at := ToMillis(r.Time).wholeSecond()
		switch odd := !c.orders(r, asked) || at.second() < asked || at > c.Until; {
		case odd:
		case at < last:
			return false
		default:
			last = at
		}
	}
	return true
}

// split returns the records of a page that lie between begin and the window's
// end, those without a place among them, the seconds of the first and the time of
// the last that are not later than the window, none without one, and whether
// there are later ones.
func (c Cursor) split(records []Record, begin Millis, asked int64) (part []Record, first int64, last Millis, later bool) {
	for _, r := range records {
		at := ToMillis(r.Time).wholeSecond()
		switch {
		case !c.orders(r, asked):
			part = append(part, r)
			continue
		case at > c.Until:
			later = true
			continue
		case last == 0:
			first = at.second()
		}
		first, last = min(first, at.second()), max(last, at)
		if at >= begin {
			part = append(part, r)
		}
	}
	return part, first, last, later
}

// goOn asks next from a second before or at the last one, or from the one
// after what was asked for if that led no further: that leaves out what a second
// holds beyond a page, which cannot be read in any way.
func (c *Cursor) goOn(asked, last, step int64, n int) {
	c.Next, c.PageLen = secondText(max(last+step, asked+1)), n
}

func secondText(s int64) string { return strconv.FormatInt(s, 10) }
