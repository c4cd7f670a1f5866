package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
)

const (
	maxStuck   = 1000                  // lines that wait for a stderr that takes none
	stderrStop = 50 * time.Millisecond // of the 500 ms that a stop may take
)

// stderr is the process's, by a descriptor of our own: on its standard one Go
// turns a closed pipe into a SIGPIPE that ends the host.
var stderr = newSink(duplicate(os.Stderr))

// sink writes lines to what may be stuck, as a pipe is that nobody reads. Who
// says a line never waits for it, but a goroutine of the sink's own, which is
// there only while there is something to write. With a stuck file that is
// longer than the instance; it is the one thing of it that is left then, one
// for the whole process.
type sink struct {
	w io.Writer

	mu      sync.Mutex
	waiting []string
	dropped int
	written chan struct{} // closed when all is written; nil if it is
}

func newSink(w io.Writer) *sink { return &sink{w: w} }

// write takes a line over, with its end.
func (s *sink) write(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == maxStuck {
		s.dropped++
		return
	}
	s.waiting = append(s.waiting, text)
	if s.written == nil {
		s.written = make(chan struct{})
		go s.run()
	}
}

// run writes until nothing waits.
func (s *sink) run() {
	for text := s.next(); text != ""; text = s.next() {
		_, _ = io.WriteString(s.w, text) // there is nobody to tell
	}
}

func (s *sink) next() (text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 && s.dropped > 0 {
		text, s.dropped = stderrLine(line{time.Now(), slog.LevelWarn, fmt.Sprintf("[input:duo] %d log lines were dropped: nobody read stderr", s.dropped)}), 0
		return text
	}
	if len(s.waiting) == 0 {
		close(s.written)
		s.waiting, s.written = nil, nil
		return ""
	}
	text, s.waiting = s.waiting[0], s.waiting[1:]
	return text
}

// flush waits until all is written, at most for d. What is not goes on being
// tried for as long as the process lives.
func (s *sink) flush(d time.Duration) {
	s.mu.Lock()
	written := s.written
	s.mu.Unlock()
	if written == nil {
		return
	}
	select {
	case <-written:
	case <-time.After(d):
	}
}

// stderrLine is a line in Fluent Bit's shape.
func stderrLine(n line) string {
	return fmt.Sprintf("[%s] [%5s] %s\n", n.at.Format("2006/01/02 15:04:05.000000000"), levelName(n.level), n.text)
}
