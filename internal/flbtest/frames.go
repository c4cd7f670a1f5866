package flbtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth is how deeply a record may be nested here. Fluent Bit's outputs turn
// it into JSON by recursion, 672 bytes a level, on a stack of 24 KiB, which has
// other uses too: 33 levels ended 4.2.8 now and then. (One of 64 it drops, and the
// rest of the chunk with it, without a word.)
const maxDepth = 24

// groupMarker is the first second that Fluent Bit takes for the mark of a group
// instead of a time (FLB_LOG_EVENT_GROUP_START, _END): such a record vanishes.
const groupMarker = math.MaxUint32 - 1

// frames reads what the C host writes: per buffer four bytes of length, then
// the buffer, one msgpack record after the other. A frame without its end is
// left for later. As in Fluent Bit, bytes that are no record make the rest of
// the buffer useless, but here that is an error.
func (r *Reader) frames(b []byte) (records []Record, used int, err error) {
	for {
		rest := b[used:]
		if len(rest) < 4 || uint64(len(rest)-4) < uint64(binary.BigEndian.Uint32(rest)) {
			return records, used, nil
		}
		n := 4 + int(binary.BigEndian.Uint32(rest))
		used += n
		r.line++
		unpacked, err := Unpack(rest[4:n])
		for i := range unpacked {
			unpacked[i].Line = r.line
		}
		if records = append(records, unpacked...); err != nil {
			return records, used, err
		}
	}
}

// Unpack reads records as a plugin hands them over, one behind the other.
func Unpack(b []byte) (records []Record, err error) {
	for p := (unpacker{rest: b}); len(p.rest) > 0; {
		record, err := p.record(len(records) + 1)
		if err != nil {
			return records, err
		}
		records = append(records, record)
	}
	return records, nil
}

// unpacker turns msgpack into JSON token by token, since no decoder into Go
// values keeps the order of keys.
type unpacker struct {
	rest []byte
	json []byte
}

var errMsgpack = errors.New("malformed msgpack")

// record reads [time, {…}] or [[time, {…}], {…}].
func (p *unpacker) record(line int) (Record, error) {
	if !p.skip("\x92") {
		return Record{}, fmt.Errorf("%w: a record must be an array of two", errMsgpack)
	}
	header := p.skip("\x92")
	seconds, nanoseconds, err := p.eventTime()
	if err != nil {
		return Record{}, err
	}
	if header {
		if err := p.object("metadata"); err != nil {
			return Record{}, err
		}
	}
	if err := p.object("body"); err != nil {
		return Record{}, err
	}
	return newRecord(int64(seconds), int64(nanoseconds), p.json, line)
}

// skip passes over prefix, if the rest begins with it.
func (p *unpacker) skip(prefix string) bool {
	rest, ok := bytes.CutPrefix(p.rest, []byte(prefix))
	p.rest = rest
	return ok
}

// eventTime reads extension type 0, 32 bits of seconds and 32 of nanoseconds.
func (p *unpacker) eventTime() (seconds, nanoseconds uint64, err error) {
	if fixext8, ext8 := "\xd7\x00", "\xc7\x08\x00"; !p.skip(fixext8) && !p.skip(ext8) {
		return 0, 0, fmt.Errorf("%w: the time is not an EventTime", errMsgpack)
	}
	if seconds, err = p.uint(4); err != nil {
		return 0, 0, err
	}
	if nanoseconds, err = p.uint(4); err != nil {
		return 0, 0, err
	}
	if seconds >= groupMarker || nanoseconds >= 1e9 {
		return 0, 0, fmt.Errorf("time %d.%09d: Fluent Bit does not take it for a time", seconds, nanoseconds)
	}
	return seconds, nanoseconds, nil
}

// object reads a map into p.json, which it begins anew.
func (p *unpacker) object(what string) error {
	if len(p.rest) == 0 || (p.rest[0]&0xf0 != 0x80 && p.rest[0] != 0xde && p.rest[0] != 0xdf) {
		return fmt.Errorf("%w: the %s is not a map", errMsgpack, what)
	}
	p.json = nil
	return p.value(1)
}

func (p *unpacker) take(n uint64) ([]byte, error) {
	if n > uint64(len(p.rest)) {
		return nil, fmt.Errorf("%w: %w", errMsgpack, io.ErrUnexpectedEOF)
	}
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b, nil
}

