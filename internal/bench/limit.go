package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// paceTests are those that find an unknown limit, in virtual time.
const paceTests = "^(TestPaceFound|TestPaceDay)$"

// measureLimit runs the simulation of Duo's limit and repeats what it logs.
func measureLimit(ctx context.Context, l *lab) ([]row, error) {
	out, failed := goOutput(ctx, "test", "./duo", "-run", paceTests, "-count", "1", "-v")
	limits, days := parseLimit(string(out))
	for _, line := range days {
		l.say("%s", line)
	}
	worst := limit{share: 100, between: 1 << 30}
	var told []string
	for _, f := range limits {
		l.say("%s", f)
		told = append(told, f.String())
		worst = worst.worse(f)
	}
	r := row{
		What: "an unknown limit of calls a minute", Budget: "at least 85 % of it used after 30 minutes, at most one 429 in 20 calls",
		Measured: strings.Join(told, "; "), Verdict: met,
		How: "virtual time, the worst of each way to count: `go test ./duo -run TestPaceFound -v`",
	}
	if failed != nil || len(limits) == 0 || worst.share < 85 || worst.between < 20 {
		r.Verdict = missed
	}
	rows := []row{r}
	for _, line := range days {
		rows = append(rows, row{What: "a day of a large tenant with a limit, outages and a change", Measured: line, How: "virtual time: `go test ./duo -run TestPaceDay -v`"})
	}
	if len(limits) > 0 {
		failed = nil // a test that fails because of its bounds has missed, and has told it
	}
	return rows, failed
}

// limit is what was found of one: the share of it that was used, in percent, and
// that one of so many calls was refused; of several runs the worst.
type limit struct {
	calls          string // allowed a minute
	share, between int
}

func (f limit) String() string {
	return fmt.Sprintf("%s a minute: %d %%, one 429 in %d calls", f.calls, f.share, f.between)
}

func (f limit) worse(g limit) limit {
	f.share, f.between = min(f.share, g.share), min(f.between, g.between)
	return f
}

var (
	limitFound = regexp.MustCompile(`(\d+) % of the limit, one 429 in (\d+) calls`)
	limitOf    = regexp.MustCompile(`N=(\d+)|/(\d+)_calls_a_minute`)
	logged     = regexp.MustCompile(`^\s+\S+_test\.go:\d+: (.*)`)
	running    = regexp.MustCompile(`^=== (?:RUN|NAME)\s+(\S+)`)
)

// parseLimit reads the output of go test -v: the worst of each limit, in the order
// in which they came, and what is logged of days.
func parseLimit(out string) (limits []limit, days []string) {
	test := ""
	at := map[string]int{} // of a limit in limits
	for line := range strings.Lines(out) {
		if m := running.FindStringSubmatch(line); m != nil {
			test = m[1]
		}
		m := logged.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		text := strings.TrimSpace(m[1])
		if strings.HasPrefix(test, "TestPaceDay") {
			days = append(days, text)
		}
		n, of := limitFound.FindStringSubmatch(text), limitOf.FindStringSubmatch(test+" "+text)
		if n == nil || of == nil {
			continue
		}
		f := limit{calls: of[1] + of[2]}
		f.share, _ = strconv.Atoi(n[1]) // digits
		f.between, _ = strconv.Atoi(n[2])
		if i, known := at[f.calls]; known {
			limits[i] = limits[i].worse(f)
			continue
		}
		at[f.calls] = len(limits)
		limits = append(limits, f)
	}
	return limits, days
}
