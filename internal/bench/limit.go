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
	found := parseLimit(string(out))
	for _, line := range found.lines {
		l.say("%s", line)
	}
	rows := []row{{
		What: "an unknown limit of calls a minute", Budget: "at least 85 % of it used after 30 minutes, at most one 429 in 20 calls",
		Measured: fmt.Sprintf("at worst %d %%, one 429 in %d calls, of %d limits", found.share, found.between, found.limits),
		Verdict:  budget{required: 85, least: true}.judge(float64(found.share)),
		How:      "virtual time: `go test ./duo -run TestPaceFound -v`",
	}}
	if found.between < 20 || failed != nil {
		rows[0].Verdict = missed
	}
	for _, line := range found.days {
		rows = append(rows, row{What: "a day of a large tenant with a limit, outages and a change", Measured: line, How: "virtual time: `go test ./duo -run TestPaceDay -v`"})
	}
	return rows, failed
}

// found is what the tests have logged: the worst of all limits.
type found struct {
	limits, share, between int
	lines, days            []string
}

var (
	limitFound = regexp.MustCompile(`(\d+) % of the limit, one 429 in (\d+) calls`)
	logged     = regexp.MustCompile(`^\s+\S+_test\.go:\d+: (.*)`)
	running    = regexp.MustCompile(`^=== (?:RUN|NAME)\s+(\S+)`)
)

// parseLimit reads the output of go test -v.
func parseLimit(out string) found {
	var f found
	test := ""
	for line := range strings.Lines(out) {
		if m := running.FindStringSubmatch(line); m != nil {
			test = m[1]
		}
		m := logged.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		text := strings.TrimSpace(m[1])
		f.lines = append(f.lines, strings.TrimPrefix(test, "TestPace")+": "+text)
		if strings.HasPrefix(test, "TestPaceDay") {
			f.days = append(f.days, text)
		}
		if n := limitFound.FindStringSubmatch(text); n != nil && strings.HasPrefix(test, "TestPaceFound") {
			share, _ := strconv.Atoi(n[1]) // digits
			between, _ := strconv.Atoi(n[2])
			if f.limits++; f.limits == 1 {
				f.share, f.between = share, between
			}
			f.share, f.between = min(f.share, share), min(f.between, between)
		}
	}
	return f
}
