package duo

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"duo_in/internal/scan"
)

// maxSorted is how large a record, in bytes, may be for its keys to be sorted: a
// hundred times the largest that was seen.
const maxSorted = 1 << 20

// contentHash is the first 64 bits of the SHA-256 of the record with its keys
// sorted at every level, those of more than 1 MiB in Duo's order, and no white
// space, so that it is the same on every read. It is part of what is stored and
// delivered: changing it makes every event look new.
func contentHash(raw []byte) uint64 {
	v := jsontext.Value(bytes.Clone(raw))
	// What cannot be sorted is hashed as it came. Sorting takes fifty times the
	// memory of what consists of nothing but keys.
	_ = v.Format(lenient, jsontext.ReorderRawObjects(len(raw) <= maxSorted))
	return hash(v)
}

func hash(text []byte) uint64 {
	sum := sha256.Sum256(text)
	return binary.BigEndian.Uint64(sum[:8])
}

// canonical writes the text that contentHash hashes, a record's values as they
// are walked past, in a fraction of its time. What is uncommon it leaves to
// contentHash: names that have escapes, are not ASCII or come twice, and what is
// too large to be sorted.
type canonical struct {
	text    []byte
	odd     bool     // it is left to contentHash, and nothing more is written
	members []member // of the objects that are open, the innermost's last
	spare   []byte
}

// member is where in the text a member of an object is, with the comma behind it.
type member struct{ start, nameEnd, end int }

// object is one that is open.
type object struct {
	first    int // of its members
	unsorted bool
}

// reset begins a record. What one of uncommon size made grow is let go of.
func (c *canonical) reset() {
	const most = 128 << 10 // bytes
	if cap(c.text)+cap(c.spare)+24*cap(c.members) > most {
		*c = canonical{}
	}
	c.text, c.members, c.odd = c.text[:0], c.members[:0], false
}

// hash is the contentHash of a record, of which all values were written.
func (c *canonical) hash(raw []byte) uint64 {
	if c.odd || len(raw) > maxSorted {
		return contentHash(raw)
	}
	return hash(c.text)
}

// value passes the value that comes next.
func (c *canonical) value(s *scan.Scanner) {
	kind := s.Kind()
	switch {
	case c.odd:
		s.Value()
	case kind == scan.String:
		c.scalar(s.Quoted(), s.Plain())
	case kind == scan.Object:
		o := c.open()
		for more := s.Enter(); more; more = s.Next(kind) {
			c.name(s, &o)
			c.value(s)
			c.comma()
		}
		c.close(o)
	case kind == scan.List:
		c.list(s)
	default:
		c.scalar(s.Value(), s.Plain())
	}
	c.odd = c.odd || len(c.text) > maxSorted
}

func (c *canonical) open() object {
	c.text = append(c.text, '{')
	return object{first: len(c.members)}
}

// name passes the name of a member of o. After its value, comma ends the member.
func (c *canonical) name(s *scan.Scanner, o *object) (literal []byte) {
	literal = s.Name()
	if c.odd = c.odd || !s.Plain() || s.Bad(); c.odd {
		return literal
	}
	m := member{start: len(c.text), nameEnd: len(c.text) + len(literal)}
	c.text = append(append(c.text, literal...), ':')
	if n := len(c.members); n > o.first {
		o.unsorted = o.unsorted || c.compare(c.members[n-1], m) >= 0
	}
	c.members = append(c.members, m)
	return literal
}

func (c *canonical) comma() {
	if !c.odd {
		c.text = append(c.text, ',')
		c.members[len(c.members)-1].end = len(c.text)
	}
}

// compare compares two members by their names, which are ASCII without escapes.
func (c *canonical) compare(a, b member) int {
	return bytes.Compare(c.text[a.start+1:a.nameEnd-1], c.text[b.start+1:b.nameEnd-1])
}

// close ends an object and sorts it.
func (c *canonical) close(o object) {
	if c.odd {
		return
	}
	if o.unsorted {
		c.sort(c.members[o.first:])
	}
	if len(c.members) > o.first {
		c.text = c.text[:len(c.text)-1] // the last one's comma
	}
	c.text, c.members = append(c.text, '}'), c.members[:o.first]
}

// sort puts an object's members, which are at the end of the text, in order.
func (c *canonical) sort(members []member) {
	start := members[0].start
	slices.SortFunc(members, c.compare)
	c.spare = c.spare[:0]
	for i, m := range members {
		c.spare = append(c.spare, c.text[m.start:m.end]...)
		c.odd = c.odd || i > 0 && c.compare(members[i-1], m) == 0
	}
	copy(c.text[start:], c.spare)
}

func (c *canonical) list(s *scan.Scanner) {
	c.text = append(c.text, '[')
	start := len(c.text)
	for more := s.Enter(); more; more = s.Next(scan.List) {
		if c.value(s); !c.odd {
			c.text = append(c.text, ',')
		}
	}
	c.text = append(c.text[:max(start, len(c.text)-1)], ']')
}

// scalar appends a string as jsontext formats it, with no more escapes than it
// needs, any other value as it is, as it does a string that is plain.
func (c *canonical) scalar(text []byte, plain bool) {
	switch {
	case len(text) > maxSorted:
		c.odd = true
	case plain || onlyShort(text) && utf8.Valid(text):
		c.text = append(c.text, text...)
	default:
		// The errors say only that there was something to replace by U+FFFD.
		c.spare, _ = jsontext.AppendUnquote(c.spare[:0], text)
		c.text, _ = jsontext.AppendQuote(c.text, c.spare)
	}
}

// onlyShort reports whether a text has no escapes but those of two bytes that are
// the shortest there are for what they stand for.
func onlyShort(text []byte) bool {
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 {
			return true
		}
		if bytes.IndexByte([]byte(`"\bfnrt`), text[i+1]) < 0 {
			return false
		}
		text = text[i+2:]
	}
}
