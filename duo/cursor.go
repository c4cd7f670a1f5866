package duo

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"
)

const (
	// retention is how far back Duo keeps v2 logs. Exactly 180 days fails by
	// drift, hence the margin.
	retention = 180*24*time.Hour - 10*time.Minute
	// minWindow keeps the bounds of a window apart: Duo refuses equal ones.
	minWindow = 5 * time.Second
	// farAhead is how far a cursor may be ahead of the clock before that is
	// looked into.
	farAhead = 10 * time.Minute
	// verifyEvery is how often, in place of a usual call, an idle log is asked
	// for what comes behind its last page.
	verifyEvery = time.Hour
	// maxSeen bounds what is remembered of the overlap, per stream.
	maxSeen = 20000
)

// Window says how a stream is read; see the options of the same names.
type Window struct {
	Delay        time.Duration // nothing younger is asked for
	Overlap      time.Duration // how much is read again at each poll
	PollInterval time.Duration // pause between polls once caught up
	PageSize     int           // records per call
	MaxSeen      int           // most records of the overlap that are remembered; 0: 20,000
}

func (w Window) maxSeen() int { return cmp.Or(min(w.MaxSeen, maxSeen), maxSeen) }

// Millis is a time in Unix milliseconds, Duo's unit. Zero means none. In JSON
// it is RFC 3339.
type Millis int64

// ToMillis rounds down, since Duo's bounds are inclusive.
func ToMillis(t time.Time) Millis { return Millis(t.UnixMilli()) }

// Time returns the time in UTC.
func (m Millis) Time() time.Time { return time.UnixMilli(int64(m)).UTC() }

func (m Millis) String() string { return m.Time().Format("2006-01-02T15:04:05.000Z") }

// MarshalJSON writes RFC 3339 with milliseconds, or null for none.
func (m Millis) MarshalJSON() ([]byte, error) {
	if m == 0 {
		return []byte("null"), nil
	}
	return json.Marshal(m.String())
}

// UnmarshalJSON reads what MarshalJSON writes.
func (m *Millis) UnmarshalJSON(b []byte) error {
	var t *time.Time
	if err := json.Unmarshal(b, &t); err != nil {
		return err
	}
	if *m = 0; t != nil {
		*m = ToMillis(*t)
	}
	return nil
}

// Cursor is where a stream is. It is a value: methods return a new one and
// never change what an older one holds, so that any of them can be stored.
//
// A window [From, Until] is read page by page. The next one begins an overlap
// before the newest record received: the local clock ends windows, but it
// never moves a cursor, so a clock that is wrong loses nothing.
type Cursor struct {
	From    Millis `json:"from"`        // lower bound of this window, inclusive
	Until   Millis `json:"until"`       // upper bound, inclusive; none: no window is open
	Next    string `json:"next_offset"` // where within the window, in the form of the log's paging; empty: at its first page
	Last    Millis `json:"last"`        // where the page before ended
	Newest  Millis `json:"newest"`      // the furthest such place in this window
	Checked Millis `json:"checked"`     // up to here windows have been read to their end
	// Verified is the place that an empty page was seen to follow, in the window
	// that ended at VerifiedAt, and Tail the next_offset that leads there: so an
	// idle log is not asked twice.
	Verified   Millis `json:"verified"`
	VerifiedAt Millis `json:"verified_at"`
	Tail       string `json:"tail,omitempty"`
	Read       int    `json:"read,omitempty"`     // records on this window's pages so far
	PageLen    int    `json:"page_len,omitempty"` // records on the page before
	Short      bool   `json:"short,omitempty"`    // it was a short one, and is followed up all the same
	PageCap    int    `json:"page_cap,omitempty"` // a Duo that sends shorter pages than asked: so short
	Reopened   Millis `json:"reopened"`           // where a refused next_offset last had the window opened again
	Held       Millis `json:"held,omitempty"`     // lower bound of a walk by position, where From has aged out
	// Skip is where a window begins that leaves the overlap to a later one; none: it
	// begins at From. Swept is up to where the log was read with its overlap.
	Skip  Millis `json:"skip,omitempty"`
	Swept Millis `json:"swept,omitempty"`
	// Equal counts the records without an id of the page before, by content: the
	// n-th equal one is an event of its own, also behind a page border.
	Equal map[string]int `json:"equal,omitempty"`
	// Pace is what is known of the limit of calls; nil: none was met.
	Pace *FoundPace `json:"pace,omitempty"`
	// Seen is what has been received since SeenSince and may come again.
	// A window never begins before SeenSince.
	SeenSince Millis `json:"seen_since"`
	Seen      []Seen `json:"seen"`
	// Known is how many records of the page before had been received before it.
	Known int `json:"-"`
	// Crowded is the second that alone filled the page before, in a log that can
	// only be read by seconds: it may hold more, which cannot be read.
	Crowded Millis `json:"-"`
}

