//go:build cgo

package scenario

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

// place is where in a stream's life a trouble begins: a column of the table in
// docs/guarantees.md.
type place string

const (
	atStart    place = "at start"
	firstPage  place = "first page"
	middlePage place = "middle page"
	emptyPage  place = "empty page"
	idlePoll   place = "idle poll"
	saving     place = "during a save"
	atExit     place = "at exit"
)

var places = []place{atStart, firstPage, middlePage, emptyPage, idlePoll, saving, atExit}

var placeHelp = map[place]string{
	atStart:    "from before the host starts",
	firstPage:  "the call that brings the first of what is new, in a run that had caught up",
	middlePage: "the second page of three",
	emptyPage:  "the last one of a window, behind a full one",
	idlePoll:   "a poll that brings nothing",
	saving:     "from before a page's cursor is due to be saved until it is saved",
	atExit:     "from a middle page on, until the host is stopped",
}

// trouble is something that goes wrong: a row of the table.
type trouble struct {
	name    string
	call    duotest.Fault    // what the call at the place meets, and N-1 more; N is 2 unless set
	wait    time.Duration    // the least time until the plugin tries again, if it is long: only a run with -patient sees it
	opens   bool             // for a page behind another it tries at once first, in another way
	calm    bool             // nothing is to be said of it
	quiet   place            // the one place where nothing is to be said of it
	whole   bool             // it hits all of the input's logs, not one
	odd     bool             // the records are odd
	backlog int              // events to begin with, if it takes more than a few
	never   map[place]string // where it cannot be, and why
	set     []flbtest.Option // options of the input, beyond those of every cell

	// begin brings about what does not come with an answer, before the host is
	// started or while the call at the place waits; end takes it back.
	begin, end func(*cell) error
	held       bool // the call at the place waits until begin has returned
	late       bool // also at the start it begins with a call
	host       deed // what is done to the host, once each cell's call waits
	where      room // what the host has to run in
	unsaved    bool // nothing is saved while it lasts
	refused    bool // at the start the host is; and at exit what came since the last save comes again
	waits      bool // what cannot be saved may wait at Duo, and not be delivered, until it can
	seldom     bool // it is said only if it hits a save, which is as good as never
}

// deed is done to a host while each of its inputs waits for an answer.
type deed int

const (
	nothing  deed = iota
	stopIt        // SIGTERM
	reloadIt      // SIGHUP, or the C host's command
)

// room is what a trouble needs of its host.
type room int

const (
	anywhere room = iota
	inCHost       // which takes commands
	inSpace       // disks and names of its own
)

// Why a place has no trouble of a kind.
const (
	needsOffset  = "only a page that follows another can be like that"
	needsRecords = "it takes a page with records"
	needsMany    = "it takes many pages with records, and comes in the middle of them"
	doesNotLast  = "it is over within seconds, by itself or because the plugin finds a way round it"
	isTheExit    = "it is the exit"
)

// offsetOnly is never of a trouble with pages that follow another.
var offsetOnly = map[place]string{atStart: needsOffset, firstPage: needsOffset, idlePoll: needsOffset, saving: doesNotLast, atExit: doesNotLast}

