package duo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// minPageSize is where halving the page size for too large answers ends.
	minPageSize = 1
	// pageRuns is how many good pages it takes until it is doubled again.
	pageRuns = 10
	// limitEvery is how often it is said that Duo limits the calls, at most: while
	// a log catches up, it does every ten minutes.
	limitEvery = time.Hour
)

// Poller reads one stream for as long as its context lives. Set the fields,
// then call Run; they belong to Run until it returns.
type Poller struct {
	Log    Log
	Client *Client
	Window Window
	// Cursor is where to begin, and after Run where the last delivered page
	// ended.
	Cursor Cursor
	// Deliver takes a page's fresh records, none for a page that brought only
	// a cursor, and the cursor that follows them. It may block, which stops the
	// calls, and fails only when its context has ended. The slice is its own: it
	// may empty it, so as to let go of what is done.
	Deliver func(context.Context, []Record, Cursor) error
	// Room, if it is set, waits until another page is wanted, so that none is held
	// that Deliver cannot take. Its error is the context's.
	Room func(context.Context) error
	// Logger gets a line when trouble begins and one when it ends.
	Logger *slog.Logger
	// Name stands for the stream in log lines; the log's own if empty.
	Name string
	// Gate, if there is one, bounds what this and other streams do at once.
	Gate *Gate
	// Stats, if there are any, are kept up to date.
	Stats *Stats

	pageSize int           // what is asked for; less than Window.PageSize after too large pages
	goodRun  int           // good pages since pageSize last changed
	cut      bool          // answers are cut to what can be read: fewer records cannot be asked for
	cutAgain bool          // one of this window had to be
	behind   time.Duration // how far Duo's clock is behind ours
	anew     bool          // the window was opened anew because of that
	missed   Millis        // what may be gone, not yet said
	leftOut  int           // bytes of the last page's records
	crowded  Millis        // the latest second that was said to be too full
	hung     bool          // the last call took long, and failed
	late     late
	full     bool // that more is within the overlap than can be remembered was said
	pace     pace
	opened   time.Time // when the window was
	limits   time.Time // when it was last said that Duo limits the calls
	state    state
}

// state is the trouble a poller is in.
type state struct {
	kind    string // empty: none
	since   time.Time
	calls   int  // failed ones
	said    bool // there was a line of it
	backoff *backoff.ExponentialBackOff
}

