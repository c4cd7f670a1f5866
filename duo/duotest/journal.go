package duotest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// cursor is the place of a record in its log. Ids break ties within a millisecond; where Duo repeats an id, or leaves it
// out, the number n does, so that every place is taken once and a search-after cursor never skips a record.
type cursor struct {
	ms int64
	id string
	n  int
}

func (c cursor) compare(d cursor) int {
	return cmp.Or(cmp.Compare(c.ms, d.ms), cmp.Compare(c.id, d.id), cmp.Compare(c.n, d.n))
}

func (c cursor) String() string { return strconv.FormatInt(c.ms, 10) + "," + c.tie() }

// tie is the cursor's second half.
func (c cursor) tie() string {
	if c.n == 0 && c.id != "" {
		return c.id
	}
	return fmt.Sprintf("%s~%d", c.id, c.n)
}

// parseCursor is the opposite of String. It accepts any place, whether a record stands there or not.
func parseCursor(text string) (cursor, error) {
	first, tie, found := strings.Cut(text, ",")
	ms, err := strconv.ParseInt(first, 10, 64)
	if !found || err != nil || tie == "" || strings.ContainsAny(tie, `,"[] `) {
		return cursor{}, fmt.Errorf("next_offset %q: want <milliseconds>,<id>", text)
	}
	c := cursor{ms: ms, id: tie}
	if i := strings.LastIndexByte(tie, '~'); i >= 0 {
		if n, err := strconv.Atoi(tie[i+1:]); err == nil {
			c.id, c.n = tie[:i], n
		}
	}
	return c, nil
}

// entry is a record at its place. The raw bytes are those that were added.
type entry struct {
	cursor
	raw json.RawMessage
}

// held is an entry that Duo has not filed yet.
type held struct {
	entry
	at time.Time
}

// journal holds the records of one log. It is not safe for concurrent use.
type journal struct {
	kind    kind
	keep    int
	entries []entry // sorted
	held    []held  // sorted by at
}

// file puts entries in their places. It costs in proportion to what lies behind the first of them, so next to nothing at
// the end of the log, where events arrive.
func (j *journal) file(batch []entry) {
	if len(batch) == 0 {
		return
	}
	byPlace := func(a, b entry) int { return cmp.Or(cmp.Compare(a.ms, b.ms), cmp.Compare(a.id, b.id)) }
	first := slices.MinFunc(batch, byPlace)
	from := j.search(cursor{ms: first.ms, id: first.id})
	j.entries = append(j.entries, batch...)
	tail := j.entries[from:]
	slices.SortStableFunc(tail, byPlace) // stable, so that what was there keeps its number
	for i := range tail {
		tail[i].n = 0
		if i > 0 && byPlace(tail[i-1], tail[i]) == 0 {
			tail[i].n = tail[i-1].n + 1
		}
	}
	// Dropped in larger steps than one, since each costs a copy.
	if j.keep > 0 && len(j.entries) > j.keep+j.keep/8 {
		j.entries = slices.Clone(j.entries[len(j.entries)-j.keep:])
	}
}

// hold keeps entries back until at.
func (j *journal) hold(at time.Time, batch []entry) {
	for _, e := range batch {
		j.held = append(j.held, held{e, at})
	}
	slices.SortStableFunc(j.held, func(a, b held) int { return a.at.Compare(b.at) })
}

// release files what is due.
func (j *journal) release(now time.Time) {
	due := sort.Search(len(j.held), func(i int) bool { return j.held[i].at.After(now) })
	batch := make([]entry, due)
	for i, h := range j.held[:due] {
		batch[i] = h.entry
	}
	j.held = slices.Delete(j.held, 0, due)
	j.file(batch)
}

// all returns what the journal holds, filed or not, in the log's order.
func (j *journal) all() []entry {
	all := slices.Clone(j.entries)
	for _, h := range j.held {
		all = append(all, h.entry)
	}
	slices.SortStableFunc(all, func(a, b entry) int { return a.compare(b.cursor) })
	return all
}

func (j *journal) ids() []string {
	ids := []string{}
	for _, e := range j.all() {
		ids = append(ids, e.id)
	}
	return ids
}

// search returns the index of the first entry at c or behind it.
func (j *journal) search(c cursor) int {
	return sort.Search(len(j.entries), func(i int) bool { return j.entries[i].compare(c) >= 0 })
}

// read returns the page that a window asks for.
func (j *journal) read(w window, config Config) page {
	low, high := j.search(cursor{ms: w.mintime}), j.search(cursor{ms: w.maxtime + 1})
	high = max(low, high)
	p := page{total: high - low}
	if w.after != nil {
		at := j.search(*w.after)
		switch {
		case w.descending:
			high = min(high, at)
		case config.OffsetAlone:
			low = j.behind(at, *w.after)
		default:
			low = max(low, j.behind(at, *w.after))
		}
	}
	if w.descending {
		high -= w.skip
	} else {
		low += w.skip
	}
	n := min(w.limit, max(high-low, 0))
	p.position = w.skip + n
	if n == 0 {
		return p
	}
	// Copied, since filing moves entries while the page is being sent.
	if w.descending {
		p.records = slices.Clone(j.entries[high-n : high])
	} else {
		p.records = slices.Clone(j.entries[low : low+n])
	}
	if w.descending != w.reversed {
		slices.Reverse(p.records)
	}
	p.last = &p.records[n-1].cursor
	return p
}

// behind returns the index of the first entry behind c, given that of the first at c or behind it.
func (j *journal) behind(at int, c cursor) int {
	if at < len(j.entries) && j.entries[at].cursor == c {
		return at + 1
	}
	return at
}
