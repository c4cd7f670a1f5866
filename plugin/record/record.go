// Package record turns one Duo record, as the raw JSON that the API sent, into one Fluent Bit event in msgpack:
// [EventTime, {map}].
//
// It promises that every record comes out as exactly one event that Fluent Bit accepts: what cannot be converted goes out
// as the text it is, in the key message. Keys keep their order and their duplicates, numbers their type, strings are valid
// UTF-8, and no event nests deeper than 33 levels, its outer array among them. Fluent Bit itself silently drops an event of 64
// levels, or a malformed one, together with the rest of its chunk (measured with 5.1.1).
//
// Which records there are, their time and their event_id are the caller's.
package record

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/ugorji/go/codec"
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
)

// formats has one row for each Format. A body appends the event's second half, a msgpack map, to dst, or reports that
// the record does not fit its shape.
var formats = [...]struct {
	name string
	body func(e *Encoder, dst []byte, ev Event) ([]byte, error)
}{
	JSON: {"json", (*Encoder).appendJSON},
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

// Options say how an Encoder shapes records. The zero Options are format json.
type Options struct {
	Format Format
}

// Encoder encodes events, one after the other, and reuses what that takes: it is not safe for concurrent use. Between
// two events it holds on to nothing of their size.
type Encoder struct {
	body func(e *Encoder, dst []byte, ev Event) ([]byte, error)

	source bytes.Buffer // the record being read; a bytes.Buffer, since jsontext reads that one without a copy
	in     *jsontext.Decoder

	out    *codec.Encoder // for what is encoded from values, into packed
	time   codec.RawExt
	text   string
	packed []byte
}

// NewEncoder returns an Encoder. Options that name no Format panic.
func NewEncoder(o Options) *Encoder {
	e := &Encoder{
		body:   formats[o.Format].body,
		time:   codec.RawExt{Tag: eventTimeTag, Data: make([]byte, 8)},
		packed: make([]byte, 0, 64),
	}
	e.in = jsontext.NewDecoder(&e.source, asSent...)
	e.out = codec.NewEncoderBytes(&e.packed, msgpack)
	return e
}

// Append appends ev to dst as one msgpack event, [EventTime, {map}], and returns the extended slice. It does not fail:
// a record that the format cannot hold (broken JSON, trailing data, no object, more than 10,000 levels) goes out as
// {message: its text, eventtype, host, event_id, account_id}, the text made valid UTF-8.
func (e *Encoder) Append(dst []byte, ev Event) []byte {
	dst = append(dst, fixArray|2)
	dst = e.appendTime(dst, ev.Time)
	if out, ok := e.convert(dst, ev); ok {
		return out
	}
	return e.appendMessage(dst, ev.Raw, ev)
}

// convert appends the body in the chosen format, or reports that it cannot. A panic counts as that: were there a record
// that makes the parser panic, its stream would read it again and again and never get past it.
func (e *Encoder) convert(dst []byte, ev Event) (out []byte, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
		e.read(nil) // lets go of the record, which may pin a whole page
	}()
	e.read(ev.Raw)
	out, err := e.body(e, dst, ev)
	return out, err == nil
}

// read points the decoder at raw.
func (e *Encoder) read(raw []byte) {
	e.source = *bytes.NewBuffer(raw)
	e.in.Reset(&e.source, asSent...)
}

// appendMessage appends the map of an event that is only text: {message: text} and the added keys.
func (e *Encoder) appendMessage(dst, text []byte, ev Event) []byte {
	start := len(dst)
	dst = append(dst, 0)
	dst = appendString(dst, "message")
	dst = appendText(dst, text)
	dst, n := e.appendAdded(dst, ev, keySet{})
	return patchLen(dst, start, mapType, 1+n)
}

// added are the keys that every record gets, in order.
var added = [...]struct {
	packed   []byte // the name in msgpack
	value    func(Event) string
	optional bool // left out when empty
}{
	{pack("eventtype"), func(ev Event) string { return ev.EventType }, false},
	{pack("host"), func(ev Event) string { return ev.Host }, false},
	{pack("event_id"), func(ev Event) string { return ev.EventID }, false},
	{pack("account_id"), func(ev Event) string { return ev.AccountID }, true},
}

// keySet says which of the added keys, by their index, the record has already.
type keySet [len(added)]bool

// note takes in one of the record's top-level names, in msgpack.
func (s *keySet) note(packed []byte) {
	for i := range added {
		s[i] = s[i] || bytes.Equal(added[i].packed, packed)
	}
}

// appendAdded appends the added keys that the record does not have, and returns how many they are.
func (e *Encoder) appendAdded(dst []byte, ev Event, has keySet) (_ []byte, n int) {
	for i, key := range added {
		value := key.value(ev)
		if has[i] || key.optional && value == "" {
			continue
		}
		e.text = strings.ToValidUTF8(value, "\uFFFD")
		dst = append(dst, key.packed...)
		dst = e.appendPacked(dst, &e.text)
		n++
	}
	return dst, n
}

// EventTime is Fluent Bit's msgpack extension of type 0: seconds and nanoseconds, each in 32 bits, big endian.
const (
	eventTimeTag = 0
	// Of the seconds, Fluent Bit takes the two highest for group markers: an event with one of them vanishes.
	maxSeconds = 0xFFFFFFFD
)

// appendTime appends t as EventTime. What is before 1970 becomes 0, what is past maxSeconds (in 2106) becomes that, both
// with 0 ns.
func (e *Encoder) appendTime(dst []byte, t time.Time) []byte {
	sec, nsec := t.Unix(), t.Nanosecond()
	if in := min(max(sec, 0), maxSeconds); in != sec {
		sec, nsec = in, 0
	}
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
