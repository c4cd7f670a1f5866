package record

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"duo_in/internal/scan"
)

// appendRaw is the body of format raw: in message the record and the added keys at its end as one line of compact JSON, and
// the added keys once more beside it. The line is for what reads text, such as a syslog receiver; how deep it nests is
// nothing to Fluent Bit.
func (e *Encoder) appendRaw(dst []byte, ev Event) []byte {
	has := e.hidden
	line := append(e.line[:0], '{')
	for more := e.in.Enter(); more; more = e.in.Next(scan.Object) {
		literal, name := e.readName()
		has.noteName(name)
		line = append(appendLiteral(line, literal, e.in.Plain()), ':')
		line = append(appendCompact(line, &e.in), ',')
	}
	e.line = append(bytes.TrimSuffix(appendAddedJSON(line, ev, has), []byte(",")), '}')
	return e.appendMessage(dst, e.line, ev)
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
	in := scan.New(ev.Raw)
	if line := appendCompact(nil, &in); in.End() {
		return line
	}
	return bytes.Map(func(r rune) rune {
		if breaksLine(r) {
			return ' '
		}
		return r
	}, ev.Raw)
}
