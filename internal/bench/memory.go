package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"duo_in/internal/flbtest"
)

// quickly is how often the C host asks where it stands for one that asks once a
// second, so that a run of many records is short, and yet no race for the
// processors. Its main thread empties its ring as often, so that no more than a
// batch waits there.
const quickly = 100 * time.Millisecond

// givesBack has C's malloc return large pieces to the system as soon as they are
// freed. Without it glibc's keeps some, of what the host copied: so they count as
// the plugin's, although it never had them.
const givesBack = "MALLOC_MMAP_THRESHOLD_=131072"

// held is what a process holds.
type held struct {
	rest int64 // bytes resident once it has come to rest
	peak int64 // the most that was resident

	records  int // that had gone through
	collects []flbtest.Collect
}

// measureMemory shows what duo_in holds in the C host at default options after
// more and more events, and what is the hosts' own.
func measureMemory(ctx context.Context, l *lab) ([]row, error) {
	counts := l.scale.memory
	duo, err := startDuo(ctx, duoTask{Dir: l.dir, Backlogs: tenant(slices.Max(counts), time.Now())})
	if err != nil {
		return nil, err
	}
	defer duo.end()
	series := func(counts []int, s setting) (runs []held, told string, err error) {
		s.duo = duo
		for _, n := range counts {
			since, all := duo.since(n)
			s.options = []flbtest.Option{opt("since", since)}
			h, err := l.holds(ctx, s, all)
			if err != nil {
				return nil, "", err
			}
			l.say("%s after %s records %s resident, at most %s %s", l.in(s.kind), thousands(float64(all)), megabytes(h.rest), megabytes(h.peak), strings.Join(s.env, " "))
			runs = append(runs, h)
			told += fmt.Sprintf(", %s after %s events", megabytes(h.rest), thousands(float64(h.records)))
		}
		return runs, strings.TrimPrefix(told, ", "), nil
	}
	inC := setting{kind: flbtest.CHost, collectEvery: quickly, logCollects: true}
	runs, told, err := series(counts, inC)
	if err != nil {
		return nil, err
	}
	inC.env = []string{givesBack}
	_, frugal, err := series([]int{counts[0], counts[len(counts)-1]}, inC)
	if err != nil {
		return nil, err
	}
	first, last := runs[0], runs[len(runs)-1]
	most := slices.MaxFunc(runs, func(a, b held) int { return cmp.Compare(a.rest, b.rest) })
	growth := last.rest - first.rest
	how := fmt.Sprintf("VmRSS at rest; for ten authentication events one of each other log; the C host asks every %v", quickly)
	rows := []row{
		{
			What: "memory in the C host once caught up, at default options", Budget: "at most 40 MB resident", How: how,
			Verdict:  budget{required: 40}.judge(float64(most.rest) / (1 << 20)),
			Measured: fmt.Sprintf("%s; at most %s on the way", told, megabytes(last.peak)),
		},
		{
			What: "its growth with the number of events", Budget: "at most 4 MB", How: "as above", Verdict: budget{required: 4}.judge(float64(growth) / (1 << 20)),
			Measured: fmt.Sprintf("%s from %s events to %s", megabytes(growth), thousands(float64(first.records)), thousands(float64(last.records))),
		},
		{What: "without what C's malloc keeps of the C host's freed copies", Measured: frugal, How: "as above, with " + givesBack},
	}
	if l.fluentBit != "" {
		// Which takes a batch a second: a million events would be a quarter of an hour.
		_, told, err := series(counts[:2], setting{kind: flbtest.FluentBit})
		if err != nil {
			return nil, err
		}
		rows = append(rows, row{What: "memory of " + l.version + " with duo_in once caught up, at default options", Measured: told, How: "VmRSS at rest"})
	}
	own, err := l.own(ctx)
	return append(rows, collectRow(last.collects), own), err
}

// collectRow is about what Fluent Bit's thread waits for.
func collectRow(collects []flbtest.Collect) row {
	var took, ran []float64
	for _, c := range collects {
		took = append(took, c.Took.Seconds()*1e3)
		ran = append(ran, (c.Took-c.Queued).Seconds()*1e3)
	}
	return row{
		What: "the callback that hands over, at default options", Budget: "p99.9 at most 5 ms", Verdict: budget{required: 5}.judge(percentile(took, 0.999)),
		Measured: fmt.Sprintf("p99.9 %.2f ms, at most %.2f ms, median %.2f ms; without its waiting for a processor p99.9 %.2f ms",
			percentile(took, 0.999), percentile(took, 1), median(took), percentile(ran, 0.999)),
		How: fmt.Sprintf("all %d calls that brought something in the longest of these runs", len(collects)),
	}
}

