package duo

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"
)

// TestBodyTakesOneBuffer: a page is read into one buffer if its size is told, and
// if the page before was as large.
func TestBodyTakesOneBuffer(t *testing.T) {
	page := bytes.Repeat([]byte("x"), 1<<20)
	for _, tt := range []struct {
		name         string
		length, last int
	}{
		{"length told", len(page), 0},
		{"like the one before", -1, len(page)},
		{"a little larger", -1, len(page) * 9 / 10},
		{"length of an empty body told", 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := page
			if tt.length == 0 {
				body = nil
			}
			var b binder
			buffers := testing.AllocsPerRun(10, func() {
				b.last = tt.last
				got, err := b.read(&http.Response{ContentLength: int64(tt.length), Body: io.NopCloser(bytes.NewReader(body))})
				if err != nil || !bytes.Equal(got, body) {
					t.Fatalf("%d bytes, %v", len(got), err)
				}
			})
			// The response, its two readers and the buffer's own head.
			if buffers > 6 {
				t.Errorf("%v allocations", buffers)
			}
		})
	}
}

// TestBodyIsBounded: what a server says of a body's length is not believed.
func TestBodyIsBounded(t *testing.T) {
	for _, length := range []int64{-1, 0, 10, maxBody + 1, 1 << 60} {
		var b binder
		body := io.LimitReader(zeros{}, maxBody+1)
		got, err := b.read(&http.Response{ContentLength: length, Body: io.NopCloser(body)})
		if !errors.Is(err, ErrTooLarge) || cap(got) > 4*maxBody {
			t.Errorf("length %d: %v, buffer of %d bytes", length, err, cap(got))
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
