//go:build cgo

package scenario

import (
	"bytes"
	"regexp"
	"strings"
	"sync"
)

// lineSorter is where a host writes its output: it keeps the lines of each duo
// input apart, and those of each run of the host.
type lineSorter struct {
	mu   sync.Mutex // guards what follows
	rest []byte
	runs []map[string][]string // by input
}

func newLineSorter() *lineSorter { return &lineSorter{} }

var inputLine = regexp.MustCompile(`(\[ *\w+\]) \[input:duo:(duo\.\d+)\] (.*)`)

// Write implements io.Writer.
func (s *lineSorter) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rest = append(s.rest, b...)
	for {
		line, rest, found := bytes.Cut(s.rest, []byte("\n"))
		if !found {
			return len(b), nil
		}
		if m := inputLine.FindSubmatch(line); m != nil {
			input, text := string(m[2]), string(m[1])+" "+string(m[3])
			run := s.runs[len(s.runs)-1]
			run[input] = append(run[input], text)
		}
		s.rest = bytes.Clone(rest)
	}
}

// newRun begins another run of the host.
func (s *lineSorter) newRun() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs, s.rest = append(s.runs, map[string][]string{}), nil
}

// of returns all lines of an input.
func (s *lineSorter) of(input string) (lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, run := range s.runs {
		lines = append(lines, run[input]...)
	}
	return lines
}

// count returns how many lines of an input hold a text, in the present run.
func (s *lineSorter) count(input, text string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.runs[len(s.runs)-1][input] {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// saidLines are those that tell of a trouble, without their variable parts,
// those that tell of its end, and those of a host that got too little time: on a
// busy machine the half second of a stop may be over before all is saved, and an
// append may last so long that it looks like one that was dropped.
type saidLines struct{ begin, end, late []string }

var (
	routineLine = regexp.MustCompile(`^\[ *\w+\] (duo_in \d|initializing$|storage_strategy=|thread instance initialized$|could not initialize threaded plugin instance$|\w+: (no checkpoint yet|going on at|caught up)|(poll_interval|delay|api_host) )`)
	lateLine    = regexp.MustCompile(`could not be saved in time|has not stopped in time|took too long over a batch`)
	endLine     = regexp.MustCompile(`: Duo answers again|\] checkpoints can be saved again|\] there is room for Fluent Bit's buffer again`)
)

// variable is what differs from one sighting of a line to the next.
var variable = []struct {
	what *regexp.Regexp
	text string
}{
	{regexp.MustCompile(`(cannot be reached: ).*?( \(|; retrying)`), "$1…$2"},
	{regexp.MustCompile(`(not a page of records: ).*(; retrying)`), "$1…$2"},
	{regexp.MustCompile(`(next_offset) ".*?"`), "$1 …"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`), "…"},
	{regexp.MustCompile(`of \d+ bytes`), "of … bytes"},
	{regexp.MustCompile(`(save checkpoint ).*: ([a-z -]+(;|$))`), "$1…: $2"},
	{regexp.MustCompile(`(checkpoint folder ).*: ([a-z -]+: set)`), "$1…: $2"},
	{regexp.MustCompile(`(on the volume of ).*(; nothing is handed over)`), "$1…$2"},
	{regexp.MustCompile(`user id \d+`), "user id …"},
}

// first and last return what was said of an input in the host's first run, and
// in the present one.
func (s *lineSorter) first(input string) saidLines { return s.in(input, func(int) int { return 0 }) }
func (s *lineSorter) last(input string) saidLines {
	return s.in(input, func(runs int) int { return runs - 1 })
}

func (s *lineSorter) in(input string, which func(runs int) int) (said saidLines) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.runs[which(len(s.runs))][input] {
		switch {
		case routineLine.MatchString(line):
		case lateLine.MatchString(line):
			said.late = append(said.late, line)
		case endLine.MatchString(line):
			said.end = append(said.end, line)
		default:
			for _, v := range variable {
				line = v.what.ReplaceAllString(line, v.text)
			}
			said.begin = append(said.begin, line)
		}
	}
	return said
}
