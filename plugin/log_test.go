package main

import (
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"duo_in/duo"
)

// newTestLines returns the lines of an instance duo.0 and what they send to
// stderr.
func newTestLines(min slog.Level) (*lines, *lockedBuffer) {
	l, stderr := newLines("duo.0", min), &lockedBuffer{}
	l.stderr = newSink(stderr)
	return l, stderr
}

// printed returns what the callback would print now, as level and text.
func printed(l *lines) (out []string) {
	l.print(func(n line) { out = append(out, levelName(n.level)+" "+n.text) })
	return out
}

func TestLineShape(t *testing.T) {
	for _, c := range []struct {
		name string
		say  func(*slog.Logger)
		want string
	}{
		{"message", func(l *slog.Logger) { l.Info("begun") }, "info [input:duo:duo.0] begun"},
		{"warning", func(l *slog.Logger) { l.Warn("slow") }, "warn [input:duo:duo.0] slow"},
		{"error", func(l *slog.Logger) { l.Error("refused") }, "error [input:duo:duo.0] refused"},
		{"debug", func(l *slog.Logger) { l.Debug("page") }, "debug [input:duo:duo.0] page"},
		{"attributes", func(l *slog.Logger) { l.Info("again", "after", 90*time.Second, "calls", 3) }, "info [input:duo:duo.0] again after=1m30s calls=3"},
		{"secret", func(l *slog.Logger) { l.Info("keys", "secret", duo.NewSecret("abc")) }, "info [input:duo:duo.0] keys secret=[redacted]"},
		{"several lines", func(l *slog.Logger) { l.Info("a\r\nb\n[error] forged") }, "info [input:duo:duo.0] a  b [error] forged"},
		{"lines in an attribute", func(l *slog.Logger) { l.Info("a", "b", "c\nd") }, "info [input:duo:duo.0] a b=c d"},
		{"terminal escapes", func(l *slog.Logger) { l.Info("a\x1b[2Jb\x00c\td\x7fe") }, "info [input:duo:duo.0] a [2Jb c d e"},
		{"control characters beyond ASCII", func(l *slog.Logger) { l.Info("a\u0085b\u009b2Jc\u2028d\u2029e") }, "info [input:duo:duo.0] a b 2Jc d e"},
		{"reversed writing", func(l *slog.Logger) { l.Info("a\u202eb") }, "info [input:duo:duo.0] a b"},
		{"not UTF-8", func(l *slog.Logger) { l.Info("a\xff\xfeb") }, "info [input:duo:duo.0] a\uFFFDb"},
		{"other scripts", func(l *slog.Logger) { l.Info("für 日本 100 %s %n") }, "info [input:duo:duo.0] für 日本 100 %s %n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // where no line is overdue
				l, _ := newTestLines(slog.LevelDebug)
				defer l.close()
				c.say(slog.New(l))
				if diff := cmp.Diff([]string{c.want}, printed(l)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestLineLength(t *testing.T) {
	for _, c := range []struct{ name, fill string }{
		{"ASCII", "x"}, {"two bytes", "ü"}, {"three bytes", "日"}, {"four bytes", "\U0001F511"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := oneLine(strings.Repeat(c.fill, maxLine+1))
			kept, cut := strings.CutSuffix(got, " ...")
			if !cut || len(kept) > maxLine || len(kept) <= maxLine-len(c.fill) {
				t.Errorf("%d bytes are kept, want up to %d and \" ...\" behind", len(kept), maxLine)
			}
			if strings.Trim(kept, c.fill) != "" {
				t.Errorf("the line ends with half a character: %q", got[len(got)-8:])
			}
		})
	}
	if whole := strings.Repeat("x", maxLine); oneLine(whole) != whole {
		t.Errorf("a line of %d bytes was cut", maxLine)
	}
}

func TestLineLevels(t *testing.T) {
	for _, c := range []struct {
		min  slog.Level
		want []string
	}{
		{slog.LevelDebug, []string{"debug", "info", "warn", "error"}},
		{slog.LevelInfo, []string{"info", "warn", "error"}},
		{slog.LevelWarn, []string{"warn", "error"}},
		{slog.LevelError, []string{"error"}},
	} {
		t.Run(c.min.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // where no line is overdue
				l, _ := newTestLines(c.min)
				defer l.close()
				log := slog.New(l)
				for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
					log.Log(t.Context(), level, "text")
				}
				var got []string
				for _, n := range l.take() {
					got = append(got, levelName(n.level))
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestLinesOverdue says one line and then another, and has nobody collect them.
func TestLinesOverdue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, stderr := newTestLines(slog.LevelInfo)
		log := slog.New(l)
		start := time.Now()
		log.Info("one")
		time.Sleep(3 * time.Second)
		log.Error("two")
		time.Sleep(2*time.Second - time.Nanosecond)
		synctest.Wait()
		if got := stderr.String(); got != "" {
			t.Fatalf("after less than 5 s stderr has %q", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		const stamp = "2006/01/02 15:04:05.000000000"
		want := fmt.Sprintf("[%s] [ info] [input:duo:duo.0] one\n[%s] [error] [input:duo:duo.0] two\n",
			start.Format(stamp), start.Add(3*time.Second).Format(stamp))
		if diff := cmp.Diff(want, stderr.String()); diff != "" {
			t.Errorf("after 5 s (-want +got):\n%s", diff)
		}
		if got := printed(l); got != nil {
			t.Errorf("the callback prints them again: %q", got)
		}
	})
}

// TestLinesCollected has the callback come in time: then stderr stays empty,
// and the 5 s begin anew with the next line.
func TestLinesCollected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, stderr := newTestLines(slog.LevelInfo)
		log := slog.New(l)
		log.Info("one")
		time.Sleep(4 * time.Second)
		if diff := cmp.Diff([]string{"info [input:duo:duo.0] one"}, printed(l)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		log.Info("two")
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if got := stderr.String(); got != "" {
			t.Errorf("stderr has %q", got)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := stderr.String(); strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, " two\n") {
			t.Errorf("stderr has %q, want the second line", got)
		}
	})
}

// TestLinesBound is of more lines at once than there is room for: in a bubble none is overdue.
func TestLinesBound(t *testing.T) { synctest.Test(t, linesBound) }

func linesBound(t *testing.T) {
	l, stderr := newTestLines(slog.LevelInfo)
	defer l.close()
	log := slog.New(l)
	const over = 17
	for i := range maxLines + over {
		log.Info(fmt.Sprint("line ", i))
	}
	got := printed(l)
	if len(got) != maxLines+1 {
		t.Fatalf("%d lines came out, want %d and one about the others", len(got), maxLines)
	}
	want := []string{"info [input:duo:duo.0] line 0", "info [input:duo:duo.0] line 199", "warn [input:duo:duo.0] 17 log lines were dropped: too many at once"}
	if diff := cmp.Diff(want, []string{got[0], got[maxLines-1], got[maxLines]}); diff != "" {
		t.Errorf("first, last and about the others (-want +got):\n%s", diff)
	}
	log.Info("after")
	if diff := cmp.Diff([]string{"info [input:duo:duo.0] after"}, printed(l)); diff != "" {
		t.Errorf("then (-want +got):\n%s", diff)
	}
	if got := stderr.String(); got != "" {
		t.Errorf("stderr has %q", got)
	}
}

// TestLinesClose must run in a bubble: a timer left behind would fail it.
func TestLinesClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, stderr := newTestLines(slog.LevelInfo)
		log := slog.New(l)
		log.Info("waiting")
		l.close()
		log.Warn("late")
		l.flush()
		if got := printed(l); got != nil {
			t.Errorf("the callback prints %q", got)
		}
		shape := regexp.MustCompile(`^\[\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{9}\] \[ info\] \[input:duo:duo\.0\] waiting
\[.{29}\] \[ warn\] \[input:duo:duo\.0\] late
$`)
		if got := stderr.String(); !shape.MatchString(got) {
			t.Errorf("stderr has %q", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := stderr.String(); strings.Count(got, "\n") != 2 {
			t.Errorf("later stderr has %q", got)
		}
	})
}

// TestLinesConcurrent counts lines: each comes out exactly once, in the
// callback or on stderr.
func TestLinesConcurrent(t *testing.T) {
	const talkers, each = 4, 40 // fewer than maxLines: none is dropped
	l, stderr := newTestLines(slog.LevelInfo)
	var all sync.WaitGroup
	for range talkers {
		all.Go(func() {
			for range each {
				slog.New(l).Info("text")
			}
		})
	}
	n := 0
	all.Go(func() {
		for range 100 {
			n += len(printed(l))
		}
		l.close()
	})
	all.Wait()
	l.stderr.flush(time.Minute)
	if n += strings.Count(stderr.String(), "\n"); n != talkers*each {
		t.Errorf("%d lines came out, want %d", n, talkers*each)
	}
}

// On its standard descriptors Go answers a closed pipe with SIGPIPE, which
// would end the host.
func TestStderrIsNotTheStandardOne(t *testing.T) {
	f, ok := stderr.w.(*os.File)
	if !ok || f.Fd() <= 2 {
		t.Errorf("stderr is %v", stderr.w)
	}
}
