package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

// object is a map that keeps its order: names and values in turn. codec encodes it as a map.
type object []any

func (object) MapBySlice() {}

// parseEvent takes one event apart, independently of the code that made it and of codec, which loses the order of maps
// and accepts more than Fluent Bit does. Integers come back as uint64, negative ones as int64.
func parseEvent(b []byte) (time.Time, object, error) {
	if len(b) < 11 || b[0] != 0x92 || b[1] != 0xd7 || b[2] != 0 {
		return time.Time{}, nil, fmt.Errorf("no array of two that begins with an EventTime: % x", b[:min(len(b), 11)])
	}
	sec, nsec := binary.BigEndian.Uint32(b[3:]), binary.BigEndian.Uint32(b[7:])
	if sec > 0xFFFFFFFD || nsec > 999_999_999 {
		return time.Time{}, nil, fmt.Errorf("EventTime of %d s, %d ns", sec, nsec)
	}
	w := walker{b[11:]}
	body, err := w.value(2)
	if err != nil {
		return time.Time{}, nil, err
	}
	o, ok := body.(object)
	if !ok || len(w.rest) > 0 {
		return time.Time{}, nil, fmt.Errorf("body is a %T, %d bytes follow it", body, len(w.rest))
	}
	return time.Unix(int64(sec), int64(nsec)).UTC(), o, nil
}

type walker struct{ rest []byte }

var errShort = errors.New("msgpack ends too early")

func (w *walker) take(n int) ([]byte, error) {
	if n > len(w.rest) {
		return nil, errShort
	}
	b := w.rest[:n]
	w.rest = w.rest[n:]
	return b, nil
}

// uint takes an unsigned integer of n bytes.
func (w *walker) uint(n int) (u uint64, err error) {
	b, err := w.take(n)
	for _, c := range b {
		u = u<<8 | uint64(c)
	}
	return u, err
}

// value takes one value; depth is the level that it has if it is a container, the event's outer array being 1.
func (w *walker) value(depth int) (any, error) {
	b, err := w.take(1)
	if err != nil {
		return nil, err
	}
	switch c := b[0]; {
	case c < 0x80:
		return uint64(c), nil
	case c < 0x90:
		return w.object(int(c&0x0f), depth)
	case c < 0xa0:
		return w.list(int(c&0x0f), depth)
	case c < 0xc0:
		return w.string(int(c & 0x1f))
	case c >= 0xe0:
		return int64(int8(c)), nil
	case c == 0xc0:
		return nil, nil
	case c == 0xc2, c == 0xc3:
		return c == 0xc3, nil
	case c == 0xcb:
		u, err := w.uint(8)
		return math.Float64frombits(u), err
	case c >= 0xcc && c <= 0xcf:
		return w.uint(1 << (c - 0xcc))
	case c >= 0xd0 && c <= 0xd3:
		size := 1 << (c - 0xd0)
		u, err := w.uint(size)
		shift := 64 - 8*size
		return int64(u<<shift) >> shift, err
	case c >= 0xd9 && c <= 0xdb:
		n, err := w.uint(1 << (c - 0xd9))
		if err != nil {
			return nil, err
		}
		return w.string(int(n))
	case c == 0xdc, c == 0xdd:
		n, err := w.uint(2 << (c - 0xdc))
		if err != nil {
			return nil, err
		}
		return w.list(int(n), depth)
	case c == 0xde, c == 0xdf:
		n, err := w.uint(2 << (c - 0xde))
		if err != nil {
			return nil, err
		}
		return w.object(int(n), depth)
	default:
		return nil, fmt.Errorf("unexpected type 0x%02x", c)
	}
}

func (w *walker) string(n int) (any, error) {
	b, err := w.take(n)
	if err == nil && !utf8.Valid(b) {
		err = fmt.Errorf("string %q is not UTF-8", b)
	}
	return string(b), err
}

func (w *walker) list(n, depth int) (any, error) {
	list := []any{}
	err := w.items(n, depth, func(v any) { list = append(list, v) })
	return list, err
}

func (w *walker) object(n, depth int) (any, error) {
	o := object{}
	err := w.items(2*n, depth, func(v any) { o = append(o, v) })
	for i := 0; i < len(o); i += 2 {
		if _, ok := o[i].(string); !ok {
			return nil, fmt.Errorf("name %v is no string", o[i])
		}
	}
	return o, err
}

func (w *walker) items(n, depth int, add func(any)) error {
	if depth > 17 {
		return fmt.Errorf("nested %d levels deep", depth)
	}
	for range n {
		v, err := w.value(depth + 1)
		if err != nil {
			return err
		}
		add(v)
	}
	return nil
}