// Run polls until the context ends and returns its error.
func (p *Poller) Run(ctx context.Context) error {
	p.pageSize = min(p.Window.PageSize, p.Log.PageMax)
	p.Name = cmp.Or(p.Name, p.Log.Name)
	p.pace.resume(p.Cursor.Pace, time.Now())
	if !p.Cursor.CaughtUp() {
		// The call before this start may have been the last that was allowed.
		if err := sleep(ctx, min(p.pace.gap(), time.Minute)); err != nil {
			return err
		}
	}
	for {
		wait, err := p.step(ctx)
		if err != nil {
			return err
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// step makes one call and returns how long to wait for the next. The error is
// the context's.
func (p *Poller) step(ctx context.Context) (time.Duration, error) {
	if p.Room != nil {
		if err := p.Room(ctx); err != nil {
			return 0, err
		}
	}
	place, err := p.Gate.enter(ctx, p.hung)
	if err != nil {
		return 0, err
	}
	defer place.leave()
	now := p.Client.Now().Add(-p.behind)
	open, wait, missed := p.Cursor.Open(now, p.Window)
	if wait > 0 {
		// Our clock may have been set right since Duo's was last heard of.
		p.behind = 0
		return min(wait, p.Window.PollInterval), ctx.Err()
	}
	before, known := p.Cursor, p.behind
	p.Cursor, p.missed = open, max(p.missed, missed)
	began := time.Now()
	p.pace.start(began)
	if before.CaughtUp() {
		p.opened = began
	}
	page, err := p.fetch(ctx, now)
	place.answer()
	p.hung = err != nil && time.Since(began) >= hangAfter
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if before.CaughtUp() && !p.anew && (p.behind-known).Abs() > time.Minute {
		// The window was opened by a clock that is wrong, as we know now.
		p.Cursor, p.missed, p.anew = before, 0, true
		if err == nil {
			p.pace.ok()
			p.called(OK)
			return p.pace.wait(time.Now()), nil
		}
	}
	if err != nil {
		return p.failed(err), nil
	}
	next, fresh, err := p.Cursor.Advance(p.Log, page, p.Window, p.pageSize, now)
	if err != nil {
		return p.failed(err), nil
	}
	p.recovered()
	return p.deliver(ctx, next, fresh, len(page.Records))
}

// deliver hands over what a page of so many records brought, goes on behind it,
// and returns how long to wait for the next call. The error is the context's.
func (p *Poller) deliver(ctx context.Context, next Cursor, fresh []Record, records int) (time.Duration, error) {
	next.Pace = p.pace.store()
	filedLate := p.late.note(p.Cursor, fresh, p.Window)
	p.Stats.note(func(c *Counts) { c.Duplicates += uint64(next.Known); c.Late += uint64(filedLate) })
	// Deliver may empty the records as it goes; nothing here holds on to the page.
	cutOff := p.leftOut > 0 && slices.ContainsFunc(fresh, func(r Record) bool { return len(r.Raw) >= maxValue })
	if err := p.Deliver(ctx, fresh, next); err != nil {
		return 0, err
	}
	p.called(OK) // only now: a page over which Deliver panics, again and again, is no success
	p.warn(next, records, cutOff)
	p.Cursor = next
	if next.CaughtUp() {
		// What had to be cut comes again with the overlap.
		p.cut, p.cutAgain = p.cut && p.cutAgain, false
		// From start to start: after a long way here the next window is due at once.
		return max(time.Until(p.opened.Add(p.Window.PollInterval)), p.pace.wait(time.Now())), nil
	}
	return p.pace.wait(time.Now()), nil
}

func (p *Poller) fetch(ctx context.Context, now time.Time) (Page, error) {
	var cut *cutter
	if p.cut {
		cut = &cutter{mayEnd: !p.sized()}
	}
	a, err := p.Client.call(ctx, http.MethodGet, p.Log.Path, p.Cursor.Params(p.Log, now, p.pageSize), cut)
	if !a.Date.IsZero() {
		// Date has whole seconds, so less than one is no difference.
		if p.behind = a.Sent.Sub(a.Date); p.behind <= time.Second {
			p.behind = 0
		}
	}
	if err != nil {
		return Page{}, err
	}
	page, err := ParsePage(p.Log, a.Body)
	page.cut, p.leftOut = a.cut, a.left+page.left
	p.cut, p.cutAgain = p.cut && err == nil, p.cutAgain || a.cut || a.left > 0
	return page, err
}

// sized reports whether the log can be asked for fewer records.
func (p *Poller) sized() bool { return p.Log.paging.params(p.Cursor, time.Time{}, 1).Has("limit") }

// failed notes a failed call, says so if the trouble is new, and returns how
// long to wait.
func (p *Poller) failed(err error) time.Duration {
	t := diagnose(err, source{p.Log, p.Client.account})
	opened := p.reopen(err)
	if opened && t.kind != pageTrouble {
		t = refusedOffset(err)
	}
	now := time.Now()
	if quiet := t.kind == limitTrouble && now.Sub(p.limits) < limitEvery; p.state.kind != t.kind && !quiet {
		p.Logger.Log(context.Background(), t.level, p.Name+": "+t.line())
		p.state.said = true
	}
	if p.state.kind == "" {
		p.state.since = now
		p.state.backoff = backoff.NewExponentialBackOff()
		p.state.backoff.InitialInterval = time.Second
		p.state.backoff.MaxInterval = 60 * time.Second
	}
	p.state.kind = t.kind
	p.state.calls++
	if t.wait > 0 {
		// The jitter only adds: what Duo asks for is the least.
		t.wait += rand.N(t.wait / 10)
	}
	if t.kind == limitTrouble {
		if p.state.said {
			p.limits = now
		}
		p.pace.limited(now.Add(t.wait))
	}
	p.called(outcomeOf(err))
	return max(p.retry(err, opened, t.wait), p.pace.wait(now))
}

// retry is how long to wait after a failed call, by its kind.
func (p *Poller) retry(err error, opened bool, wait time.Duration) time.Duration {
	switch {
	case opened:
		return time.Second
	case errors.Is(err, ErrTooLarge) && p.sized() && p.pageSize > minPageSize:
		p.pageSize, p.goodRun = max(p.pageSize/2, minPageSize), 0
		return 0
	case errors.Is(err, ErrTooLarge) && !p.cut:
		p.cut = true
		return 0
	}
	if wait == 0 {
		return p.state.backoff.NextBackOff()
	}
	return wait
}

// reopen has the window opened again where that is the way on: after a request
// that Duo refuses, and for a paging that still leads nowhere at the third call.
func (p *Poller) reopen(err error) (ok bool) {
	var api *APIError
	refused := errors.As(err, &api) && api.Status == http.StatusBadRequest
	if refused || errors.Is(err, ErrPaging) && p.state.calls >= 2 {
		p.Cursor, ok = p.Cursor.Reopen()
	}
	return ok
}

// recovered ends the trouble, if there was any.
func (p *Poller) recovered() {
	p.pace.ok()
	p.anew = false
	if full := min(p.Window.PageSize, p.Log.PageMax); p.pageSize < full {
		if p.goodRun++; p.goodRun >= pageRuns {
			p.pageSize, p.goodRun = min(p.pageSize*2, full), 0
		}
	}
	if p.state.said {
		attrs := []any{"after", time.Since(p.state.since).Round(time.Second), "failed_calls", p.state.calls}
		if limit := p.pace.found.Limit; limit > 0 {
			attrs = append(attrs, "calls_a_minute", math.Round(limit*10)/10)
		}
		p.Logger.Info(p.Name+": Duo answers again", attrs...)
	}
	p.state = state{}
}

// called counts a call.
func (p *Poller) called(o Outcome) {
	p.Stats.note(func(c *Counts) {
		c.Calls[o]++
		c.Up, c.Pace = o == OK, p.pace.gap()
		if c.Up {
			// An error can be another's than Duo's, whose clock is its own.
			c.LastSuccess, c.Behind = time.Now(), p.behind
		}
	})
}

// warn says what the operator should know of a page that was delivered.
// records is how many the page held, and cutOff that one of those it brought was cut.
func (p *Poller) warn(next Cursor, records int, cutOff bool) {
	if p.missed != 0 {
		p.Logger.Warn(p.Name + ": the checkpoint is older than the 180 days that Duo keeps; events before " + p.missed.String() + " that were not yet read are gone")
		p.missed = 0
	}
	if cutOff {
		p.Logger.Error(fmt.Sprintf("%s: a record is larger than can be read: %d bytes of it are left out, the rest is delivered", p.Name, p.leftOut))
	}
	if text, ok := p.late.say(p.Window); ok {
		p.Logger.Warn(p.Name + ": " + text)
	}
	if next.Crowded > p.crowded {
		p.crowded = next.Crowded
		p.Logger.Warn(fmt.Sprintf("%s: %d records of the second %s fill a page; this log can only be read by seconds, so that if there are more in that one, they are passed over",
			p.Name, records, p.crowded.Time().Format(time.RFC3339)))
	}
	if len(next.Seen) == p.Window.maxSeen() && !p.full {
		p.full = true
		p.Logger.Warn(p.Name+": more records within the overlap than can be remembered; it is shortened, so that fewer of the events that Duo files late are found", "remembered", p.Window.maxSeen())
	}
}

// sleep waits for d or until the context ends.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
