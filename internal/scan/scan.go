// Package scan walks through a JSON text that is all in memory, once, from its beginning to its end.
//
// It promises to take exactly the texts that jsontext takes when it allows duplicate names and invalid UTF-8: RFC 8259,
// nested up to 10,000 levels. It copies nothing: what it returns are parts of the text. What it is for is speed.
//
// What is wrong with a text, and where, it leaves to jsontext, what strings and numbers mean to the caller.
package scan

import (
	"encoding/binary"
	"math/bits"
)

// MaxLevels is how deep objects and lists may nest, jsontext's own limit.
const MaxLevels = 10_000

// Kind is the first byte of a value, '0' for all numbers; None is that of none, where the text ends or is not JSON.
type Kind byte

// The kinds.
const (
	None   Kind = 0
	Null   Kind = 'n'
	False  Kind = 'f'
	True   Kind = 't'
	String Kind = '"'
	Number Kind = '0'
	Object Kind = '{'
	List   Kind = '['
)

// kinds are the kinds of values by their first byte.
var kinds = func() (of [256]Kind) {
	for _, k := range []Kind{Null, False, True, String, Object, List} {
		of[k] = k
	}
	for _, c := range "-0123456789" {
		of[c] = Number
	}
	return of
}()

// Scanner is a place in a text: before a value, a name, or what ends a member. Where the text turns out not to be JSON it
// goes to the end and stays there, so that only [Scanner.Bad] or [Scanner.End] has to be asked, after the walk.
//
// A container is walked like this, and each member's value has to be passed:
//
//	kind := s.Kind()
//	for more := s.Enter(); more; more = s.Next(kind) {
//		if kind == scan.Object {
//			name := s.Name()
//		}
//		value := s.Value()
//	}
type Scanner struct {
	text  []byte
	pos   int // of what comes next; white space is passed
	end   int // of what was passed last
	level int // containers that were entered and not left
	bad   bool
	plain bool // see Plain
}

// New returns a Scanner before the value of a text.
func New(text []byte) Scanner {
	s := Scanner{text: text}
	s.space()
	return s
}

// Bad reports whether the text so far is not JSON, or nests too deep.
func (s *Scanner) Bad() bool { return s.bad }

// End reports whether all of the text has been passed, and is JSON.
func (s *Scanner) End() bool { return !s.bad && s.level == 0 && s.end > 0 && s.pos == len(s.text) }

// Fail has the rest of the text be taken for bad: the walk ends.
func (s *Scanner) Fail() {
	s.bad, s.pos = true, len(s.text)
}

// Pos is where in the text what comes next begins.
func (s *Scanner) Pos() int { return s.pos }

// Left is how many bytes are still to come.
func (s *Scanner) Left() int { return len(s.text) - s.pos }

// Since is the text from a position to the end of what was passed last.
func (s *Scanner) Since(pos int) []byte {
	if s.bad {
		return nil
	}
	return s.text[pos:s.end]
}

// Kind is the kind of the value that comes next.
func (s *Scanner) Kind() Kind {
	if s.pos < len(s.text) {
		return kinds[s.text[s.pos]]
	}
	return None
}

// Enter goes into the object or list that comes next, and reports whether it holds anything. An empty one is passed.
func (s *Scanner) Enter() bool {
	kind := s.Kind()
	if s.level++; s.level > MaxLevels || kind != Object && kind != List {
		s.Fail()
		return false
	}
	s.pass(1)
	if s.pos < len(s.text) && s.text[s.pos] == Closing(kind) {
		s.level--
		s.pass(1)
		return false
	}
	return !s.bad
}

// Next goes on behind a member of a container of this kind, and reports whether there is another. Behind the last it leaves
// the container.
func (s *Scanner) Next(of Kind) bool {
	if s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ',':
			s.pass(1)
			return true
		case Closing(of):
			s.level--
			s.pass(1)
			return false
		}
	}
	s.Fail()
	return false
}

// Closing is the end of a container of this kind.
func Closing(kind Kind) byte { return byte(kind) + 2 }

// Name passes a member's name and the colon behind it, and returns the name as it is written, nil if there is none.
func (s *Scanner) Name() []byte {
	name := s.Quoted()
	if s.pos < len(s.text) && s.text[s.pos] == ':' {
		s.pass(1)
		return name
	}
	s.Fail()
	return nil
}

