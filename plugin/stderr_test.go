package main

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// stuckFile is what nobody reads until somebody does.
type stuckFile struct {
	lockedBuffer
	read chan struct{}
}

func newStuckFile() *stuckFile { return &stuckFile{read: make(chan struct{})} }

func (f *stuckFile) Write(p []byte) (int, error) {
	<-f.read
	return f.lockedBuffer.Write(p)
}

// Nobody waits for a stderr that is stuck, however much is said. When somebody
// reads it all comes, as far as there was room, and how much had none; a bubble
// does not end before the goroutine that writes has.
func TestStuckStderr(t *testing.T) {
	for _, c := range []struct {
		name    string
		lines   int
		dropped string
	}{
		{"a few lines", 3, ""},
		{"as many as there is room for", maxStuck + 1, ""}, // one is being written
		{"too many", maxStuck + 8, "[input:duo] 7 log lines were dropped: nobody read stderr"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				file, l := newStuckFile(), newLines("duo.0", slog.LevelInfo)
				l.stderr = newSink(file)
				l.close()
				log, begin := slog.New(l), time.Now()
				for i := range c.lines {
					log.Info(fmt.Sprint("line ", i))
					synctest.Wait() // the first is on its way, so that the others have all the room
				}
				if took := time.Since(begin); took != 0 {
					t.Errorf("to say it took %v", took)
				}
				l.flush()
				if took := time.Since(begin); took != stderrStop {
					t.Errorf("flush took %v, want %v", took, stderrStop)
				}
				close(file.read)
				l.flush()
				for i, text := range strings.Split(strings.TrimSuffix(file.String(), "\n"), "\n") {
					want := fmt.Sprint(" line ", i)
					if i > maxStuck {
						want = c.dropped
					}
					if want == "" || !strings.HasSuffix(text, want) {
						t.Fatalf("line %d is %q, want %q", i, text, want)
					}
				}
				if got, want := strings.Count(file.String(), "\n"), min(c.lines, maxStuck+2); got != want {
					t.Errorf("%d lines came, want %d", got, want)
				}
			})
		})
	}
}
