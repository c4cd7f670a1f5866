package flbtest

import (
	"io"
	"sync"
)

// maxLog is how much of a process's output is kept.
const maxLog = 4 << 20

// output keeps the newest maxLog bytes that were written. The zero value is
// ready.
type output struct {
	mu      sync.Mutex
	buf     []byte
	total   int64         // bytes ever written
	changed chan struct{} // closed by the next write
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf = append(o.buf, b...)
	o.total += int64(len(b))
	if len(o.buf) > 2*maxLog { // seldom, so that each byte is moved once
		o.buf = append([]byte(nil), o.buf[len(o.buf)-maxLog:]...)
	}
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return len(b), nil
}

// since returns what was written after the first `from` bytes, as far as it is
// kept.
func (o *output) since(from int64) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := min(o.total-from, int64(len(o.buf)), maxLog)
	return append([]byte(nil), o.buf[int64(len(o.buf))-n:]...)
}

// state returns how much was written so far, and what the next write closes.
func (o *output) state() (total int64, changed <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.total, o.changed
}

// tee also writes to w, unless that is nil. An error of w is not the
// process's: it only ends the copy.
func (o *output) tee(w io.Writer) io.Writer {
	if w == nil {
		return o // for stdout and stderr alike, so that exec keeps the order of their lines
	}
	return &tee{o, w}
}

type tee struct {
	o *output
	w io.Writer
}

func (t *tee) Write(b []byte) (int, error) {
	if t.w != nil {
		if _, err := t.w.Write(b); err != nil {
			t.w = nil
		}
	}
	return t.o.Write(b)
}