// Plain reports whether the text that was passed last, of a name or of a value that is no container, stands for itself: it
// is ASCII without an escape.
func (s *Scanner) Plain() bool { return s.plain }

// Value passes the value that comes next, and returns its text, nil if it is not JSON.
func (s *Scanner) Value() []byte {
	switch kind := s.Kind(); kind {
	case String:
		return s.Quoted()
	case Number:
		return s.number()
	case True:
		return s.word("true")
	case False:
		return s.word("false")
	case Null:
		return s.word("null")
	case Object, List:
		start := s.pos
		for more := s.Enter(); more; more = s.Next(kind) {
			if kind == Object {
				s.Name()
			}
			s.Value()
		}
		return s.Since(start)
	}
	s.Fail()
	return nil
}

// pass passes n bytes and the white space behind them.
func (s *Scanner) pass(n int) {
	s.pos += n
	s.end = s.pos
	s.space()
}

// space passes white space.
func (s *Scanner) space() {
	for s.pos < len(s.text) && s.text[s.pos] <= ' ' && blank&(1<<s.text[s.pos]) != 0 {
		s.pos++
	}
}

// blank has a bit for each byte of white space.
const blank = 1<<' ' | 1<<'\t' | 1<<'\n' | 1<<'\r'

// Quoted passes the string that comes next, which is Value's work too, and returns it with its quotes.
func (s *Scanner) Quoted() []byte {
	if s.pos == len(s.text) || s.text[s.pos] != '"' {
		s.Fail()
		return nil
	}
	text, i, plain := s.text[s.pos:], 1, true
	for {
		for ; i+8 <= len(text); i += 8 {
			if odd := oddBytes(binary.LittleEndian.Uint64(text[i : i+8])); odd != 0 {
				i += bits.TrailingZeros64(odd) / 8
				break
			}
		}
		if i >= len(text) {
			break
		}
		switch c := text[i]; {
		case c == '"':
			s.plain = plain
			s.pass(i + 1)
			return text[:i+1]
		case c == '\\':
			n := escapeLen(text[i:])
			if n == 0 {
				s.Fail()
				return nil
			}
			i, plain = i+n, false
		case c < ' ':
			s.Fail()
			return nil
		default: // not ASCII, or one of the last seven bytes
			i, plain = i+1, plain && c < 0x80
		}
	}
	s.Fail()
	return nil
}

// oddBytes looks at eight bytes, the first of them the lowest, for one that is more than itself in a string: a quote, a
// backslash, a control character, or part of what is not ASCII. Of the first of these the highest bit is set, of those before
// it none.
func oddBytes(w uint64) uint64 {
	const each, high = 0x0101010101010101, 0x8080808080808080
	return (w | (w - each*' ') | (w ^ each*'"' - each) | (w ^ each*'\\' - each)) & high
}

// escapeLen returns how many bytes the escape takes that text begins with, none if it is not one.
func escapeLen(text []byte) int {
	if len(text) < 2 {
		return 0
	}
	switch text[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(text) >= 6 && isHex(text[2]) && isHex(text[3]) && isHex(text[4]) && isHex(text[5]) {
			return 6
		}
	}
	return 0
}

func isHex(c byte) bool {
	return isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'f'
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// number passes a number.
func (s *Scanner) number() []byte {
	text, i := s.text[s.pos:], 0
	if text[i] == '-' {
		i++
	}
	n := digits(text, i)
	ok := n > i
	if ok && text[i] == '0' {
		n = i + 1 // a number of its own: what follows is not JSON
	}
	if i = n; ok && i < len(text) && text[i] == '.' {
		n = digits(text, i+1)
		ok, i = n > i+1, n
	}
	if ok && i < len(text) && text[i]|0x20 == 'e' {
		if i++; i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		n = digits(text, i)
		ok, i = n > i, n
	}
	if !ok {
		s.Fail()
		return nil
	}
	s.plain = true
	s.pass(i)
	return text[:i]
}

// digits returns where the digits end that stand from i on.
func digits(text []byte, i int) int {
	for i < len(text) && isDigit(text[i]) {
		i++
	}
	return i
}

// word passes this word.
func (s *Scanner) word(w string) []byte {
	if text := s.text[s.pos:]; len(text) >= len(w) && string(text[:len(w)]) == w {
		s.plain = true
		s.pass(len(w))
		return text[:len(w)]
	}
	s.Fail()
	return nil
}
