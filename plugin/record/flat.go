package record

import (
	"strconv"

	"duo_in/internal/scan"
)

// maxFlatName is the length, in bytes, beyond which a name is not joined with others: else a long one before many
// others would make an event many times larger than its record.
const maxFlatName = 256

// maxFlatJoined is how many bytes names before others may take in an event, beyond as many as its record has. No record of
// Duo's comes near that; without it a name of 256 bytes before a million short ones is a gigabyte.
const maxFlatJoined = 64 << 10

// flatNames are the names of an event in format flat.
type flatNames struct {
	path     []byte // that lead to the value at hand, joined by "_"
	reserved keySet // the added keys whose names are still kept for them
	levels   int    // how many levels of objects are taken apart
	joined   int    // how many more bytes names before others may take

	// The names that were used before, so that the usual ones cost no allocation, and about how many bytes they hold.
	used map[string]*flatName
	size int

	event int // the number of the event at hand
}

// flatName says where a name was used.
type flatName struct {
	event  int // the last event with this name
	suffix int // the last one that was tried there to tell another one apart
}

// flatNameSize is what a name in the map takes beside its bytes.
const flatNameSize = 64

// begin starts an event. Names that keys will be added by are taken.
func (f *flatNames) begin(reserved keySet, levels, joined int) {
	f.event++
	f.path, f.reserved, f.levels, f.joined = f.path[:0], reserved, levels, joined
	for i, is := range reserved {
		if is {
			f.take([]byte(added[i].name))
		}
	}
}

// take reports whether a name was free, and takes it.
func (f *flatNames) take(name []byte) bool {
	n := f.used[string(name)]
	if n == nil {
		if f.used == nil {
			f.used = map[string]*flatName{}
		}
		n = &flatName{}
		f.used[string(name)] = n
		f.size += len(name) + flatNameSize
	}
	if n.event == f.event {
		return false
	}
	*n = flatName{event: f.event, suffix: 1}
	return true
}

// claim returns the path as a name of its own: with _2, _3 and so on if it is taken. Duo's own top-level name is that
// of the added key, which then does not come.
func (f *flatNames) claim(level int) []byte {
	for i := range added {
		if level == 1 && f.reserved[i] && added[i].name == string(f.path) {
			f.reserved[i] = false
			return f.path
		}
	}
	if f.take(f.path) {
		return f.path
	}
	for n := f.used[string(f.path)]; ; {
		n.suffix++
		name := strconv.AppendInt(append(f.path, '_'), int64(n.suffix), 10)
		if f.take(name) {
			return name
		}
	}
}

// shrink forgets names if they are many or long.
func (f *flatNames) shrink() {
	if f.size > maxKept || cap(f.path) > maxKept {
		f.used, f.path, f.size = nil, nil, 0
	}
}

// appendFlat is the body of format flat: the fields of objects under their names joined by "_", a list of scalars as it
// is, a list that holds objects or lists as its JSON text. What lies deeper than maxLevel, or has names longer than
// maxFlatName before it, is JSON text too, and so is an empty object, and every object of a record whose names, joined,
// would take more than maxFlatJoined.
func (e *Encoder) appendFlat(dst []byte, ev Event) []byte {
	out := e.appendFlatLevels(dst, ev, maxLevel)
	if e.flat.joined < 0 {
		e.read(ev.Raw)
		return e.appendFlatLevels(dst, ev, 1)
	}
	return out
}

// appendFlatLevels takes apart the objects of so many levels. It gives up where names, joined, take too much.
func (e *Encoder) appendFlatLevels(dst []byte, ev Event, levels int) []byte {
	start := len(dst)
	e.flat.begin(e.hidden.left(ev), levels, len(ev.Raw)+maxFlatJoined)
	dst, n := e.appendFlatObject(append(dst, 0), ev.Raw, 1)
	var has keySet
	for i, is := range e.flat.reserved {
		has[i] = !is
	}
	dst, more := e.appendAdded(dst, ev, has)
	return patchLen(dst, start, mapType, n+more)
}

// appendFlatObject appends the fields of the object of this level that comes next, and returns how many there are.
func (e *Encoder) appendFlatObject(dst, raw []byte, level int) (_ []byte, n int) {
	outer := len(e.flat.path)
	for more := e.in.Enter(); more; more = e.in.Next(scan.Object) {
		_, name := e.readName()
		path := e.flat.path[:outer]
		if level > 1 {
			path = append(path, '_')
		}
		if e.flat.joined -= len(path); e.flat.joined < 0 {
			e.in.Fail()
		}
		if e.in.Bad() {
			break
		}
		e.flat.path = append(path, name...)
		fields := 0
		dst, fields = e.appendFlatValue(dst, raw, level)
		n += fields
	}
	e.flat.path = e.flat.path[:outer]
	return dst, n
}

// appendFlatValue appends the value that comes next, of an object of this level, under its path, and returns how many
// fields it makes.
func (e *Encoder) appendFlatValue(dst, raw []byte, level int) (_ []byte, n int) {
	kind, as := e.in.Kind(), maxLevel+1 // as appendValue takes it: beyond maxLevel objects and lists are text
	switch {
	case kind == scan.List && !holdsContainer(raw[e.in.Pos():]):
		as = maxLevel
	case kind == scan.Object && level < e.flat.levels && len(e.flat.path) <= maxFlatName:
		dst, n = e.appendFlatObject(dst, raw, level+1)
		if n > 0 || e.in.Bad() {
			return dst, n
		}
		return appendString(appendString(dst, e.flat.claim(level)), "{}"), 1
	}
	return e.appendValue(appendString(dst, e.flat.claim(level)), as), 1
}

// holdsContainer reports whether the list that text begins with holds an object or a list.
func holdsContainer(text []byte) bool {
	for i, inside := 0, false; i < len(text); i++ {
		switch text[i] {
		case '"':
			i += stringLen(text[i:]) - 1
		case '{', '[':
			if inside {
				return true
			}
			inside = true
		case ']':
			return false
		}
	}
	return false
}
