// Command bench measures what duo_in costs, each figure beside its budget and
// beside what else there is, in one run on one machine.
//
// It promises that what is compared is measured in turns, that the simulated Duo
// and every other helper is a process of its own whose cost is not counted, that
// nothing is subtracted, and that no process and no file outlives it, also when it
// is interrupted, but for the report. Where there is no Fluent Bit it measures in
// the C host, and says so.
//
// It must run in the module, with Go and a C compiler, on Linux; "make bench"
// does. Times of an elapsed clock are those of the machine and of what else it
// does; the processor's time and the ratios are less so.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// scale is how much is measured.
type scale struct {
	records     int           // authentication events of the whole way
	rounds      int           // in which duo_in and tail take turns
	extraRounds int           // of them, those in which the others do too
	pages       int           // of our own share
	shareRounds int           // over them
	memory      []int         // events after which memory is looked at
	settle      time.Duration // for which memory is looked at
	outage      time.Duration // how long one lasts, once all has come to rest
	rate        time.Duration // how long callbacks are looked at
	far         int           // events that come from far away
	starts      int           // of a host, whose first record is timed
	idle        time.Duration // how long nothing comes
	children    int           // accounts of a service provider
	childPoll   time.Duration // their poll_interval
	accounts    time.Duration // how long they are looked at
	limit       time.Duration // for each measurement
}

var (
	full = scale{
		records: 100_000, rounds: 5, extraRounds: 2, pages: 20, shareRounds: 7, memory: []int{1000, 100_000, 1_000_000}, settle: 3 * time.Second, outage: 20 * time.Second,
		rate: 20 * time.Second, far: 30_000, starts: 5, idle: 90 * time.Second,
		children: 500, childPoll: time.Minute, accounts: 190 * time.Second, limit: 6 * time.Minute,
	}
	quick = scale{
		records: 20_000, rounds: 1, extraRounds: 1, pages: 5, shareRounds: 3, memory: []int{1000, 20_000}, settle: time.Second, outage: time.Second,
		rate: 6 * time.Second, far: 8000, starts: 2, idle: 21 * time.Second,
		children: 50, childPoll: 10 * time.Second, accounts: 31 * time.Second, limit: 2 * time.Minute,
	}
)

// measurement makes some rows of the table.
type measurement struct {
	name  string
	waits bool // most of it is waiting: it runs beside the others that do
	run   func(context.Context, *lab) ([]row, error)
}

// measurements are all there are, in their order.
var measurements = []measurement{
	{"whole", false, measureWhole},
	{"share", false, measureShare},
	{"rate", false, measureRate},
	{"latency", false, measureLatency},
	{"limit", false, measureLimit},
	{"memory", false, measureMemory},
	{"start", false, measureStart},
	{"outage", true, measureOutage},
	{"idle", true, measureIdle},
	{"accounts", true, measureAccounts},
}

func names() string {
	var all []string
	for _, m := range measurements {
		all = append(all, m.name)
	}
	return strings.Join(all, ", ")
}

func main() {
	if status, played := play(); played {
		os.Exit(status)
	}
	os.Exit(run())
}

// everything is the -only that leaves nothing out.
const everything = "."

// options are the flags.
type options struct {
	quick, strict bool
	only          string
	out, doc      string
	profile       string
	micro         string
}

func run() int {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "measure less of each, in little more than a minute")
	flag.BoolVar(&o.strict, "strict", false, "end with status 1 if a required budget is missed")
	flag.StringVar(&o.only, "only", everything, "regular `expression`: only the measurements that it matches, of "+names())
	flag.StringVar(&o.out, "out", "build", "`folder` for bench.json and bench.md")
	flag.StringVar(&o.doc, "doc", "", "`file` whose table is rewritten, such as docs/performance.md; without -quick and -only")
	flag.StringVar(&o.profile, "cpuprofile", "", "`file` for a profile of the measurement share, for go tool pprof")
	flag.StringVar(&o.micro, "micro", "", "regular `expression`: nothing but the Go benchmarks that it matches")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	r, err := o.measure(ctx, os.Stdout)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "bench: interrupted; everything it had started is stopped and removed")
		return 130
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	case o.strict && r.missedAny():
		return 1
	}
	return 0
}

// measure runs the measurements and writes the report.
func (o options) measure(ctx context.Context, out io.Writer) (*report, error) {
	if o.micro != "" {
		table, err := goBenchmarks(ctx, o.out, o.micro, "./...")
		fmt.Fprint(out, table)
		return &report{}, err
	}
	wanted, err := regexp.Compile(o.only)
	if err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	if !slices.ContainsFunc(measurements, func(m measurement) bool { return wanted.MatchString(m.name) }) {
		return nil, fmt.Errorf("-only %s matches none of %s", o.only, names())
	}
	if o.doc != "" && (o.quick || o.only != everything) {
		return nil, errors.New("-doc: takes the whole table; leave -quick and -only out")
	}
	s := full
	if o.quick {
		s = quick
	}
	dir, err := os.MkdirTemp("", "duo_in-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	l, err := newLab(ctx, dir, s, out)
	if err != nil {
		return nil, err
	}
	l.profile = o.profile
	r := l.measureAll(ctx, wanted)
	r.Command = "make bench"
	if o.quick {
		r.Command = "build/bench -quick"
	}
	fmt.Fprintf(out, "\n%s; %s\n\n%s\nin %v\n", r.Machine, r.Programs, r.text(), r.Took.Round(time.Second))
	if ctx.Err() == nil && !o.quick && o.only == everything {
		var table string
		table, err = goBenchmarks(ctx, o.out, everything, hotPath...)
		fmt.Fprint(out, table)
	}
	if ctx.Err() != nil {
		return r, context.Cause(ctx)
	}
	err = errors.Join(err, r.write(o.out))
	if o.doc != "" {
		err = errors.Join(err, writeDoc(o.doc, r.markdown()))
	}
	return r, err
}

// measureAll runs the wanted measurements: one after the other, and then those
// that mostly wait at the same time.
func (l *lab) measureAll(ctx context.Context, wanted *regexp.Regexp) *report {
	r := &report{Time: time.Now(), Machine: machine(), Programs: l.programs()}
	results := make([]result, len(measurements))
	var waiting sync.WaitGroup
	for _, waits := range []bool{false, true} {
		for i, m := range measurements {
			switch {
			case ctx.Err() != nil || m.waits != waits || !wanted.MatchString(m.name):
			case waits:
				waiting.Go(func() { results[i] = l.measure(ctx, m) })
			default:
				results[i] = l.measure(ctx, m)
			}
		}
	}
	waiting.Wait()
	for i, result := range results {
		r.Rows = append(r.Rows, result.rows...)
		if result.err != nil {
			r.Failed = append(r.Failed, measurements[i].name+": "+result.err.Error())
		}
	}
	r.Took = time.Since(r.Time)
	return r
}

// result is what became of a measurement. One that fails does not keep the others
// from theirs.
type result struct {
	rows []row
	err  error
}

func (l *lab) measure(ctx context.Context, m measurement) (r result) {
	ctx, cancel := context.WithTimeoutCause(ctx, l.scale.limit, fmt.Errorf("took more than %v", l.scale.limit))
	defer cancel()
	l.say("%s ...", m.name)
	if r.rows, r.err = m.run(ctx, l); r.err != nil {
		l.say("%s FAILED: %v", m.name, r.err)
	}
	return r
}

// programs names the versions that count.
func (l *lab) programs() string {
	if l.fluentBit == "" {
		return runtime.Version() + ", no Fluent Bit, so the C host in its place"
	}
	return runtime.Version() + ", " + l.version
}