// own is what the hosts hold without duo_in.
func (l *lab) own(ctx context.Context) (row, error) {
	hosts := []struct {
		name string
		n    int
		setting
	}{
		{"the C host alone", 1, setting{kind: flbtest.CHost, collectEvery: quickly, options: []flbtest.Option{opt("limit", "1")}}},
		{"Fluent Bit alone", 0, l.alone(flbtest.FluentBit)},
	}
	var told []string
	for _, s := range hosts {
		if s.kind == flbtest.FluentBit && l.fluentBit == "" {
			continue
		}
		h, err := l.holds(ctx, s.setting, s.n)
		if err != nil {
			return row{}, fmt.Errorf("%s: %w", s.name, err)
		}
		told = append(told, s.name+" "+megabytes(h.rest))
	}
	l.say("%s", strings.Join(told, ", "))
	return row{What: "memory of the hosts", Measured: strings.Join(told, ", "), How: "VmRSS at rest"}, nil
}

// holds brings n records through and looks at what the host then holds.
func (l *lab) holds(ctx context.Context, s setting, n int) (held, error) {
	h, err := l.start(s)
	if err != nil {
		return held{}, err
	}
	defer h.Kill()
	if _, err := h.through(ctx, n); err != nil {
		return held{}, err
	}
	u, err := l.rests(ctx, h)
	return held{u.Resident, u.Peak, n, h.Collects(tag)}, err
}

// rests is what a host at rest holds, its memory the median of ten looks.
func (l *lab) rests(ctx context.Context, h *host) (flbtest.Usage, error) {
	var resident []float64
	var last flbtest.Usage
	for range 10 {
		if err := wait(ctx, l.scale.settle/10); err != nil {
			return last, err
		}
		u, err := h.Usage()
		if err != nil {
			return last, err
		}
		last = u
		resident = append(resident, float64(u.Resident))
	}
	last.Resident = int64(median(resident))
	return last, nil
}

// measureOutage shows that memory stays where it is while nothing can be
// delivered: in the C host, which is paused, and in Fluent Bit, whose output is
// down.
func measureOutage(ctx context.Context, l *lab) ([]row, error) {
	duo, err := startDuo(ctx, duoTask{Dir: l.dir, Backlogs: tenant(l.scale.records, time.Now())})
	if err != nil {
		return nil, err
	}
	defer duo.end()
	port, err := flbtest.FindPort()
	if err != nil {
		return nil, err
	}
	since, _ := duo.since(l.scale.records)
	down := []flbtest.Option{opt("name", "tcp"), opt("host", "127.0.0.1"), opt("port", fmt.Sprint(port)), opt("retry_limit", "no_limits")}
	beds := []struct {
		what string
		setting
		begin func(*host) error
	}{
		{
			"the C host, paused", setting{kind: flbtest.CHost, collectEvery: quickly},
			func(h *host) error { return h.Command(ctx, "pause "+tag) },
		},
		{
			l.version + ", an output that is down, mem_buf_limit 5M", setting{kind: flbtest.FluentBit, output: down},
			func(*host) error { return nil },
		},
	}
	var rows []row
	for _, b := range beds {
		if b.kind == flbtest.FluentBit && l.fluentBit == "" {
			continue
		}
		b.duo, b.options = duo, []flbtest.Option{opt("since", since)}
		if b.kind == flbtest.FluentBit {
			b.options = append(b.options, opt("mem_buf_limit", "5M"))
		}
		growth, at, err := l.outage(ctx, b.setting, b.begin)
		if err != nil {
			return nil, err
		}
		l.say("%s: %s, %+.1f MB during the outage", b.what, megabytes(at), growth)
		rows = append(rows, row{
			What: "memory in an outage of the output, in " + b.what, Budget: "flat: at most 2 MB more", Verdict: budget{required: 2}.judge(growth),
			Measured: fmt.Sprintf("%s, %+.1f MB in %v", megabytes(at), growth, l.scale.outage),
			How:      "VmRSS at rest, once the queue is full, and at the end of the outage",
		})
	}
	return rows, nil
}

// outage is by how many MB the memory of a host grows during an outage, and the
// bytes that it holds at its end.
func (l *lab) outage(ctx context.Context, s setting, begin func(*host) error) (growth float64, at int64, err error) {
	h, err := l.start(s)
	if err != nil {
		return 0, 0, err
	}
	defer h.Kill()
	if err := errors.Join(h.WaitReady(ctx), begin(h)); err != nil {
		return 0, 0, err
	}
	// The queue is full in less than this, and what is read ahead of it is there.
	if err := wait(ctx, 6*time.Second); err != nil {
		return 0, 0, err
	}
	before, err := l.rests(ctx, h)
	if err != nil {
		return 0, 0, err
	}
	if err := wait(ctx, l.scale.outage); err != nil {
		return 0, 0, err
	}
	after, err := l.rests(ctx, h)
	return float64(after.Resident-before.Resident) / (1 << 20), after.Resident, err
}