// Seen is a record that was received: its place in the log, which is its time
// unless that is out of order, and the hash of its content.
type Seen struct {
	At   Millis
	Hash uint64
}

func (a Seen) compare(b Seen) int {
	return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Hash, b.Hash))
}

// MarshalText writes the milliseconds and the hash in hexadecimal digits.
func (s Seen) MarshalText() ([]byte, error) {
	return s.append(make([]byte, 0, 32)), nil
}

func (s Seen) append(b []byte) []byte {
	b = append(strconv.AppendInt(b, int64(s.At), 10), ' ')
	return hex.AppendEncode(b, binary.BigEndian.AppendUint64(nil, s.Hash))
}

// UnmarshalText reads what MarshalText writes.
func (s *Seen) UnmarshalText(b []byte) error {
	_, err := fmt.Sscanf(string(b), "%d %x", &s.At, &s.Hash)
	return err
}

// NewCursor begins a stream at a time, or as far back as Duo keeps its logs;
// nothing before it is ever delivered.
func NewCursor(since, now time.Time) Cursor {
	// The margin keeps the beginning within reach until the first call.
	m := max(ToMillis(since), ToMillis(now.Add(5*time.Minute-retention)))
	return Cursor{From: m, Checked: m, SeenSince: m}
}

// CompactJSON is what json.Marshal writes. Each save writes thousands in Seen,
// over which encoding/json takes several times as long.
func (c Cursor) CompactJSON() ([]byte, error) {
	seen := c.Seen
	c.Seen = nil
	b, err := json.Marshal(c)
	if err != nil || seen == nil {
		return b, err
	}
	b, ok := bytes.CutSuffix(b, []byte("null}"))
	if !ok {
		return nil, errors.New("seen is not what a cursor ends with")
	}
	b = append(slices.Grow(b, 40*len(seen)+2), '[')
	for i, s := range seen {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(s.append(append(b, '"')), '"')
	}
	return append(b, "]}"...), nil
}

// UnmarshalJSON reads a stored cursor. The error says what cannot be in one
// that this package made.
func (c *Cursor) UnmarshalJSON(b []byte) error {
	type plain Cursor
	var p plain
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	*c = Cursor(p)
	return c.validate()
}

func (c Cursor) validate() error {
	switch {
	case c.From <= 0:
		return errors.New("cursor has no from")
	case c.Until != 0 && c.Until < c.From:
		return fmt.Errorf("cursor ends at %v, before it begins at %v", c.Until, c.From)
	case len(c.Seen) > maxSeen:
		return fmt.Errorf("cursor remembers %d records, more than %d", len(c.Seen), maxSeen)
	case !slices.IsSortedFunc(c.Seen, Seen.compare):
		return errors.New("cursor's seen records are out of order")
	}
	return nil
}

// Open returns the cursor with a window open, or how long to wait until there
// is something to ask for. now is the time by Duo's clock, as far as known.
// missed is set when records may have aged out of Duo's retention unread: the
// time before which they are gone.
func (c Cursor) Open(now time.Time, w Window) (open Cursor, wait time.Duration, missed Millis) {
	oldest := ToMillis(now.Add(-retention))
	if c.Until != 0 && c.Until <= oldest {
		// The window itself has aged out, if the clock is right: what was not read
		// in order begins a new one.
		c.Newest = c.Last
		c.close(w)
	}
	if c.Until == 0 {
		until := ToMillis(now.Add(-w.Delay))
		from := max(c.From, oldest)
		wait := from.Time().Add(minWindow).Sub(until.Time())
		if wait > farAhead {
			// Either clock may be the wrong one: a call tells, and its Date which.
			until, wait = from+Millis(minWindow.Milliseconds()), 0
		}
		if wait > 0 {
			return c, wait, 0
		}
		c.Until = until
		if unswept := until - c.Swept; unswept < 0 || unswept > w.skipMost()+Millis(w.PollInterval.Milliseconds()) {
			// There was a stop, or the clock was set: what comes in a long window is more
			// than can be remembered with what was left out.
			c.Skip = 0
		}
		since := until - c.VerifiedAt
		if since < 0 {
			c.Tail = "" // the end was looked at too early, by a clock that was ahead
		}
		if c.verified(c.Tail, w) && since >= Millis(verifyEvery.Milliseconds()) {
			c.Next, c.Last, c.Newest = c.Tail, c.Verified, c.Verified
		}
	}
	if c.Checked < oldest && max(c.Last, c.From, c.Held) < oldest {
		missed = oldest
		c.Checked = oldest
	}
	return c, 0, missed
}

