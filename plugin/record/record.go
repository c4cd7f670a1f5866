// Package record turns one Duo record, as the raw JSON that the API sent, into one Fluent Bit event in msgpack:
// [EventTime, {map}].
//
// It promises that every record comes out as exactly one event that Fluent Bit accepts, in any Format: what cannot be
// converted goes out as the text it is, in the key message. Keys keep their order, numbers their type, strings are valid
// UTF-8, and no event nests deeper than 17 levels, its outer array among them. Fluent Bit itself silently drops an event of 64
// levels, or a malformed one, together with the rest of its chunk (measured with 5.1.1). Equal records make equal events.
//
// Which records there are, their time and their event_id are the caller's.
package record

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/ugorji/go/codec"

	"duo_in/internal/scan"
)

// Event is one Duo record and what is added to it.
type Event struct {
	Raw  []byte    // JSON as Duo sent it; only read, and not kept after Append
	Time time.Time // when it happened, by Duo's clock

	// The values of the keys eventtype, host, event_id and account_id, added at the record's end in this order. A key
	// that Duo sent itself, at the top level, wins. An empty AccountID is not added.
	EventType, Host, EventID, AccountID string
}

// Format is the shape in which records leave.
type Format int

// The formats.
const (
	JSON Format = iota // Duo's record as it came
	Flat               // one level: access_device_location_city
	Raw                // the record as one line of JSON in the key message
	CEF                // one line of ArcSight's Common Event Format in the key message
)

// formats has one row for each Format. A body appends the event's second half, a msgpack map, of a record that is an object;
// where that turns out not to be JSON it is thrown away. text is then what the event says in the key message.
var formats = [...]struct {
	name string
	body func(e *Encoder, dst []byte, ev Event) []byte
	text func(e *Encoder, ev Event) []byte
}{
	JSON: {"json", (*Encoder).appendJSON, (*Encoder).plainText},
	Flat: {"flat", (*Encoder).appendFlat, (*Encoder).plainText},
	Raw:  {"raw", (*Encoder).appendRaw, (*Encoder).rawText},
	CEF:  {"cef", (*Encoder).appendCEF, (*Encoder).cefText},
}

// String returns the format's name, as ParseFormat takes it.
func (f Format) String() string { return formats[f].name }

// ParseFormat finds a format by its name, in any case. The error lists the names there are.
func ParseFormat(name string) (Format, error) {
	var names []string
	for f, row := range formats {
		if strings.EqualFold(row.name, name) {
			return Format(f), nil
		}
		names = append(names, row.name)
	}
	return 0, fmt.Errorf("there is no such format; use %s", strings.Join(names, ", "))
}

// Options say how an Encoder shapes records. The zero Options are format json with every field.
type Options struct {
	Format Format

	// Exclude names fields to leave out, as ParseExclude returns them: "user.groups" is the field groups of the object
	// user, and, where a list lies on the way, of each of its objects. Without a dot it may be an added key too. The
	// key message of a format, and the text of a record that cannot be read, stay whole.
	Exclude []string

	// Version is the device version in CEF's header. The empty one is 0.
	Version string
}

// Encoder encodes events, one after the other, and reuses what that takes: it is not safe for concurrent use. Between
// two events it holds on to nothing of their size.
type Encoder struct {
	body func(e *Encoder, dst []byte, ev Event) []byte
	text func(e *Encoder, ev Event) []byte

	exclude *place // nil if nothing is excluded
	hidden  keySet // the added keys that are excluded
	flat    flatNames
	cef     cefValues

	in scan.Scanner // the record being read

	out    *codec.Encoder // for what is encoded from values, into packed
	time   codec.RawExt
	value  string
	packed []byte

	repeated [len(added)]packedValue // the last event's

	// Reused from event to event: the record without what is excluded, one name, one part as text, one line.
	kept, name, part, line []byte
}

// NewEncoder returns an Encoder. Options that name no Format panic.
func NewEncoder(o Options) *Encoder {
	e := &Encoder{
		body:   formats[o.Format].body,
		text:   formats[o.Format].text,
		time:   codec.RawExt{Tag: eventTimeTag, Data: make([]byte, 8)},
		packed: make([]byte, 0, 64),
	}
	e.excludePaths(o.Exclude)
	e.cef.version = cmp.Or(o.Version, "0")
	e.out = codec.NewEncoderBytes(&e.packed, msgpack)
	return e
}

// Append appends ev to dst as one msgpack event, [EventTime, {map}], and returns the extended slice. It does not fail:
// a record that the format cannot hold (broken JSON, trailing data, no object, more than 10,000 levels) goes out as
// {message: its text, eventtype, host, event_id, account_id}, the text made valid UTF-8, and one line in raw and cef.
func (e *Encoder) Append(dst []byte, ev Event) []byte {
	dst = append(dst, fixArray|2)
	dst = e.appendTime(dst, ev.Time)
	if out, ok := e.convert(dst, ev); ok {
		return out
	}
	dst = e.appendMessage(dst, e.text(e, ev), ev)
	e.shrink()
	return dst
}

// convert appends the body in the chosen format, or reports that it cannot. A panic counts as that: were there a record
// that makes the parser panic, its stream would read it again and again and never get past it.
func (e *Encoder) convert(dst []byte, ev Event) (out []byte, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
		e.read(nil) // lets go of the record, which may pin a whole page
		e.shrink()
	}()
	e.read(ev.Raw)
	if e.exclude != nil {
		if ev.Raw, ok = e.keep(); !ok {
			return nil, false
		}
		e.read(ev.Raw)
	}
	if e.in.Kind() != scan.Object {
		return nil, false
	}
	out = e.body(e, dst, ev)
	return out, e.in.End()
}

