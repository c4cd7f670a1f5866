package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"
)

const (
	maxLine  = 2 << 10         // bytes of one log line
	maxLines = 200             // lines waiting for the callback
	maxWait  = 5 * time.Second // how long they wait
)

// line is one log line, ready to be printed.
type line struct {
	at    time.Time
	level slog.Level
	text  string
}

// printer prints lines in Fluent Bit's own logger. Only the instance's own
// thread may call it: from another one the lines miss Log_File.
type printer func(line)

// lines is the slog.Handler of an instance. Its lines wait until the callback
// prints them; where it does not come, because the input is paused or at its
// end, they go to stderr in Fluent Bit's shape.
type lines struct {
	prefix string // [input:duo:duo.0]
	min    slog.Level
	stderr *sink
	bell   *bell // has the callback print

	mu      sync.Mutex
	waiting []line
	dropped int
	timer   *time.Timer // runs while lines wait
	closed  bool        // all goes to stderr at once
}

func newLines(name string, min slog.Level) *lines {
	return &lines{prefix: "[input:duo:" + name + "] ", min: min, stderr: stderr}
}

// Enabled implements slog.Handler.
func (l *lines) Enabled(_ context.Context, level slog.Level) bool { return level >= l.min }

// Handle implements slog.Handler: the message, then key=value for each
// attribute, on one line.
func (l *lines) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(l.prefix + r.Message)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value.Resolve())
		return true
	})
	l.add(line{at: r.Time, level: r.Level, text: oneLine(b.String())})
	return nil
}

// WithAttrs and WithGroup implement slog.Handler; nothing here uses them.
func (l *lines) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *lines) WithGroup(string) slog.Handler      { return l }

func (l *lines) add(n line) {
	l.mu.Lock()
	if len(l.waiting) == maxLines {
		l.dropped++
		l.mu.Unlock()
		return
	}
	l.waiting = append(l.waiting, n)
	closed := l.closed
	if !closed && l.timer == nil {
		l.timer = time.AfterFunc(maxWait, l.toStderr)
	}
	l.mu.Unlock()
	l.bell.ring()
	if closed {
		l.toStderr()
	}
}

// print prints what waits with p.
func (l *lines) print(p printer) {
	for _, n := range l.take() {
		p(n)
	}
}

// close sends what waits, and all that comes, to stderr.
func (l *lines) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.toStderr()
}

func (l *lines) take() []line {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.drain()
}

// drain empties the queue; mu is held.
func (l *lines) drain() []line {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	out := l.waiting
	if l.dropped > 0 {
		out = append(out, line{at: time.Now(), level: slog.LevelWarn, text: fmt.Sprintf("%s%d log lines were dropped: too many at once", l.prefix, l.dropped)})
	}
	l.waiting, l.dropped = nil, 0
	return out
}

// toStderr prints what waits.
func (l *lines) toStderr() {
	for _, n := range l.take() {
		l.stderr.write(stderrLine(n))
	}
}

// flush waits until stderr has what was sent there, unless it is stuck.
func (l *lines) flush() { l.stderr.flush(stderrStop) }

// levelName is Fluent Bit's name of a level.
func levelName(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "error"
	case l >= slog.LevelWarn:
		return "warn"
	case l >= slog.LevelInfo:
		return "info"
	}
	return "debug"
}

// oneLine keeps what a server may have put into an error from forging or
// flooding the log.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) > maxLine {
		s = strings.ToValidUTF8(s[:maxLine], "") + " ..."
	}
	return s
}