// apiTroubles are those that come from Duo or from the way there.
var apiTroubles = []trouble{
	{name: "HTTP 429", wait: time.Minute, call: duotest.Fault{Kind: duotest.FaultRateLimit, Header: http.Header{"Retry-After": nil}}},
	{name: "HTTP 500", call: duotest.Fault{Kind: duotest.FaultStatus}},
	{name: "HTTP 502 with a page for people", call: duotest.Fault{Kind: duotest.FaultHTML}},
	{name: "HTTP 503", call: duotest.Fault{Kind: duotest.FaultStatus, Status: http.StatusServiceUnavailable}},
	{name: "HTTP 200 with a page for people", call: duotest.Fault{Kind: duotest.FaultHTML, Status: http.StatusOK}},
	{name: "`stat` FAIL", call: duotest.Fault{Kind: duotest.FaultFail}},
	{name: "broken JSON", call: duotest.Fault{Kind: duotest.FaultBroken}},
	{name: "answer cut off", call: duotest.Fault{Kind: duotest.FaultTruncate}},
	// A GET over a connection that was used before is repeated by net/http, so that two resets may be one failed call.
	{name: "connection reset", call: duotest.Fault{Kind: duotest.FaultReset, N: 3}},
	{name: "connection refused", call: duotest.Fault{Kind: duotest.FaultHang, N: 1}, whole: true, begin: (*cell).hangUp, end: (*cell).listen},
	{name: "no answer", call: duotest.Fault{Kind: duotest.FaultHang, N: 1}},
	{name: "HTTP 400", wait: 5 * time.Minute, opens: true, call: duotest.Fault{Kind: duotest.FaultStatus, Status: http.StatusBadRequest}},
	{name: "HTTP 400 for a `next_offset`", call: duotest.Fault{Kind: duotest.FaultStatus, Status: http.StatusBadRequest, N: 1}, never: offsetOnly},
	{name: "HTTP 401", wait: 5 * time.Minute, call: duotest.Fault{Kind: duotest.FaultStatus, Status: http.StatusUnauthorized}},
	{name: "HTTP 403", wait: 5 * time.Minute, call: duotest.Fault{Kind: duotest.FaultStatus, Status: http.StatusForbidden}},
	{name: "HTTP 404", wait: 5 * time.Minute, call: duotest.Fault{Kind: duotest.FaultStatus, Status: http.StatusNotFound}},
	{name: "HTTP 410", wait: 5 * time.Minute, call: duotest.Fault{Kind: duotest.FaultStatus, Status: http.StatusGone}},
	{name: "redirect", wait: 5 * time.Minute, call: duotest.Fault{Kind: duotest.FaultRedirect}},
	{name: "answer over 16 MiB", call: duotest.Fault{Kind: duotest.FaultHuge, Size: 17 << 20, N: 1, Match: severalAsked},
		never: map[place]string{saving: doesNotLast, atExit: doesNotLast}},
	{name: "the same `next_offset` again", call: duotest.Fault{Kind: duotest.FaultSameOffset}, never: offsetOnly,
		quiet: emptyPage}, // which ends the window, whatever its next_offset
	{name: "a page from before", call: duotest.Fault{Kind: duotest.FaultRewind}, never: offsetOnly},
	{name: "odd records", odd: true, calm: true, call: duotest.Fault{Kind: duotest.FaultRewrite, Rewrite: unchanged},
		never: map[place]string{emptyPage: needsRecords, idlePoll: needsRecords, saving: doesNotLast, atExit: doesNotLast}},
}

// severalAsked spares calls for a single record.
func severalAsked(c duotest.Call) bool { return c.Param("limit") != "1" }

func unchanged(body []byte) []byte { return body }

// Every trouble at every place, in each host: nothing is missing and nothing
// comes twice, it is said once when it begins and once when it ends, and the
// others go on. What was seen is the table of docs/guarantees.md: a run with
// -update writes it, which takes -patient and both hosts, and any other run
// compares what it saw.
func TestFaults(t *testing.T) {
	t.Parallel()
	seen := newSightings()
	t.Cleanup(func() { seen.settle(t) })
	for _, kind := range []flbtest.Kind{flbtest.CHost, flbtest.FluentBit} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			var rigs sync.WaitGroup
			for _, r := range newRigs(t, kind, seen) {
				rigs.Go(r.run)
			}
			rigs.Wait()
		})
	}
}

// perHost is how many inputs share a host: the C host has room for 64.
const perHost = 60

// newRigs deals the cells to hosts: those whose trouble is the host's, or keeps
// it from starting, have one of their own.
func newRigs(t *testing.T, kind flbtest.Kind, seen *sightings) (rigs []*rig) {
	type sort struct {
		where room
		host  deed
		alone *cell
	}
	dealt := map[sort][]*cell{}
	for _, tr := range allTroubles() {
		for _, p := range places {
			c := &cell{trouble: tr, place: p}
			switch s := (sort{where: tr.where, host: tr.host}); {
			case tr.never[p] != "":
				seen.never(tr, p, tr.never[p])
			case tr.where == inCHost && kind != flbtest.CHost:
			case tr.refused && p == atStart:
				s.alone = c
				fallthrough
			default:
				dealt[s] = append(dealt[s], c)
			}
		}
	}
	for s, cells := range dealt {
		for part := range slices.Chunk(cells, perHost) {
			r := newRig(newBed(t, kind, duotest.Config{}), seen, part)
			r.deed, r.refused = s.host, s.alone != nil
			if s.where == inSpace && !r.enterSpace() {
				continue
			}
			rigs = append(rigs, r)
		}
	}
	return rigs
}

