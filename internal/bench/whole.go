package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

// contender is one way to bring the same authentication events through.
type contender struct {
	name  string
	extra bool // for information: its turns are fewer
	run   func(ctx context.Context) (cost, error)
	runs  []cost
}

// measureWhole compares the whole way with other ways that the same events can go,
// in rounds, so that what else the machine does hits all alike.
func measureWhole(ctx context.Context, l *lab) ([]row, error) {
	n := l.scale.records
	file := filepath.Join(l.dir, "authentication.log")
	duo, err := startDuo(ctx, duoTask{Dir: l.dir, Tail: file, Backlogs: map[string]backlog{
		duotest.Authentication: tenant(n, time.Now())[duotest.Authentication],
	}})
	if err != nil {
		return nil, err
	}
	defer duo.end()
	ours, theirs := l.duoIn(duo, "json", n), l.tailed(file, n)
	contenders := []*contender{
		ours, theirs, l.role(duo, "plain", n), l.role(duo, "bytes", n), l.duoIn(duo, "flat", n), l.duoIn(duo, "raw", n), l.duoIn(duo, "cef", n),
	}
	for _, c := range contenders[2:] {
		c.extra = true
	}
	for round := range l.scale.rounds {
		for _, c := range contenders {
			if c.run == nil || c.extra && round >= l.scale.extraRounds {
				continue
			}
			took, err := c.run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			l.say("round %d: %-34s %6.1f µs a record, %.1f s", round+1, c.name, took.perRecord(), took.elapsed.Seconds())
			c.runs = append(c.runs, took)
		}
	}
	how := fmt.Sprintf("%s events of 1.7 KB, %d rounds, medians; memory storage; user and system time of the whole process, its start included, and so in the rates",
		thousands(float64(n)), l.scale.rounds)
	rows := []row{versus(ours, theirs, how)}
	for _, c := range contenders {
		if c.run == nil {
			continue
		}
		rows = append(rows, row{
			What: c.name,
			Measured: fmt.Sprintf("%s a record, at least %s; %s records a second", micros(medianOf(c.runs, cost.perRecord)), micros(leastOf(c.runs, cost.perRecord)),
				thousands(medianOf(c.runs, cost.rate))),
			How: fmt.Sprintf("as above, %d rounds", len(c.runs)),
		})
	}
	idle, err := l.nothing(ctx)
	if err != nil || idle == 0 {
		return rows, err
	}
	return append(rows, row{
		What: "Fluent Bit alone, part of each of the figures above", Measured: fmt.Sprintf("%v in 3 s", idle.Round(time.Millisecond)),
		How: "the same configuration with a file that stays empty",
	}), nil
}

// versus is the row that counts.
func versus(ours, theirs *contender, how string) row {
	b := budget{required: 1.5, goal: 1}
	r := row{What: "processor, the whole way, against Fluent Bit's tail with its json parser", Budget: "at most 1.5 times, goal 1.0", How: how}
	if theirs.run == nil {
		r.Verdict, r.Measured = unproven, "no Fluent Bit here"
		return r
	}
	us, them := medianOf(ours.runs, cost.perRecord), medianOf(theirs.runs, cost.perRecord)
	least := leastOf(ours.runs, cost.perRecord) / leastOf(theirs.runs, cost.perRecord)
	r.Measured = fmt.Sprintf("%.2f times: %s a record against %s; of the best rounds %.2f times", us/them, micros(us), micros(them), least)
	r.Verdict = b.judge(us / them)
	return r
}

// large keeps the one callback a second from being the bound.
var large = opt("batch_size", "64M")

// duoIn is duo_in in Fluent Bit, or in the C host where there is none.
func (l *lab) duoIn(duo *simulated, format string, n int) *contender {
	kind := l.best()
	return &contender{name: "duo_in, format " + format + ", in " + l.in(kind), run: func(ctx context.Context) (cost, error) {
		since, all := duo.since(n)
		h, err := l.start(setting{kind: kind, duo: duo, options: []flbtest.Option{
			large, opt("since", since), opt("logs", "authentication"), opt("format", format),
		}})
		if err != nil {
			return cost{}, err
		}
		defer h.Kill()
		return h.through(ctx, all)
	}}
}

// tailed is Fluent Bit's own way to take such events in; there is none without
// it.
func (l *lab) tailed(file string, n int) *contender {
	if l.fluentBit == "" {
		return &contender{}
	}
	return &contender{name: "tail with the json parser", run: func(ctx context.Context) (cost, error) {
		h, err := l.start(setting{kind: flbtest.FluentBit, input: tailOf(file)})
		if err != nil {
			return cost{}, err
		}
		defer h.Kill()
		return h.through(ctx, n)
	}}
}

func tailOf(file string) []flbtest.Option {
	return []flbtest.Option{opt("name", "tail"), opt("path", file), opt("parser", "json"), opt("read_from_head", "on")}
}

// role is one of this program's own ways to read the events.
func (l *lab) role(duo *simulated, role string, n int) *contender {
	names := map[string]string{
		"plain": "plain Go: encoding/json, codec; no host", "bytes": "nothing but reading the bytes; no host",
	}
	return &contender{name: names[role], run: func(ctx context.Context) (cost, error) {
		began := time.Now()
		a, err := startActor(ctx, role, walkTask{duo.access, duo.backlogs[duotest.Authentication].since(n)})
		if err != nil {
			return cost{}, err
		}
		var w walked
		if err := a.read(&w); err != nil {
			return cost{}, err
		}
		took := time.Since(began)
		if err := a.end(); err != nil {
			return cost{}, err
		}
		if w.Records != n {
			return cost{}, fmt.Errorf("%d records were read, want %d", w.Records, n)
		}
		return cost{cpu: a.cpu(), elapsed: took, records: n}, nil
	}}
}

// nothing is what Fluent Bit itself uses in three seconds from its start.
func (l *lab) nothing(ctx context.Context) (time.Duration, error) {
	if l.fluentBit == "" {
		return 0, nil
	}
	h, err := l.start(setting{kind: flbtest.FluentBit, input: tailOf(filepath.Join(l.dir, "empty"))})
	if err != nil {
		return 0, err
	}
	defer h.Kill()
	if err := wait(ctx, 3*time.Second); err != nil {
		return 0, err
	}
	return h.CPU()
}
