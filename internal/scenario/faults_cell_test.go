//go:build cgo

package scenario

import (
	"cmp"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

// cell is one trouble at one place, with an input, a Duo and a folder of its own.
type cell struct {
	trouble *trouble
	place   place

	rig    *rig
	n      int
	name   string // as the plugin calls its input
	tag    string
	server *duotest.Server
	duo    *duotest.Running
	got    *delivery
	events *duotest.Generator // of cellLog
	others *duotest.Generator // of otherLog
	filed  int

	met    chan struct{} // closed when the call at the place came
	meet   sync.Once
	goOn   chan struct{} // closed when a call that is held may be answered
	let    sync.Once
	begun  time.Time // when it was brought about
	lasted time.Duration
	mended bool
	alone  bool // it was complete before the host was stopped
}

const (
	cellPage  = 20 // records on a page: the backlog is three pages, or two full ones that an empty one follows
	cellLive  = 5  // events that are filed while the trouble lasts
	cellLimit = 90 * time.Second
	slowLimit = 8 * time.Minute // 5 minutes and their jitter, and then some

	cellLog  = duotest.Authentication
	otherLog = duotest.Activity // of the cells of atExit: it has no trouble, and goes on
)

// join gives the cell its place in a rig, as the n-th input.
func (c *cell) join(r *rig, n int) {
	c.rig, c.n, c.name, c.tag = r, n, fmt.Sprintf("duo.%d", n), fmt.Sprintf("cell%d", n)
	c.met, c.goOn = make(chan struct{}), make(chan struct{})
	c.server = duotest.New(duotest.Config{Delay: time.Second, Names: []string{c.hostname(), r.address(n)}, OnCall: func(call duotest.Call) {
		if call.Fault != "" {
			c.meet.Do(func() { close(c.met) })
		}
	}})
	var err error
	if c.duo, err = c.server.Listen(net.JoinHostPort(r.address(n), "0")); err != nil {
		r.t.Fatal(err)
	}
	own := &bed{t: r.t, kind: r.kind, dir: r.dir, server: c.server, duo: c.duo, ca: r.ca}
	c.got = own.delivery(c.tag)
	quirks := 0.0
	if c.trouble.odd {
		quirks = 1
	}
	c.events = duotest.NewGenerator(cellLog, uint64(n+1), duotest.Options{Quirks: quirks})
	c.others = duotest.NewGenerator(otherLog, uint64(n+1), duotest.Options{})
}

// input is the cell's [INPUT].
func (c *cell) input() flbtest.Input {
	logs := cellLog
	if c.hasOther() {
		logs += "," + otherLog
	}
	// Of two equal keys the first wins.
	return c.got.b.input(c.tag, append(slices.Clone(c.trouble.set), []flbtest.Option{
		opt("logs", logs), opt("delay", "1s"), opt("overlap", "30s"), opt("since", "25h"), opt("page_size", fmt.Sprint(cellPage)), opt("settle", "500ms"),
		opt("checkpoint_dir", c.folder()), opt("api_host", c.address()), opt("timeout", c.timeout()),
	}...)...)
}

// hostname is a name of the cell's Duo that only a space resolves.
func (c *cell) hostname() string { return c.tag + ".test" }

func (c *cell) address() string {
	if c.rig.space == nil {
		return c.duo.Addr
	}
	_, port, _ := net.SplitHostPort(c.duo.Addr)
	return net.JoinHostPort(c.hostname(), port)
}

// timeout is that of a call: one that is held must not come to it.
func (c *cell) timeout() string {
	if c.trouble.call.Kind == duotest.FaultHang && c.trouble.begin == nil {
		return "12s"
	}
	return "2m"
}

func (c *cell) hasOther() bool { return c.place == atExit && !c.trouble.whole }

func (c *cell) folder() string { return filepath.Join(c.rig.dir, "checkpoints", c.tag) }

// says is how many lines are to tell of the trouble at least.
func (c *cell) says() int {
	switch {
	case c.trouble.calm, c.trouble.quiet == c.place:
		return 0
	case c.trouble.opens && slices.Contains([]place{middlePage, emptyPage, saving, atExit}, c.place):
		return 2 // the second refusal is another trouble than the first
	}
	return 1
}

// file adds events of now, or given ones.
func (c *cell) file(log string, g *duotest.Generator, n int, from, to time.Time) {
	c.server.Add(log, g.Spread(from, to, n)...)
	c.filed += n
}

// plan files the backlog and arranges for what the call at the place meets.
func (c *cell) plan() error {
	n := cmp.Or(c.trouble.backlog, 2*cellPage+cellPage/2)
	if c.place == emptyPage {
		n = 2 * cellPage
	}
	from := time.Now().Add(-20 * time.Hour)
	c.file(cellLog, c.events, n, from, from.Add(time.Hour))
	switch follows, begins := calls("next_offset", true), calls("next_offset", false); c.place {
	case atStart:
		if c.trouble.begin != nil && !c.trouble.late {
			c.meet.Do(func() { close(c.met) })
			return c.trouble.begin(c)
		}
		c.arrange(func(duotest.Call) bool { return true }, 0)
	case middlePage, saving, atExit:
		c.arrange(follows, 0)
	case emptyPage:
		c.arrange(follows, 1)
	case idlePoll:
		c.arrange(begins, 1)
	}
	return nil
}

// calls matches those with, or without, a parameter.
func calls(param string, with bool) func(duotest.Call) bool {
	return func(c duotest.Call) bool { return (c.Param(param) != "") == with }
}

// arrange plans the trouble of the first call that matches, after some of them,
// and of those that follow it, whatever they are.
func (c *cell) arrange(match func(duotest.Call) bool, skip int) {
	f := c.trouble.call
	f.Log, f.Skip = cellLog, skip
	if c.trouble.held {
		f.Kind, f.N = duotest.FaultRewrite, 1
		f.Rewrite = func(body []byte) []byte {
			<-c.goOn
			return body
		}
	}
	only := f.Match
	f.Match = func(call duotest.Call) bool {
		return (only == nil || only(call)) && (match(call) || closed(c.met) && c.trouble.never[atStart] == "")
	}
	switch {
	case c.trouble.begin != nil, c.trouble.held: // the call waits for it, and it lasts
	case c.place == saving || c.place == atExit:
		f.N = -1
	case c.trouble.wait > 0:
		f.N = 1
		if c.says() > 1 {
			f.N = 2
		}
	case f.N == 0:
		f.N = 2
	}
	c.server.Fault(f)
}

// live is the cell's life in the first run of its host.
func (c *cell) live() error {
	now := time.Now()
	if c.place == firstPage {
		if err := c.await("the backlog", cellLimit, c.complete); err != nil {
			return err
		}
		// The events are filed before a window can reach them.
		now = time.Now()
		c.arrange(func(call duotest.Call) bool {
			maxtime, _ := strconv.ParseInt(call.Param("maxtime"), 10, 64)
			return call.Param("next_offset") == "" && maxtime >= now.UnixMilli()
		}, 0)
		c.file(cellLog, c.events, cellLive, now, now)
	}
	if err := c.await("call at the place", cellLimit, func() bool { return closed(c.met) }); err != nil {
		return err
	}
	if err := c.begin(); err != nil || c.trouble.host != nothing {
		return err
	}
	c.answer()
	if c.place != firstPage {
		now = time.Now()
		c.file(cellLog, c.events, cellLive, now, now)
	}
	return c.outlive(now)
}

// begin brings the trouble about, if it does not come with the answer.
func (c *cell) begin() error {
	switch {
	case !c.trouble.held:
	case c.place == saving:
		arrived := func() bool { return c.got.update() >= cellPage }
		if err := c.await("first page, whose cursor waits to be saved", cellLimit, arrived); err != nil {
			return err
		}
	case c.place == atExit:
		if err := c.await("checkpoint that is behind the first page", cellLimit, c.saved); err != nil {
			return err
		}
	}
	if c.trouble.begin == nil || c.place == atStart && !c.trouble.late {
		return nil
	}
	c.begun = time.Now()
	return c.trouble.begin(c)
}

// answer lets the call go on that is held, if there is one.
func (c *cell) answer() { c.let.Do(func() { close(c.goOn) }) }

// close ends the cell's Duo.
func (c *cell) close() {
	c.answer()
	c.duo.Close()
}

// reloaded waits until nothing is missing after a reload.
func (c *cell) reloaded() error {
	twice := func() bool { return c.rig.said.count(c.name, "duo_in ") == 2 }
	if err := c.await("second start", cellLimit, twice); err != nil {
		return err
	}
	c.answer()
	err := c.await("end of what is missing", cellLimit, c.complete)
	c.alone = err == nil
	return err
}

// outlive waits for what is to happen while the trouble lasts, ends it if it
// does not end by itself, and waits for what was held up by it.
func (c *cell) outlive(now time.Time) error {
	if c.hasOther() {
		c.file(otherLog, c.others, cellLive, now, now)
		if err := c.await("the other log's events", cellLimit, func() bool { return c.got.missing(otherLog) == 0 }); err != nil {
			return err
		}
	}
	if n := c.says(); n > 0 {
		if err := c.await("line about it", cellLimit, func() bool { return len(c.lines().begin) >= n }); err != nil {
			return err
		}
	}
	if c.trouble.refused && !c.trouble.waits {
		// What cannot be saved is delivered all the same.
		if err := c.await("end of what is missing", cellLimit, c.complete); err != nil {
			return err
		}
	}
	switch {
	case c.place == atExit, c.trouble.wait > 0 && !*patient:
		return nil
	case c.place == saving && !c.trouble.unsaved && !c.trouble.seldom:
		if err := c.await("checkpoint that is behind the first page", cellLimit, c.saved); err != nil {
			return err
		}
	}
	if c.place == saving || c.trouble.begin != nil {
		if err := c.mend(); err != nil {
			return err
		}
	}
	limit := cellLimit
	if c.trouble.wait > 0 {
		limit = slowLimit
	}
	err := c.await("end of what is missing", limit, c.complete)
	if err == nil && c.says() > 0 {
		err = c.await("line about its end", cellLimit, func() bool { return len(c.lines().end) > 0 })
	}
	c.alone = err == nil
	return err
}

// mend ends the trouble, unless it has ended.
func (c *cell) mend() error {
	if c.mended {
		return nil
	}
	c.mended, c.lasted = true, time.Since(c.begun)
	c.answer()
	c.server.ClearFaults()
	if c.trouble.end != nil {
		return c.trouble.end(c)
	}
	return nil
}

// whole waits until nothing is missing in the second run of the host, and what
// could not be saved in the first has come again, which takes a poll and a
// collect.
func (c *cell) whole() error {
	if err := c.await("end of what is missing", cellLimit, c.complete); err != nil {
		return err
	}
	if !c.again() || c.trouble.waits || len(c.rig.said.first(c.name).late) > 0 {
		return nil
	}
	return c.await("event that comes again", cellLimit, func() bool { return c.got.update() > 0 && c.got.twice() > 0 })
}

// again reports whether what came in the first run comes again in the second, as
// nothing could be saved; of a trouble that waits, nothing may have come.
func (c *cell) again() bool { return c.trouble.refused && c.place == atExit }

// complete reports whether all that was filed has arrived: each event has an
// event_id of its own, which Duo's id is not.
func (c *cell) complete() bool { return c.got.update() >= c.filed }

// saved reports whether the cursor that follows the first page is on the disk.
func (c *cell) saved() bool {
	folder := c.folder()
	if c.rig.space != nil {
		folder = c.rig.space.path(folder)
	}
	return storedCursor(folder, cellLog).Next != ""
}

// lines are what was said of the cell in the host's present run.
func (c *cell) lines() saidLines { return c.rig.said.last(c.name) }

// await waits for a condition, unless the host ends.
func (c *cell) await(what string, limit time.Duration, cond func() bool) error {
	for end := time.Now().Add(limit); !cond(); pause(100 * time.Millisecond) {
		switch {
		case closed(c.rig.gone):
			return fmt.Errorf("the host ended before the %s", what)
		case time.Now().After(end):
			return fmt.Errorf("no %s within %v: %d of %d events", what, limit, c.got.update(), c.filed)
		}
	}
	return nil
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// hangUp closes the listener, and with it the call that hangs at the place.
func (c *cell) hangUp() error {
	c.duo.Close()
	return nil
}

// listen takes hangUp back.
func (c *cell) listen() error {
	again, err := c.server.Listen(c.duo.Addr)
	if err == nil {
		c.duo = again
	}
	return err
}
