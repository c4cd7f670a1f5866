package record

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// appendRaw is the body of format raw: in message the record and the added keys at its end as one line of compact JSON, and
// the added keys once more beside it. The line is for what reads text, such as a syslog receiver; how deep it nests is
// nothing to Fluent Bit.
func (e *Encoder) appendRaw(dst []byte, ev Event) ([]byte, error) {
	if e.in.PeekKind() != jsontext.KindBeginObject {
		return nil, errNotObject
	}
	if _, err := e.in.ReadToken(); err != nil {
		return nil, err
	}
	has := e.hidden
	line := append(e.line[:0], '{')
	for e.in.PeekKind() != jsontext.KindEndObject {
		literal, name, err := e.readName()
		if err != nil {
			return nil, err
		}
		has.noteName(name)
		line = append(appendLiteral(line, literal), ':')
		value, err := e.in.ReadValue()
		if err != nil {
			return nil, err
		}
		line = append(appendCompact(line, value), ',')
	}
	if _, err := e.in.ReadToken(); err != nil {
		return nil, err
	}
	e.line = append(bytes.TrimSuffix(appendAddedJSON(line, ev, has), []byte(",")), '}')
	return e.appendMessage(dst, e.line, ev), e.readEnd()
}

// appendAddedJSON appends the added keys that the record does not have as JSON text, a comma after each.
func appendAddedJSON(line []byte, ev Event, has keySet) []byte {
	for i, left := range has.left(ev) {
		if left {
			line = append(append(append(line, '"'), added[i].name...), '"', ':')
			line, _ = jsontext.AppendQuote(line, strings.ToValidUTF8(added[i].value(ev), "\uFFFD"))
			line = append(line, ',')
		}
	}
	return line
}

// rawText is the text of a record that is no object, in one line: compact if it is JSON at all.
func (e *Encoder) rawText(ev Event) []byte {
	if jsontext.Value(ev.Raw).IsValid(asSent...) {
		return appendCompact(nil, ev.Raw)
	}
	return bytes.Map(func(r rune) rune {
		if breaksLine(r) {
			return ' '
		}
		return r
	}, ev.Raw)
}
