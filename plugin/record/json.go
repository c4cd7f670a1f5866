package record

import (
	"github.com/go-json-experiment/json/jsontext"

	"duo_in/internal/scan"
)

// maxLevel is how deep objects and lists may nest, Duo's own object being level 1. What lies deeper goes out as the
// string of its JSON text. Fluent Bit turns records into JSON by recursion, 672 bytes a level, on an output's stack of
// 24 KiB (src/flb_pack.c:msgpack2json, include/fluent-bit/flb_coro.h): with 33 levels 4.2.8 overran it now and then, and
// ended with a segmentation fault. Half of the stack is left for what else is on it.
const maxLevel = 16

// appendJSON is the body of format json: the record as it came, key by key, and the added keys at the end. Names that come
// twice pass through in their order; what is not UTF-8, and lone surrogates, become U+FFFD. It is one pass over the text,
// with neither maps nor reflection, since this is most of what the plugin does.
func (e *Encoder) appendJSON(dst []byte, ev Event) []byte {
	start, has, n := len(dst), e.hidden, 0
	dst = append(dst, 0)
	for more := e.in.Enter(); more; more = e.in.Next(scan.Object) {
		from := len(dst)
		dst = e.appendQuoted(dst, e.in.Name())
		has.note(dst[from:])
		dst = e.appendValue(dst, 2)
		n++
	}
	dst, added := e.appendAdded(dst, ev, has)
	return patchLen(dst, start, mapType, n+added)
}

// appendValue appends the value that comes next; level is the one that it has if it is an object or a list.
func (e *Encoder) appendValue(dst []byte, level int) []byte {
	switch kind := e.in.Kind(); {
	case kind == scan.String:
		return e.appendQuoted(dst, e.in.Quoted())
	case isContainer(kind) && level <= maxLevel:
		return e.appendContainer(dst, kind, level)
	case isContainer(kind):
		e.part = appendCompact(e.part[:0], &e.in)
		return appendString(dst, e.part)
	default:
		return appendScalar(dst, kind, e.in.Value())
	}
}

// appendScalar appends a number, true, false or null; nothing for what is not JSON.
func appendScalar(dst []byte, kind scan.Kind, text []byte) []byte {
	switch {
	case text == nil:
		return dst
	case kind == scan.Number:
		return appendNumber(dst, text)
	case kind == scan.True:
		return append(dst, trueByte)
	case kind == scan.False:
		return append(dst, falseByte)
	default:
		return append(dst, nilByte)
	}
}

// appendContainer appends the object or list of this level that comes next.
func (e *Encoder) appendContainer(dst []byte, kind scan.Kind, level int) []byte {
	start, n := len(dst), 0
	dst = append(dst, 0)
	for more := e.in.Enter(); more; more = e.in.Next(kind) {
		if kind == scan.Object {
			dst = e.appendQuoted(dst, e.in.Name())
		}
		dst = e.appendValue(dst, level+1)
		n++
	}
	if kind == scan.Object {
		return patchLen(dst, start, mapType, n)
	}
	return patchLen(dst, start, arrayType, n)
}

// appendQuoted appends the string that the name or string stands for that was passed last.
func (e *Encoder) appendQuoted(dst, literal []byte) []byte {
	switch {
	case literal == nil:
		return dst // not JSON
	case e.in.Plain():
		return appendString(dst, literal[1:len(literal)-1])
	}
	e.part, _ = jsontext.AppendUnquote(e.part[:0], literal) // the error says only that there was something to replace by U+FFFD
	return appendString(dst, e.part)
}

// isContainer reports whether a value of this kind holds others.
func isContainer(kind scan.Kind) bool { return kind == scan.Object || kind == scan.List }
