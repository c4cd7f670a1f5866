package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

// measureRate shows how much of what a callback may bring it brings.
func measureRate(ctx context.Context, l *lab) ([]row, error) {
	const batchSize = 2 << 20
	duo, err := startDuo(ctx, duoTask{Dir: l.dir, Backlogs: tenant(l.scale.records, time.Now())})
	if err != nil {
		return nil, err
	}
	defer duo.end()
	since, _ := duo.since(l.scale.records)
	h, err := l.start(setting{kind: flbtest.CHost, duo: duo, logCollects: true, options: []flbtest.Option{opt("since", since)}})
	if err != nil {
		return nil, err
	}
	defer h.Kill()
	if err := wait(ctx, l.scale.rate); err != nil {
		return nil, err
	}
	share, n := fullness(h.Collects(tag), batchSize)
	u, err := h.Usage()
	if err != nil {
		return nil, err
	}
	l.say("%.1f %% of batch_size in each of %d callbacks, %s resident at most", 100*share, n, megabytes(u.Peak))
	rows := []row{{
		What: "throughput at default options", Budget: "at least 95 % of batch_size per callback",
		Verdict:  budget{required: 0.95, least: true}.judge(share),
		Measured: fmt.Sprintf("%.1f %% of 2 MiB, mean of %d callbacks", 100*share, n),
		How:      "bytes of each callback while there is a backlog, in the C host; the first is left out",
	}, {
		What: "memory in the C host while it catches up, at default options", Budget: "at most 40 MB resident",
		Verdict: budget{required: 40}.judge(float64(u.Peak) / (1 << 20)), Measured: megabytes(u.Peak) + " at its peak",
		How: fmt.Sprintf("VmHWM after %v; the host asks once a second, as Fluent Bit does", l.scale.rate),
	}}
	at32, err := l.at32(ctx, duo)
	return append(rows, at32), err
}

// fullness is the mean of what callbacks brought, in parts of size, and of how
// many. The first one comes before there was time to read much.
func fullness(collects []flbtest.Collect, size int) (share float64, n int) {
	if len(collects) < 2 {
		return 0, 0
	}
	sum := 0
	for _, c := range collects[1:] {
		sum += c.Bytes
	}
	n = len(collects) - 1
	return float64(sum) / float64(n) / float64(size), n
}

// at32 tells how long all the events take with a large batch_size.
func (l *lab) at32(ctx context.Context, duo *simulated) (row, error) {
	since, all := duo.since(l.scale.records)
	h, err := l.start(setting{kind: l.best(), duo: duo, options: []flbtest.Option{opt("since", since), opt("batch_size", "32M")}})
	if err != nil {
		return row{}, err
	}
	defer h.Kill()
	c, err := h.through(ctx, all)
	return row{
		What:     fmt.Sprintf("%s events at batch_size 32M", thousands(float64(all))),
		Measured: fmt.Sprintf("%.1f s from the start, %s events a second", c.elapsed.Seconds(), thousands(c.rate())),
		How:      "all three logs, in " + l.in(l.best()),
	}, err
}

// measureLatency shows that a log is read as fast as one call after the other
// allows.
func measureLatency(ctx context.Context, l *lab) ([]row, error) {
	const latency, full = 300 * time.Millisecond, float64(pageSize) / 0.3
	duo, err := startDuo(ctx, duoTask{Dir: l.dir, Latency: latency, Backlogs: map[string]backlog{
		duotest.Authentication: tenant(l.scale.far, time.Now())[duotest.Authentication],
	}})
	if err != nil {
		return nil, err
	}
	defer duo.end()
	since, all := duo.since(l.scale.far)
	kind := l.best()
	h, err := l.start(setting{kind: kind, duo: duo, options: []flbtest.Option{
		opt("since", since), opt("logs", "authentication"), opt("batch_size", "8M"),
	}})
	if err != nil {
		return nil, err
	}
	defer h.Kill()
	if _, err := h.through(ctx, all); err != nil {
		return nil, err
	}
	calls, err := duo.calls(time.Time{})
	if err != nil {
		return nil, err
	}
	rate, pages := pace(calls)
	l.say("%s records a second over %d pages", thousands(rate), pages)
	return []row{{
		What: "300 ms latency per call, batch_size 8M", Budget: "at least 90 % of 1000 records per 300 ms",
		Verdict:  budget{required: 0.9, least: true}.judge(rate / full),
		Measured: fmt.Sprintf("%.1f %%: %s records a second", 100*rate/full, thousands(rate)),
		How:      fmt.Sprintf("from call to call, over %d pages, in %s", pages, l.in(kind)),
	}}, nil
}

