package flbtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Record is one delivered record.
type Record struct {
	Time time.Time // to the nanosecond, UTC
	Keys []string  // the top level, in order
	JSON []byte    // the body: keys in order, integers as integers, no blanks, strings in their shortest form
	Line int       // where it stands: line (Fluent Bit) or frame (C host) of its file, from 1
}

// String returns the value of a top-level key: a string's text, another
// value's JSON, or "" if the key is absent.
func (r Record) String(key string) string {
	var found string
	// A body that is not valid cannot come here: newRecord has read it.
	_ = walkObject(r.JSON, func(k string, v jsontext.Value) {
		if k != key || found != "" {
			return
		}
		found = string(v)
		if v.Kind() == '"' {
			text, _ := jsontext.AppendUnquote(nil, v)
			found = string(text)
		}
	})
	return found
}

var lenient = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// newRecord takes over body, one JSON object.
func newRecord(seconds, nanoseconds int64, body jsontext.Value, line int) (Record, error) {
	r := Record{Time: time.Unix(seconds, nanoseconds).UTC(), Line: line}
	if err := body.Format(lenient...); err != nil {
		return Record{}, err
	}
	r.JSON = body
	return r, walkObject(body, func(key string, _ jsontext.Value) { r.Keys = append(r.Keys, key) })
}

func walkObject(object []byte, visit func(key string, value jsontext.Value)) error {
	dec := jsontext.NewDecoder(bytes.NewBuffer(object), lenient...)
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '{' {
		return fmt.Errorf("body is not an object: %.40q", object)
	}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return err
		}
		key := name.String()
		value, err := dec.ReadValue()
		if err != nil {
			return err
		}
		visit(key, value)
	}
	return nil
}

// Records reads all that hosts of this kind have delivered under a tag since
// dir was new, in order.
func Records(kind Kind, dir, tag string) ([]Record, error) {
	return NewReader(kind, dir, tag).Next()
}

// Reader reads what a host delivers while it runs, and across restarts. The
// zero value is not usable; see [NewReader].
type Reader struct {
	path   string
	parse  func(r *Reader, b []byte) (records []Record, used int, err error)
	prefix []byte // of a line of Fluent Bit
	offset int64
	line   int
	torn   int
}

// NewReader begins with the first record that was ever delivered to dir, a
// Spec's Dir, under the tag.
func NewReader(kind Kind, dir, tag string) *Reader {
	path := filepath.Join(dir, "out", tag)
	if kind == CHost {
		return &Reader{path: path + ".msgpack", parse: (*Reader).frames}
	}
	return &Reader{path: path, parse: (*Reader).lines, prefix: []byte(tag + ": [")}
}

// Next returns what was delivered since the last call, and nothing if that is
// nothing yet. A record that is still being written waits for a later call. An
// error means that the host got bytes which are no records.
func (r *Reader) Next() ([]Record, error) {
	f, err := os.Open(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, r.offset, math.MaxInt64-r.offset))
	if err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	records, used, err := r.parse(r, b)
	r.offset += int64(used)
	if err != nil {
		return records, fmt.Errorf("read records: %s:%d: %w", r.path, r.line, err)
	}
	return records, nil
}

// Torn is how many records of Fluent Bit's output were cut off by a kill. It
// sends them again from its storage; the C host cuts them off by itself.
func (r *Reader) Torn() int { return r.torn }