// maxKept is how much memory, in bytes, an encoder's buffers may hold between two events, and so may flat's and cef's.
const maxKept = 64 << 10

// shrink lets go of what an event of uncommon size made grow.
func (e *Encoder) shrink() {
	if cap(e.kept)+cap(e.name)+cap(e.part)+cap(e.line) > maxKept {
		e.kept, e.name, e.part, e.line = nil, nil, nil, nil
	}
	e.flat.shrink()
	e.cef.shrink()
}

// read goes to the beginning of raw.
func (e *Encoder) read(raw []byte) { e.in = scan.New(raw) }

// readName passes the name that comes next, and returns it as it is written, and what that stands for until the next one.
func (e *Encoder) readName() (literal, name []byte) {
	if literal = e.in.Name(); literal == nil {
		return nil, nil
	}
	if e.in.Plain() {
		return literal, literal[1 : len(literal)-1]
	}
	e.name, _ = jsontext.AppendUnquote(e.name[:0], literal)
	return literal, e.name
}

// plainText is the text of a record that cannot be read: what came.
func (e *Encoder) plainText(ev Event) []byte { return ev.Raw }

// appendMessage appends the map of an event that is only text: {message: text} and the added keys.
func (e *Encoder) appendMessage(dst, text []byte, ev Event) []byte {
	start := len(dst)
	dst = append(dst, 0)
	dst = appendString(dst, "message")
	dst = appendText(dst, text)
	dst, n := e.appendAdded(dst, ev, e.hidden)
	return patchLen(dst, start, mapType, 1+n)
}

// added are the keys that every record gets, in order.
var added = [...]struct {
	name     string
	packed   []byte // the name in msgpack
	value    func(Event) string
	optional bool // left out when empty
}{
	{"eventtype", pack("eventtype"), func(ev Event) string { return ev.EventType }, false},
	{"host", pack("host"), func(ev Event) string { return ev.Host }, false},
	{"event_id", pack("event_id"), func(ev Event) string { return ev.EventID }, false},
	{"account_id", pack("account_id"), func(ev Event) string { return ev.AccountID }, true},
}

// keySet says which of the added keys, by their index, the record has already, or is not to have.
type keySet [len(added)]bool

// note takes in one of the record's top-level names, in msgpack.
func (s *keySet) note(packed []byte) {
	for i := range added {
		s[i] = s[i] || bytes.Equal(added[i].packed, packed)
	}
}

// noteName takes in one of the record's top-level names.
func (s *keySet) noteName(name []byte) {
	for i := range added {
		s[i] = s[i] || added[i].name == string(name)
	}
}

// left are the added keys that the record still has to get.
func (s *keySet) left(ev Event) (left keySet) {
	for i := range added {
		left[i] = !s[i] && (!added[i].optional || added[i].value(ev) != "")
	}
	return left
}

// appendAdded appends the added keys that the record does not have, and returns how many they are.
func (e *Encoder) appendAdded(dst []byte, ev Event, has keySet) (_ []byte, n int) {
	for i := range added { // for every event in json, so not by has.left, which asks twice
		key := &added[i]
		value := key.value(ev)
		if has[i] || key.optional && value == "" {
			continue
		}
		dst = append(dst, key.packed...)
		dst = e.appendAddedValue(dst, value, &e.repeated[i])
		n++
	}
	return dst, n
}

// packedValue is the value of an added key in msgpack.
type packedValue struct {
	value  string
	packed []byte
}

// appendAddedValue appends an added key's value. All but the event_id are the same for event after event, so that the last
// one is kept, as long as it is short.
func (e *Encoder) appendAddedValue(dst []byte, value string, last *packedValue) []byte {
	const most = 256
	if last.packed != nil && value == last.value {
		return append(dst, last.packed...)
	}
	e.value = strings.ToValidUTF8(value, "\uFFFD")
	start := len(dst)
	if dst = e.appendPacked(dst, &e.value); len(value) <= most {
		last.value, last.packed = value, append(last.packed[:0], dst[start:]...)
	}
	return dst
}

// EventTime is Fluent Bit's msgpack extension of type 0: seconds and nanoseconds, each in 32 bits, big endian.
const (
	eventTimeTag = 0
	// Of the seconds, Fluent Bit takes the two highest for group markers: an event with one of them vanishes.
	maxSeconds = 0xFFFFFFFD
)

// clampTime returns t as seconds and nanoseconds. What is before 1970 becomes 0, what is past maxSeconds (in 2106) becomes
// that, both with 0 ns.
func clampTime(t time.Time) (sec int64, nsec int) {
	if sec = min(max(t.Unix(), 0), maxSeconds); sec != t.Unix() {
		return sec, 0
	}
	return sec, t.Nanosecond()
}

// appendTime appends t as EventTime.
func (e *Encoder) appendTime(dst []byte, t time.Time) []byte {
	sec, nsec := clampTime(t)
	binary.BigEndian.PutUint32(e.time.Data, uint32(sec))
	binary.BigEndian.PutUint32(e.time.Data[4:], uint32(nsec))
	return e.appendPacked(dst, &e.time)
}

// appendPacked appends the msgpack of the value that v points to. Only what codec cannot fail at comes here.
func (e *Encoder) appendPacked(dst []byte, v any) []byte {
	e.out.ResetBytes(&e.packed)
	e.out.MustEncode(v)
	return append(dst, e.packed...)
}

// msgpack is the encoding's dialect. WriteExt stands for strings of type str instead of raw, and for extensions.
var msgpack = &codec.MsgpackHandle{WriteExt: true}

// pack returns the msgpack of a string that is known beforehand.
func pack(s string) (b []byte) {
	codec.NewEncoderBytes(&b, msgpack).MustEncode(s)
	return slices.Clip(b)
}