// pace is how many records a second calls fetch, from the first full page's call
// to the last one's.
func pace(calls []duotest.Call) (rate float64, pages int) {
	calls = slices.DeleteFunc(slices.Clone(calls), func(c duotest.Call) bool { return c.Records == 0 })
	if len(calls) < 2 {
		return 0, len(calls)
	}
	records := 0
	for _, c := range calls[:len(calls)-1] {
		records += c.Records
	}
	return float64(records) / calls[len(calls)-1].At.Sub(calls[0].At).Seconds(), len(calls)
}

// measureStart shows how long it takes from the start of a host to its first
// record. Callbacks come with the clock's full seconds, so that the starts are
// spread over one.
func measureStart(ctx context.Context, l *lab) ([]row, error) {
	duo, err := startDuo(ctx, duoTask{Dir: l.dir, Backlogs: tenant(1000, time.Now())})
	if err != nil {
		return nil, err
	}
	defer duo.end()
	var rows []row
	for _, kind := range []flbtest.Kind{flbtest.CHost, flbtest.FluentBit} {
		if kind == flbtest.FluentBit && l.fluentBit == "" {
			continue
		}
		var took []float64
		for i := range l.scale.starts {
			phase := time.Duration(i) * time.Second / time.Duration(l.scale.starts)
			if err := wait(ctx, time.Until(time.Now().Truncate(time.Second).Add(time.Second+phase))); err != nil {
				return rows, err
			}
			s, err := l.firstRecord(ctx, kind, duo)
			if err != nil {
				return rows, err
			}
			took = append(took, s.Seconds())
		}
		l.say("%s: %.2f s, at most %.2f s", l.in(kind), median(took), slices.Max(took))
		rows = append(rows, row{
			What: "start to first record, in " + l.in(kind), Budget: "at most 1.5 s", Verdict: budget{required: 1.5}.judge(slices.Max(took)),
			Measured: fmt.Sprintf("at most %.2f s, median %.2f s", slices.Max(took), median(took)),
			How:      fmt.Sprintf("from exec to the first byte in the output file, with flush 0.1 in Fluent Bit; %d starts spread over the second between two callbacks", len(took)),
		})
	}
	return rows, nil
}

// firstRecord starts a host and waits until it has delivered something.
func (l *lab) firstRecord(ctx context.Context, kind flbtest.Kind, duo *simulated) (time.Duration, error) {
	out := filepath.Join(l.dir, "first")
	if err := errors.Join(os.RemoveAll(out), os.MkdirAll(out, 0o700)); err != nil {
		return 0, err
	}
	h, err := l.start(setting{
		kind: kind, duo: duo, keep: true, flush: "0.1", output: []flbtest.Option{opt("name", "file"), opt("path", out), opt("file", tag)},
	})
	if err != nil {
		return 0, err
	}
	defer h.Kill()
	file := filepath.Join(out, tag)
	if kind == flbtest.CHost {
		file = filepath.Join(h.dir, "out", tag+".msgpack")
	}
	for {
		if info, err := os.Stat(file); err == nil && info.Size() > 0 {
			return time.Since(h.began), nil
		}
		if err := wait(ctx, 5*time.Millisecond); err != nil {
			return 0, fmt.Errorf("first record: %w; the log ends:\n%s", err, tail(h.Log(), 2000))
		}
	}
}