// Params are the parameters of the call for the log's next page.
func (c Cursor) Params(l Log, now time.Time, pageSize int) url.Values {
	return l.paging.params(c, now, pageSize)
}

// Advance takes a page of the log in: it returns the cursor that follows it
// and the records that were not received before. The error is [ErrPaging] for a
// page that leads nowhere; then the cursor stays. now serves records without a
// time.
//
// Records hold their page's memory. Where they are less than half of it they are
// given their own, so that they hold at most twice their size.
func (c Cursor) Advance(l Log, p Page, w Window, pageSize int, now time.Time) (Cursor, []Record, error) {
	next, fresh, err := l.paging.advance(c, p, w, pageSize, now)
	if 2*size(fresh) < size(p.Records) {
		for i := range fresh {
			fresh[i].Raw = bytes.Clone(fresh[i].Raw)
		}
	}
	return next, fresh, err
}

// size is how many bytes records have.
func size(records []Record) (n int) {
	for i := range records {
		n += len(records[i].Raw)
	}
	return n
}

// begin is the lower bound of the call for a window's first page.
func (c Cursor) begin(now time.Time) Millis {
	return max(c.lower(), c.Reopened, ToMillis(now.Add(-retention)))
}

// skips reports whether the open window leaves the overlap to a later one.
func (c Cursor) skips() bool {
	return c.Skip >= c.From && c.Skip != 0 && c.Skip+Millis(minWindow.Milliseconds()) <= c.Until
}

// lower is the open window's lower bound.
func (c Cursor) lower() Millis {
	if c.skips() {
		return c.Skip
	}
	return c.From
}

// read returns up to where the log was read with its overlap.
func (c Cursor) read() Millis { return cmp.Or(c.Swept, c.Checked) }

// bounds are the parameters of a window from a time on, in milliseconds.
func (c Cursor) bounds(from Millis, pageSize int) url.Values {
	return url.Values{
		"mintime": {strconv.FormatInt(int64(from), 10)},
		"maxtime": {strconv.FormatInt(int64(c.Until), 10)},
		"limit":   {strconv.Itoa(pageSize)},
	}
}

// CaughtUp reports whether no window is open: the log was read to its end.
func (c Cursor) CaughtUp() bool { return c.Until == 0 }

// Reach is the time up to which, by Duo's clock, all that the log held when it
// was read has been received.
func (c Cursor) Reach() Millis { return max(c.Checked, c.Last) }

// Reopen is the way on when Duo refuses a next_offset: the window is opened
// again at the last record's millisecond, and what is known is dropped when it
// comes again. It answers false where that was tried before.
func (c Cursor) Reopen() (Cursor, bool) {
	at := max(c.Last, c.From)
	if c.Next == "" || c.Reopened == at {
		return c, false
	}
	c.Until = max(c.Until, at+Millis(minWindow.Milliseconds()))
	c.Reopened, c.Next, c.Equal, c.Read, c.PageLen, c.Short = at, "", nil, 0, 0, false
	return c, true
}

