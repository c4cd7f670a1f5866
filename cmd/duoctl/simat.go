package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"duo_in/duo/duotest"
)

// happening is what -at plans: something that begins so long after the start.
type happening struct {
	text   string // as it was given
	after  time.Duration
	kind   string
	length time.Duration
	events int // of a burst, for each log of each account
}

const (
	burst = "burst"

	// burstLength is the time that a burst's events are spread over: version 1 of a log cannot show many of one second.
	burstLength = 10 * time.Second
)

// refusals are the kinds of happenings in which Duo does not answer as it should: for each, what every call meets. A 429
// comes as Duo sends it, without a Retry-After.
var refusals = map[string]duotest.Fault{
	"outage":   {Kind: duotest.FaultStatus, Status: http.StatusServiceUnavailable},
	"limited":  {Kind: duotest.FaultStatus, Status: http.StatusTooManyRequests},
	"rejected": {Kind: duotest.FaultStatus, Status: http.StatusBadRequest},
	"denied":   {Kind: duotest.FaultStatus, Status: http.StatusForbidden},
	"missing":  {Kind: duotest.FaultStatus, Status: http.StatusNotFound},
	"reset":    {Kind: duotest.FaultReset},
	"hang":     {Kind: duotest.FaultHang},
}

// parseHappening reads "TIME KIND HOWMUCH": a burst has a number of events, all else a length.
func parseHappening(text string) (happening, error) {
	h := happening{text: text, length: burstLength}
	words := strings.Fields(text)
	if len(words) != 3 {
		return h, fmt.Errorf(`want "TIME KIND HOWMUCH", such as "1m outage 30s"`)
	}
	h.kind = words[1]
	var err error
	if h.after, err = time.ParseDuration(words[0]); err != nil || h.after < 0 {
		return h, fmt.Errorf("time %q: want one of 0s or more, such as 90s", words[0])
	}
	if h.kind == burst {
		if h.events, err = strconv.Atoi(words[2]); err != nil || h.events < 1 {
			return h, fmt.Errorf("%q events: want a number of 1 or more", words[2])
		}
		return h, nil
	}
	if _, ok := refusals[h.kind]; !ok {
		return h, fmt.Errorf("kind %q: want burst, outage, limited, rejected, denied, missing, reset or hang", h.kind)
	}
	if h.length, err = time.ParseDuration(words[2]); err != nil || h.length <= 0 {
		return h, fmt.Errorf("length %q: want one of more than 0s, such as 30s", words[2])
	}
	return h, nil
}

// fault is what the calls of that time meet; there is none of a burst.
func (h happening) fault(begin time.Time) (f duotest.Fault, ok bool) {
	if f, ok = refusals[h.kind]; !ok {
		return f, false
	}
	from, to := begin.Add(h.after), begin.Add(h.after+h.length)
	f.N = -1 // all of them
	f.Match = func(c duotest.Call) bool { return !c.At.Before(from) && c.At.Before(to) }
	return f, true
}

// plan gives the server all refusals, each of which ends by itself.
func (o simOptions) plan(server *duotest.Server, begin time.Time) {
	for _, h := range o.happenings {
		if f, ok := h.fault(begin); ok {
			server.Fault(f)
		}
	}
}

// bursts returns how many events of bursts each log should have had after this time.
func (o simOptions) bursts(passed time.Duration) (events int) {
	for _, h := range o.happenings {
		done := min(max(passed-h.after, 0), h.length)
		events += int(float64(h.events) * done.Seconds() / h.length.Seconds())
	}
	return events
}

// announce says when something begins, until all has or the context ends.
func (o simOptions) announce(ctx context.Context, begin time.Time, stdout io.Writer) {
	planned := slices.Clone(o.happenings)
	slices.SortStableFunc(planned, func(a, b happening) int { return cmp.Compare(a.after, b.after) })
	for _, h := range planned {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(begin.Add(h.after))):
		}
		fmt.Fprintf(stdout, "duoctl sim: begins: %s\n", h.text)
	}
}
