package record

import (
	"errors"

	"github.com/go-json-experiment/json/jsontext"
)

// maxLevel is how deep objects and lists may nest, Duo's own object being level 1. What lies deeper goes out as the
// string of its JSON text. Fluent Bit turns records into JSON by recursion, 672 bytes a level, on an output's stack of
// 24 KiB (src/flb_pack.c:msgpack2json, include/fluent-bit/flb_coro.h): with 33 levels 4.2.8 overran it now and then, and
// ended with a segmentation fault. Half of the stack is left for what else is on it.
const maxLevel = 16

// asSent accepts what RFC 8259 leaves open and RFC 7493 forbids: duplicate names, which pass through in their order, and
// invalid UTF-8 and lone surrogates, which become U+FFFD.
var asSent = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

var (
	errNotObject = errors.New("record is not a JSON object")
	errTrailing  = errors.New("record is followed by more data")
)

// appendJSON is the body of format json: the record as it came, key by key, and the added keys at the end. It is one
// pass over the tokens, with neither maps nor reflection, since this is most of what the plugin does.
func (e *Encoder) appendJSON(dst []byte, ev Event) ([]byte, error) {
	if e.in.PeekKind() != jsontext.KindBeginObject {
		return nil, errNotObject
	}
	start := len(dst)
	has := e.hidden
	dst, n, err := e.appendItems(append(dst, 0), 1, &has)
	if err != nil {
		return nil, err
	}
	if err := e.readEnd(); err != nil {
		return nil, err
	}
	dst, more := e.appendAdded(dst, ev, has)
	return patchLen(dst, start, mapType, n/2+more), nil
}

// appendItems appends what the object or list that comes next holds, and returns how many items that is; in an object
// a name and its value are two. Of Duo's own object, has takes in the names; below it is nil.
func (e *Encoder) appendItems(dst []byte, level int, has *keySet) (_ []byte, n int, err error) {
	if _, err := e.in.ReadToken(); err != nil {
		return nil, 0, err
	}
	for ; ; n++ {
		kind := e.in.PeekKind()
		if kind == jsontext.KindEndObject || kind == jsontext.KindEndArray {
			_, err := e.in.ReadToken()
			return dst, n, err
		}
		start := len(dst)
		if dst, err = e.appendValue(dst, kind, level+1); err != nil {
			return nil, 0, err
		}
		if has != nil && n%2 == 0 {
			has.note(dst[start:])
		}
	}
}

// appendValue appends the name or value of this kind that comes next; level is the one that it has if it is an object or
// a list.
func (e *Encoder) appendValue(dst []byte, kind jsontext.Kind, level int) ([]byte, error) {
	if level <= maxLevel && (kind == jsontext.KindBeginObject || kind == jsontext.KindBeginArray) {
		return e.appendContainer(dst, kind, level)
	}
	text, err := e.in.ReadValue()
	if err != nil {
		return nil, err
	}
	switch kind {
	case jsontext.KindNull:
		return append(dst, nilByte), nil
	case jsontext.KindFalse:
		return append(dst, falseByte), nil
	case jsontext.KindTrue:
		return append(dst, trueByte), nil
	case jsontext.KindString:
		return appendQuoted(dst, text), nil
	case jsontext.KindNumber:
		return appendNumber(dst, text), nil
	default:
		e.part = appendCompact(e.part[:0], text)
		return appendString(dst, e.part), nil
	}
}

// appendContainer appends the object or list of this level that comes next.
func (e *Encoder) appendContainer(dst []byte, kind jsontext.Kind, level int) ([]byte, error) {
	start := len(dst)
	dst, n, err := e.appendItems(append(dst, 0), level, nil)
	switch {
	case err != nil:
		return nil, err
	case kind == jsontext.KindBeginObject:
		return patchLen(dst, start, mapType, n/2), nil
	default:
		return patchLen(dst, start, arrayType, n), nil
	}
}
