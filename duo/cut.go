package duo

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	// maxLevels is how deep the parser goes, jsontext's own limit.
	maxLevels = 10_000
	// maxValue and maxRecord bound a record of an answer that is cut: each value
	// in it, and where it gets no more members.
	maxValue, maxRecord = 4 << 20, 8 << 20
	// maxRecords bounds the records of an answer, a hundred times what is asked for.
	maxRecords = 100_000
	// maxCut bounds what is read of an answer that is cut, and maxOut what is left
	// of it: a page of records that are small, and one whose text is all escapes.
	maxCut, maxOut = 256 << 20, maxBody + 2*maxRecord + 6*maxValue
)

var errNotJSON = fmt.Errorf("%w: it is not JSON", ErrNotPage)

// cutter makes of an answer that no parser takes one that it does: nothing that
// Duo sends may stop a log for ever. A value within a record that nests too deep
// becomes the string of its JSON text, one that is too large the string of that
// text's beginning, and a record that is too large gets no more members. What is
// small and flat comes out as it went in, but for white space between values.
//
// It passes over bytes without understanding them: whether the outcome is JSON
// is the parser's to say.
type cutter struct {
	// mayEnd says that records may be left out at the list's end, since they can
	// be asked for again.
	mayEnd bool
	ended  bool // some were
	left   int  // bytes that were left out of records

	in      *bufio.Reader
	out     []byte
	level   int
	records int
}

// read returns the answer that comes from r, cut. Errors are r's,
// [ErrTooLarge], and that of what cannot be JSON.
func (c *cutter) read(r io.Reader) ([]byte, error) {
	c.in = bufio.NewReaderSize(r, 64<<10)
	err := c.page()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return c.out, err
}

// page copies the answer and what is around the list of records.
func (c *cutter) page() error {
	switch b, err := c.peek(); {
	case err != nil:
		return err
	case b == '{' && c.level < 2:
		return c.container(func() error { return c.member(c.page) })
	case b == '[' && c.level < 3:
		return c.container(c.record)
	}
	return c.value(maxValue)
}

// record copies an item of a list.
func (c *cutter) record() error {
	if c.records++; len(c.out) > maxBody || c.records > maxRecords {
		if !c.mayEnd {
			return ErrTooLarge
		}
		c.ended = true
		_, err := c.pass(0)
		return err
	}
	if b, err := c.peek(); err != nil {
		return err
	} else if b != '{' {
		return c.value(maxValue)
	}
	start := len(c.out)
	return c.container(func() error {
		if len(c.out)-start < maxRecord {
			return c.member(func() error { return c.value(maxValue) })
		}
		return c.leaveMember()
	})
}

// container copies an object or a list, whose items item copies or leaves out.
func (c *cutter) container(item func() error) error {
	open, err := c.in.ReadByte()
	if err != nil {
		return err
	}
	c.level++
	c.out = append(c.out, open)
	for first := true; ; first = false {
		switch b, err := c.peek(); {
		case err != nil:
			return err
		case b == open+2: // in ASCII the closing bracket is the next but one
			c.level--
			c.out = append(bytes.TrimSuffix(c.out, []byte(",")), b)
			return c.skip(b)
		case !first:
			if err := c.skip(','); err != nil {
				return err
			}
		}
		before := len(c.out)
		if err := item(); err != nil {
			return err
		}
		if len(c.out) > before {
			c.out = append(c.out, ',')
		}
	}
}

// member copies a name and has value copy what follows.
func (c *cutter) member(value func() error) error {
	if err := c.value(maxValue); err != nil {
		return err
	}
	if err := c.skip(':'); err != nil {
		return err
	}
	c.out = append(c.out, ':')
	return value()
}

func (c *cutter) leaveMember() error {
	name, err := c.pass(0)
	if err != nil {
		return err
	}
	if err := c.skip(':'); err != nil {
		return err
	}
	value, err := c.pass(0)
	c.left += name.size + value.size
	return err
}

// value copies a value that is not looked into; of one that is too large no more
// than most bytes.
func (c *cutter) value(most int) error {
	start := len(c.out)
	if start > maxOut {
		return ErrTooLarge
	}
	v, err := c.pass(most)
	if err != nil || v.size <= most && c.level+v.depth <= maxLevels {
		return err
	}
	c.left += max(v.size-most, 0)
	// A string without its end still begins with a quote.
	text := strings.TrimPrefix(strings.ToValidUTF8(string(c.out[start:]), "\uFFFD"), `"`)
	c.out, err = jsontext.AppendQuote(c.out[:start], text)
	return err
}

// extent is how large a value is, in bytes, and how deep it nests.
type extent struct{ size, depth int }

// pass reads the value that comes next and copies its first most bytes.
func (c *cutter) pass(most int) (v extent, err error) {
	if _, err := c.peek(); err != nil {
		return v, err
	}
	level, quoted, escaped := 0, false, false
	for {
		b, err := c.in.ReadByte()
		if err != nil {
			return v, err
		}
		if level == 0 && !quoted && strings.IndexByte(",:]} \t\r\n", b) >= 0 {
			if v.size == 0 {
				return v, errNotJSON
			}
			return v, c.in.UnreadByte() // the end of a number or a word
		}
		if v.size++; v.size <= most {
			c.out = append(c.out, b)
		}
		switch {
		case escaped:
			escaped = false
			continue
		case quoted:
			escaped, quoted = b == '\\', b != '"'
		case b == '"':
			quoted = true
			continue
		case b == '{' || b == '[':
			level++
			v.depth = max(v.depth, level)
		case b == '}' || b == ']':
			level--
		default:
			continue
		}
		if level == 0 && !quoted {
			return v, nil
		}
	}
}

// peek passes white space and returns what follows, without taking it.
func (c *cutter) peek() (byte, error) {
	for {
		b, err := c.in.ReadByte()
		if err != nil {
			return 0, err
		}
		if strings.IndexByte(" \t\r\n", b) < 0 {
			return b, c.in.UnreadByte()
		}
	}
}

// skip takes white space and then want.
func (c *cutter) skip(want byte) error {
	b, err := c.peek()
	if err == nil && b != want {
		return errNotJSON
	}
	_, _ = c.in.ReadByte() // it was peeked
	return err
}