// take notes a page's records in the cursor and returns the fresh ones, with
// their EventID complete, and how often each content without an id came so far.
// before is that count for the page before, where this one goes on behind it.
// place completes a record's Time and says where in the log it is, for Seen.
func (c *Cursor) take(records []Record, before map[string]int, place func(*Record) Millis) (fresh []Record, equal map[string]int) {
	nths, hashes := make([]int, len(records)), make([]uint64, len(records))
	equal = map[string]int{}
	for i, r := range records {
		nths[i] = 1
		if r.id == "" {
			key := strconv.FormatUint(r.content, 16)
			nths[i] = max(equal[key], before[key]) + 1
			equal[key] = nths[i]
		}
		hashes[i] = r.content + uint64(nths[i]-1)*0x9e3779b97f4a7c15
	}
	known := c.known(hashes)
	if news := len(records) - len(known); news > 0 {
		fresh = make([]Record, 0, news)
	}
	added := make([]Seen, 0, cap(fresh))
	again := map[uint64]Millis{} // where known records are that have no place of their own
	c.Known = 0
	var r Record // out here, since place makes it escape
	for i, hash := range hashes {
		r = records[i]
		at := place(&r)
		if known[hash] {
			c.Known++
			if !r.exact {
				again[hash] = at
			}
			continue
		}
		known[hash] = true
		added = append(added, Seen{At: at, Hash: hash})
		r.EventID = r.eventID(nths[i])
		fresh = append(fresh, r)
	}
	c.remember(added, again)
	return fresh, equal
}

// known returns which of the hashes have been received, and maybe some others
// that have. Of thousands in Seen few are on a page, so that these are sought
// out first, by their first 16 bits.
func (c *Cursor) known(hashes []uint64) map[uint64]bool {
	var wanted [1 << 10]uint64 // a bit for each beginning of a hash
	for _, h := range hashes {
		wanted[h>>54] |= 1 << (h >> 48 & 63)
	}
	known := make(map[uint64]bool, len(hashes))
	for _, s := range c.Seen {
		if wanted[s.Hash>>54]&(1<<(s.Hash>>48&63)) != 0 {
			known[s.Hash] = true
		}
	}
	return known
}

// remember adds to Seen, and puts what is in it no earlier than at these times.
func (c *Cursor) remember(added []Seen, again map[uint64]Millis) {
	slices.SortFunc(added, Seen.compare)
	if len(added) > 0 {
		c.Seen = merge(c.Seen, added)
	}
	if len(again) > 0 {
		c.Seen = slices.Clone(c.Seen)
		for i, s := range c.Seen {
			c.Seen[i].At = max(s.At, again[s.Hash])
		}
		slices.SortFunc(c.Seen, Seen.compare)
	}
}

// merge returns what is in a and in b, each of which is in order, in a slice of
// its own. It is made for a b that is short or lies behind a.
func merge(a, b []Seen) []Seen {
	all := make([]Seen, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		i, _ := slices.BinarySearchFunc(a, b[0], Seen.compare)
		all = append(append(all, a[:i]...), b[0])
		a, b = a[i:], b[1:]
	}
	return append(append(all, a...), b...)
}

// prune forgets what is older than keep: what neither this window nor the next
// one can bring again. Beyond the bound the oldest go too: then the overlap
// shrinks, so that nothing comes twice.
func (c *Cursor) prune(w Window, keep Millis) {
	i, _ := slices.BinarySearchFunc(c.Seen, keep, func(s Seen, at Millis) int { return cmp.Compare(s.At, at) })
	c.SeenSince = max(c.SeenSince, keep)
	if excess := len(c.Seen) - w.maxSeen(); excess > i {
		i = excess
		c.SeenSince = c.Seen[i-1].At + 1
	}
	c.Seen = slices.Clip(c.Seen[i:])
}

// verified reports whether a next_offset is the end that was looked at, when
// late records could no longer be filed before it.
func (c *Cursor) verified(next string, w Window) bool {
	return next != "" && next == c.Tail && c.VerifiedAt-c.Verified >= Millis(w.Overlap.Milliseconds())
}

// recent reports whether the newest record is so young that the next windows
// are sure to read on behind it.
func (c *Cursor) recent(w Window) bool {
	return c.Newest >= c.Until-Millis((w.Overlap+w.PollInterval).Milliseconds())
}

// close ends the window. The next one begins an overlap before the newest
// record, but not before what is remembered of it begins; a window that
// brought nothing leaves From where it was.
func (c *Cursor) close(w Window) {
	if c.Newest != 0 {
		from := max(c.Newest-Millis(w.Overlap.Milliseconds()), c.SeenSince)
		c.From = max(c.From, from)
	}
	if c.Newest != 0 && c.Newest != c.Verified {
		c.Tail = "" // there is more behind it by now
	}
	c.Checked = max(c.Checked, c.Until)
	c.Until, c.Next, c.Last, c.Newest, c.Reopened, c.Held, c.Skip = 0, "", 0, 0, 0, 0, 0
	c.Read, c.PageLen, c.Short, c.Equal = 0, 0, false, nil
}
