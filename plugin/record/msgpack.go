package record

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// The first bytes of msgpack values (github.com/msgpack/msgpack, spec.md). Where a comment names sizes, the types of the
// larger ones are the numbers that follow.
const (
	fixMap   = 0x80 // | length, below 16
	fixArray = 0x90 // | length, below 16
	fixStr   = 0xa0 // | length, below 32

	nilByte     = 0xc0
	falseByte   = 0xc2
	trueByte    = 0xc3
	float64Byte = 0xcb
	uint8Byte   = 0xcc // 8, 16, 32, 64 bits
	int8Byte    = 0xd0 // 8, 16, 32, 64 bits
	str8Byte    = 0xd9 // lengths of 8, 16, 32 bits
	array16Byte = 0xdc // lengths of 16, 32 bits
	map16Byte   = 0xde // lengths of 16, 32 bits
)

// containerType is how the length of a map or an array is written: in the first byte, or after it.
type containerType struct{ fix, len16 byte }

var (
	mapType   = containerType{fixMap, map16Byte}
	arrayType = containerType{fixArray, array16Byte}
)

// patchLen writes the head of a container of n members whose first byte was kept free at dst[start]. Larger heads
// move the content: most containers are small, and how large they are is known only at their end.
func patchLen(dst []byte, start int, t containerType, n int) []byte {
	switch {
	case n < 16:
		dst[start] = t.fix | byte(n)
		return dst
	case n <= math.MaxUint16:
		dst[start] = t.len16
		return slices.Insert(dst, start+1, byte(n>>8), byte(n))
	default:
		dst[start] = t.len16 + 1
		return slices.Insert(dst, start+1, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
}

// appendNumber appends a JSON number. One without fraction and exponent is an integer (so -0 is 0), any other a
// float64, rounded to what that can hold. What is too large for either, such as 2^64 or 1e400, becomes the string of its
// text.
func appendNumber(dst, text []byte) []byte {
	if bytes.ContainsAny(text, ".eE") {
		if f, err := strconv.ParseFloat(string(text), 64); err == nil {
			return binary.BigEndian.AppendUint64(append(dst, float64Byte), math.Float64bits(f))
		}
	} else if i, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		return appendInt(dst, i)
	} else if u, err := strconv.ParseUint(string(text), 10, 64); err == nil {
		return appendUint(dst, u)
	}
	return appendString(dst, text)
}

// appendInt appends i in as few bytes as it takes; from 0 on that is an unsigned type.
func appendInt(dst []byte, i int64) []byte {
	switch {
	case i >= 0:
		return appendUint(dst, uint64(i))
	case i >= -32:
		return append(dst, byte(i))
	case i >= math.MinInt8:
		return append(dst, int8Byte, byte(i))
	case i >= math.MinInt16:
		return binary.BigEndian.AppendUint16(append(dst, int8Byte+1), uint16(i))
	case i >= math.MinInt32:
		return binary.BigEndian.AppendUint32(append(dst, int8Byte+2), uint32(i))
	default:
		return binary.BigEndian.AppendUint64(append(dst, int8Byte+3), uint64(i))
	}
}

// appendUint appends u in as few bytes as it takes.
func appendUint(dst []byte, u uint64) []byte {
	switch {
	case u <= math.MaxInt8:
		return append(dst, byte(u))
	case u <= math.MaxUint8:
		return append(dst, uint8Byte, byte(u))
	case u <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, uint8Byte+1), uint16(u))
	case u <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, uint8Byte+2), uint32(u))
	default:
		return binary.BigEndian.AppendUint64(append(dst, uint8Byte+3), u)
	}
}

// appendText appends text as a string, what is not UTF-8 replaced.
func appendText(dst, text []byte) []byte {
	if !utf8.Valid(text) {
		text = bytes.ToValidUTF8(text, []byte("\uFFFD"))
	}
	return appendString(dst, text)
}

// appendString appends s, which is valid UTF-8.
func appendString[S []byte | string](dst []byte, s S) []byte {
	return append(appendStringLen(dst, len(s)), s...)
}

// appendStringLen appends the head of a string of n bytes.
func appendStringLen(dst []byte, n int) []byte {
	switch {
	case n < 32:
		return append(dst, fixStr|byte(n))
	case n <= math.MaxUint8:
		return append(dst, str8Byte, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, str8Byte+1), uint16(n))
	default:
		return binary.BigEndian.AppendUint32(append(dst, str8Byte+2), uint32(n))
	}
}
