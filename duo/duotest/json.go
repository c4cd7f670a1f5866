package duotest

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// object is a JSON object that keeps its keys in order, which encoding/json cannot do for a map.
type object []member

type member struct {
	key   string
	value any
}

// list is a JSON array.
type list []any

// absent is the value of a key that is left out.
type absent struct{}

// sorted puts the keys into alphabetical order, as Duo's are.
func (o object) sorted() object {
	slices.SortFunc(o, func(a, b member) int { return strings.Compare(a.key, b.key) })
	return o
}

// set replaces the value of a key, which must be there.
func (o object) set(key string, value any) {
	for i := range o {
		if o[i].key == key {
			o[i].value = value
			return
		}
	}
	panic(fmt.Sprintf("duotest: no key %q", key))
}

// get returns the object under a key, which must be there.
func (o object) get(key string) object { return o.value(key).(object) }

// string returns the string under a key, which must be there.
func (o object) string(key string) string { return o.value(key).(string) }

func (o object) value(key string) any {
	for _, m := range o {
		if m.key == key {
			return m.value
		}
	}
	panic(fmt.Sprintf("duotest: no key %q", key))
}

// text is the object as JSON text, as Duo puts some objects into strings.
func (o object) text() string { return string(appendJSON(nil, o)) }

// appendJSON writes a value as Duo's server does, which is that of Python: a space behind each comma and colon, and
// ASCII only.
func appendJSON(b []byte, value any) []byte {
	switch v := value.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, v)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case string:
		return appendString(b, v)
	case list:
		b = append(b, '[')
		for i, item := range v {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = appendJSON(b, item)
		}
		return append(b, ']')
	case object:
		return appendObject(b, v)
	}
	panic(fmt.Sprintf("duotest: no JSON for %T", value))
}

func appendObject(b []byte, o object) []byte {
	b = append(b, '{')
	first := true
	for _, m := range o {
		if _, ok := m.value.(absent); ok {
			continue
		}
		if !first {
			b = append(b, ", "...)
		}
		first = false
		b = appendJSON(append(appendString(b, m.key), ": "...), m.value)
	}
	return append(b, '}')
}

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r >= 0x20 && r < 0x7f:
			b = append(b, byte(r))
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return append(b, '"')
}

// eachMember calls visit with each key and value of a JSON object's first level, strings with their quotes. It reads only
// as much as it needs, since a server may hold a million records; what it returns is whether this can be an object.
func eachMember(raw []byte, visit func(key, value []byte)) bool {
	s := scanner{raw: bytes.TrimSpace(raw)}
	if !s.skip('{') {
		return false
	}
	if s.skip('}') {
		return s.end()
	}
	for {
		key := s.value()
		if len(key) < 2 || key[0] != '"' || !s.skip(':') {
			return false
		}
		value := s.value()
		if len(value) == 0 {
			return false
		}
		visit(key[1:len(key)-1], value)
		if s.skip('}') {
			return s.end()
		}
		if !s.skip(',') {
			return false
		}
	}
}

type scanner struct {
	raw []byte
	pos int
}

func (s *scanner) end() bool { return s.pos >= len(s.raw) }

// skip passes white space and then c, if that is what follows.
func (s *scanner) skip(c byte) bool {
	s.space()
	if s.end() || s.raw[s.pos] != c {
		return false
	}
	s.pos++
	return true
}

func (s *scanner) space() {
	for !s.end() && strings.IndexByte(" \t\r\n", s.raw[s.pos]) >= 0 {
		s.pos++
	}
}

// value passes a value and returns it; nothing, if it does not end.
func (s *scanner) value() []byte {
	s.space()
	start, depth := s.pos, 0
	for ; !s.end(); s.pos++ {
		switch s.raw[s.pos] {
		case '"':
			s.string()
			if depth == 0 {
				return s.raw[start:s.pos]
			}
			s.pos--
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return bytes.TrimSpace(s.raw[start:s.pos])
			}
			if depth == 0 {
				s.pos++
				return s.raw[start:s.pos]
			}
		case ',':
			if depth == 0 {
				return bytes.TrimSpace(s.raw[start:s.pos])
			}
		}
	}
	return nil
}

// string passes a string, from its first quote to behind its last.
func (s *scanner) string() {
	for s.pos++; !s.end(); s.pos++ {
		switch s.raw[s.pos] {
		case '\\':
			s.pos++
		case '"':
			s.pos++
			return
		}
	}
	s.pos = len(s.raw) // an escape at the very end has gone beyond it
}