// rig is a host and the cells whose inputs it has.
type rig struct {
	*bed
	seen   *sightings
	cells  []*cell
	host   *flbtest.Process
	gone   chan struct{} // closed when the host is
	until  time.Time     // when it was first stopped
	said   *lineSorter
	bin    string // of the host
	number int32
	space  *space // that the host runs in; nil: this process's

	deed    deed
	refused bool // the host does not start while the trouble lasts
}

// rigCount numbers the rigs of this process.
var rigCount atomic.Int32

// address is where the n-th cell's Duo listens: an address of the loopback
// interface that nobody else uses, so that it can be had again once it was
// given up.
func (r *rig) address(n int) string {
	return fmt.Sprintf("127.%d.%d.%d", 1+os.Getpid()%254, r.number%256, 1+n)
}

func newRig(b *bed, seen *sightings, cells []*cell) *rig {
	r := &rig{bed: b, seen: seen, cells: cells, said: newLineSorter(), bin: artifacts.hosts[b.kind], number: rigCount.Add(1)}
	for i, c := range cells {
		c.join(r, i)
	}
	return r
}

// run starts the host, lets each cell meet its trouble, stops the host while
// those of atExit last, and those that only a patient run waits for, and starts
// it again without any.
func (r *rig) run() {
	for _, c := range r.cells {
		defer c.close()
	}
	r.each((*cell).plan)
	if !r.launch() {
		return
	}
	if r.refused {
		r.awaitRefusal()
	} else {
		r.each((*cell).live)
		if r.deed == reloadIt {
			r.reload()
		}
		r.halt()
	}
	r.each((*cell).mend)
	if !r.launch() {
		return
	}
	r.each((*cell).whole)
	r.halt()
	for _, c := range r.cells {
		c.report()
	}
}

// awaitRefusal waits for the host to give up its start.
func (r *rig) awaitRefusal() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if exit, err := r.host.Wait(ctx); err != nil || exit == 0 {
		r.t.Errorf("exit status %d (%v), want another than 0", exit, err)
		return
	}
	<-r.gone
}

// reload has the host do a hot reload, after which all is to go on.
func (r *rig) reload() {
	pause(settled)
	var err error
	if r.kind == flbtest.CHost {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		err = r.host.Command(ctx, "reload")
	} else {
		err = r.host.Signal(syscall.SIGHUP)
	}
	if err != nil {
		r.t.Error(err)
	}
	r.each((*cell).reloaded)
}

// each has all cells do something at once.
func (r *rig) each(f func(*cell) error) {
	var all sync.WaitGroup
	for _, c := range r.cells {
		all.Go(func() {
			if err := f(c); err != nil {
				r.t.Errorf("%s, %s: %v; lines:\n%s", c.trouble.name, c.place, err, strings.Join(r.said.of(c.name), "\n"))
			}
		})
	}
	all.Wait()
}

// launch starts the host with the cells' inputs.
func (r *rig) launch() bool {
	if err := r.launched(); err != nil {
		r.t.Error(err)
		return false
	}
	return true
}

func (r *rig) launched() error {
	r.said.newRun()
	spec := r.spec
	spec.Stdout, spec.Stderr = r.said, r.said
	spec.Grace, spec.HotReload = time.Second, true
	spec.Env = append(spec.Env, "GODEBUG=netdns=go", "DUO_SECRET_KEY="+duotest.SecretKey, "HTTPS_PROXY=", "https_proxy=")
	for _, c := range r.cells {
		spec.Inputs = append(spec.Inputs, c.input())
	}
	var err error
	if r.host, err = flbtest.Start(r.kind, r.bin, spec); err != nil {
		return err
	}
	r.hosts = append(r.hosts, r.host)
	host, gone := r.host, make(chan struct{})
	r.gone = gone
	r.t.Cleanup(func() { _ = host.Kill() })
	go func() {
		defer close(gone)
		_, _ = host.Wait(context.Background()) // the cleanup ends it at the latest
	}()
	return nil
}

// settled is how old what was handed over has to be for none of it to come
// again after a clean stop: a little more than the half second of the promise.
const settled = 600 * time.Millisecond

// halt stops the host, which must end well.
func (r *rig) halt() {
	pause(settled)
	if r.until.IsZero() {
		r.until = time.Now()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := r.host.Stop(ctx); err != nil {
		r.t.Error(err)
		return
	}
	<-r.gone
}