// uint reads a big-endian number of n bytes.
func (p *unpacker) uint(n uint64) (uint64, error) {
	b, err := p.take(n)
	var u uint64
	for _, c := range b {
		u = u<<8 | uint64(c)
	}
	return u, err
}

// value appends the next value to p.json. The format: github.com/msgpack/msgpack, spec.md.
func (p *unpacker) value(depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested more than %d levels deep: Fluent Bit may not survive that", maxDepth)
	}
	head, err := p.take(1)
	if err != nil {
		return err
	}
	c := head[0]
	switch {
	case c <= 0x7f:
		return p.add(strconv.AppendInt(p.json, int64(c), 10), nil)
	case c <= 0x8f:
		return p.container('{', uint64(c&0x0f), depth, nil)
	case c <= 0x9f:
		return p.container('[', uint64(c&0x0f), depth, nil)
	case c <= 0xbf:
		return p.text(uint64(c&0x1f), nil)
	case c >= 0xe0:
		return p.add(strconv.AppendInt(p.json, int64(int8(c)), 10), nil)
	}
	switch c {
	case 0xc0:
		return p.add(append(p.json, "null"...), nil)
	case 0xc2, 0xc3:
		return p.add(strconv.AppendBool(p.json, c == 0xc3), nil)
	case 0xca:
		u, err := p.uint(4)
		return p.float(float64(math.Float32frombits(uint32(u))), 32, err)
	case 0xcb:
		u, err := p.uint(8)
		return p.float(math.Float64frombits(u), 64, err)
	case 0xcc, 0xcd, 0xce, 0xcf:
		u, err := p.uint(1 << (c - 0xcc))
		return p.add(strconv.AppendUint(p.json, u, 10), err)
	case 0xd0, 0xd1, 0xd2, 0xd3:
		n := uint64(1) << (c - 0xd0)
		u, err := p.uint(n)
		shift := 64 - 8*n
		return p.add(strconv.AppendInt(p.json, int64(u<<shift)>>shift, 10), err)
	case 0xc4, 0xc5, 0xc6: // bin, which Fluent Bit prints as a string
		return p.text(p.uint(1 << (c - 0xc4)))
	case 0xd9, 0xda, 0xdb:
		return p.text(p.uint(1 << (c - 0xd9)))
	case 0xdc, 0xdd:
		n, err := p.uint(2 << (c - 0xdc))
		return p.container('[', n, depth, err)
	case 0xde, 0xdf:
		n, err := p.uint(2 << (c - 0xde))
		return p.container('{', n, depth, err)
	}
	return fmt.Errorf("%w: byte %#x inside a record", errMsgpack, c)
}

// add takes over what was appended to p.json. Like the two below it passes on
// an error of what was read before it.
func (p *unpacker) add(json []byte, err error) error {
	if err == nil {
		p.json = json
	}
	return err
}

func (p *unpacker) float(f float64, bits int, err error) error {
	if f == math.Trunc(f) && math.Abs(f) < 1<<63 { // as Fluent Bit prints it (src/flb_pack.c: msgpack2json)
		return p.add(strconv.AppendFloat(p.json, f, 'f', 1, bits), err)
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return fmt.Errorf("number %v: not in JSON", f)
	}
	return p.add(strconv.AppendFloat(p.json, f, 'g', -1, bits), err)
}

func (p *unpacker) text(n uint64, err error) error {
	if err != nil {
		return err
	}
	b, err := p.take(n)
	if err != nil {
		return err
	}
	// The error is about invalid UTF-8, which becomes U+FFFD.
	p.json, _ = jsontext.AppendQuote(p.json, b)
	return nil
}

// container reads n elements, or n pairs of key and value.
func (p *unpacker) container(open byte, n uint64, depth int, err error) error {
	if err != nil {
		return err
	}
	p.json = append(p.json, open)
	for i := range n {
		if i > 0 {
			p.json = append(p.json, ',')
		}
		if open == '{' {
			if err := p.key(); err != nil {
				return err
			}
		}
		if err := p.value(depth + 1); err != nil {
			return err
		}
	}
	p.json = append(p.json, open+2) // '[' and '{' both stand two before their ends
	return nil
}

func (p *unpacker) key() error {
	start := len(p.json)
	if err := p.value(maxDepth); err != nil {
		return err
	}
	if p.json[start] != '"' {
		return fmt.Errorf("%w: key %s is not a string", errMsgpack, p.json[start:])
	}
	p.json = append(p.json, ':')
	return nil
}
