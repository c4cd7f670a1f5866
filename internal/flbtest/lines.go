package flbtest

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// lines reads what out_file writes: `TAG: [1700000000.123456000, {…}]`
// (plugins/out_file/file.c: cb_file_flush). A line without its end is left for
// later. The line after a kill begins behind the remains of the torn one.
func (r *Reader) lines(b []byte) (records []Record, used int, err error) {
	for {
		n := bytes.IndexByte(b[used:], '\n')
		if n < 0 {
			return records, used, nil
		}
		r.line++
		records = append(records, r.oneLine(b[used:used+n])...)
		used += n + 1
	}
}

// oneLine reads the whole records of a line. It looks for the next one wherever
// the prefix stands, which may be inside a string: so one counts only if the
// end of the line or another prefix follows it.
func (r *Reader) oneLine(line []byte) (records []Record) {
	torn := false
	for len(line) > 0 {
		record, n, err := r.plainRecord(line)
		if err == nil && (n == len(line) || bytes.HasPrefix(line[n:], r.prefix)) {
			records = append(records, record)
			line = line[n:]
			torn = false
			continue
		}
		if !torn {
			torn = true
			r.torn++
		}
		i := bytes.Index(line[1:], r.prefix)
		if i < 0 {
			return records
		}
		line = line[1+i:]
	}
	return records
}

// plainRecord reads the record that line begins with, and tells its length.
func (r *Reader) plainRecord(line []byte) (Record, int, error) {
	if !bytes.HasPrefix(line, r.prefix) {
		return Record{}, 0, fmt.Errorf("does not begin with %q", r.prefix)
	}
	start := len(r.prefix) - 1 // the bracket is part of the JSON
	dec := jsontext.NewDecoder(bytes.NewBuffer(line[start:]), lenient...)
	if _, err := dec.ReadToken(); err != nil {
		return Record{}, 0, err
	}
	stamp, err := dec.ReadValue()
	if err != nil {
		return Record{}, 0, err
	}
	seconds, nanoseconds, err := parseStamp(stamp)
	if err != nil {
		return Record{}, 0, err
	}
	body, err := dec.ReadValue()
	if err != nil {
		return Record{}, 0, err
	}
	body = body.Clone()
	if end, err := dec.ReadToken(); err != nil || end.Kind() != ']' {
		return Record{}, 0, fmt.Errorf("no end of the record: %w", err)
	}
	record, err := newRecord(seconds, nanoseconds, body, r.line)
	return record, start + int(dec.InputOffset()), err
}

// parseStamp reads seconds, a dot and nine digits.
func parseStamp(stamp []byte) (seconds, nanoseconds int64, err error) {
	whole, fraction, _ := bytes.Cut(stamp, []byte("."))
	if len(fraction) != 9 {
		return 0, 0, fmt.Errorf("time %q: want seconds and nine digits", stamp)
	}
	if seconds, err = strconv.ParseInt(string(whole), 10, 64); err != nil {
		return 0, 0, err
	}
	nanoseconds, err = strconv.ParseInt(string(fraction), 10, 64)
	return seconds, nanoseconds, err
}
