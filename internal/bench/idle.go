package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

// often is the shortest poll_interval that duo_in takes without a warning.
const often = 10 * time.Second

// measureIdle shows what is used where nothing happens, beside what the host uses
// without duo_in, and that Duo sees one call for each log and poll_interval.
func measureIdle(ctx context.Context, l *lab) ([]row, error) {
	var duos [2]*simulated
	for i := range duos {
		var err error
		if duos[i], err = startDuo(ctx, duoTask{Dir: l.dir, Backlogs: small(time.Now())}); err != nil {
			return nil, err
		}
		defer duos[i].end()
	}
	kind := l.best()
	var hosts []*host
	for _, s := range []setting{
		{kind: kind, duo: duos[0]},
		{kind: kind, duo: duos[1], options: []flbtest.Option{opt("poll_interval", often.String())}},
		l.alone(kind),
	} {
		s.silent = true
		h, err := l.start(s)
		if err != nil {
			return nil, err
		}
		defer h.Kill()
		hosts = append(hosts, h)
	}
	if err := wait(ctx, often); err != nil { // all is read by then, and the first checkpoints are written
		return nil, err
	}
	begin := time.Now()
	used, err := l.used(ctx, hosts, l.scale.idle)
	if err != nil {
		return nil, err
	}
	calls, err := duos[1].calls(begin)
	if err != nil {
		return nil, err
	}
	at := regularity(calls, begin, time.Now())
	ours := used[0] - used[2]
	l.say("%.3f %% of a core, %.3f %% without duo_in; %s", 100*used[0], 100*used[2], at)
	wrong := 0.0
	if at.shortest < often-time.Second || at.longest > often+time.Second || at.streams != len(duotest.Logs()) {
		wrong = 1
	}
	return []row{
		{
			What: "idle, processor", Budget: "less than 0.1 % of a core", Verdict: budget{required: 0.1}.judge(100 * ours),
			Measured: fmt.Sprintf("%.3f %% more than the host alone: %.3f %% against %.3f %%; with poll_interval %v %.3f %% in all", 100*ours, 100*used[0], 100*used[2], often, 100*used[1]),
			How:      fmt.Sprintf("default options, three logs without new events, %v, in %s", l.scale.idle, l.in(kind)),
		},
		{
			What: "idle, calls", Budget: "one call for each log and poll_interval", Verdict: budget{}.judge(wrong),
			Measured: at.String(), How: fmt.Sprintf("poll_interval %v, three logs, %v, as Duo sees it", often, l.scale.idle),
		},
	}, nil
}

// small is the past of a small tenant: the last event is followed by silence.
func small(now time.Time) map[string]backlog {
	few := backlog{End: now.Add(-3 * time.Minute), Step: time.Minute, N: 20}
	return map[string]backlog{duotest.Authentication: few, duotest.Activity: few, duotest.Telephony: few}
}

// alone is a host without duo_in.
func (l *lab) alone(kind flbtest.Kind) setting {
	if kind == flbtest.CHost {
		return setting{kind: kind, options: []flbtest.Option{opt("limit", "1")}}
	}
	return setting{kind: kind, input: tailOf(filepath.Join(l.dir, "empty"))}
}

// used is the share of a core that each host uses in some time.
func (l *lab) used(ctx context.Context, hosts []*host, length time.Duration) (shares []float64, err error) {
	before := make([]time.Duration, len(hosts))
	for i, h := range hosts {
		if before[i], err = h.CPU(); err != nil {
			return nil, err
		}
	}
	if err := wait(ctx, length); err != nil {
		return nil, err
	}
	for i, h := range hosts {
		after, err := h.CPU()
		if err != nil {
			return nil, err
		}
		shares = append(shares, (after-before[i]).Seconds()/length.Seconds())
	}
	return shares, nil
}

// regular is how regularly streams were asked.
type regular struct {
	streams           int           // that were asked at all
	calls             int           // of all of them
	shortest, longest time.Duration // between two calls of one stream; longest also from begin, and to end
	firstMost         int           // of the streams' first calls, the most within a second
}

// regularity looks at calls of the time from begin to end.
func regularity(calls []duotest.Call, begin, end time.Time) regular {
	type stream struct{ account, log string }
	last := map[stream]time.Time{}
	first := map[int]int{} // by second
	r := regular{shortest: end.Sub(begin)}
	for _, c := range calls {
		if c.Log == "" {
			continue // of the Accounts API
		}
		r.calls++
		s := stream{c.Account, c.Log}
		before, known := last[s]
		if !known {
			n := int(c.At.Sub(begin) / time.Second)
			first[n]++
			r.firstMost = max(r.firstMost, first[n])
			before = begin
		} else {
			r.shortest = min(r.shortest, c.At.Sub(before))
		}
		r.longest = max(r.longest, c.At.Sub(before))
		last[s] = c.At
	}
	for _, at := range last {
		r.longest = max(r.longest, end.Sub(at))
	}
	r.streams = len(last)
	return r
}

func (r regular) String() string {
	return fmt.Sprintf("%d calls of %d streams, %.1f to %.1f s from one to the next", r.calls, r.streams, r.shortest.Seconds(), r.longest.Seconds())
}
