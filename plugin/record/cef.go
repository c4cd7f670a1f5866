package record

import (
	"bytes"
	"net/netip"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"duo_in/internal/scan"
)

// CEF is ArcSight's Common Event Format, version 0, after its implementation standard of 2017 (revision 25):
//
//	CEF:0|vendor|product|version|signature|name|severity|key=value key=value
//
// In the header \ and | are escaped, in values \ and =. A value's line breaks are written \n (CRLF as one) or \r, the
// header's become spaces, as does every other character that may end a line. White space around a value goes, since
// receivers differ about it. What has no value is left out, together with its label. Nothing is cut to the standard's
// lengths (1,023 characters for most values): that is for the receiver, which knows whether it has to.
//
// src is for IPv4 only; for an IPv6 address the standard has c6a2, whose label then is "Source IPv6 Address".

const cefIPv6Label = "Source IPv6 Address"

// cefTable is a cefLog ready for use: paths are the numbers of fields, which a walk through the record collects.
type cefTable struct {
	signature, name []int
	severity        []cefFieldSeverity
	rows            []cefFieldRow

	root   place
	fields int // how many there are, those of cefGiven first
}

type cefFieldRow struct {
	cefRow
	fields []int
}

type cefFieldSeverity struct {
	cefSeverity
	field int
}

var (
	cefTables   = compileCEF(cefLogs)
	cefAnyTable = cefAny.compile()
)

func compileCEF(logs map[string]cefLog) map[string]*cefTable {
	tables := map[string]*cefTable{}
	for eventType, l := range logs {
		tables[eventType] = l.compile()
	}
	return tables
}

func (l cefLog) compile() *cefTable {
	t := &cefTable{fields: len(cefGiven)}
	t.signature = t.find(slices.Concat(l.signature, []string{"@eventtype"}))
	t.name = t.find(slices.Concat(l.name, []string{"@eventtype"}))
	for _, s := range l.severity {
		t.severity = append(t.severity, cefFieldSeverity{s, t.find([]string{s.path})[0]})
	}
	for _, row := range slices.Concat(cefFirst, l.rows) {
		if row.key == "externalId" {
			row.paths = slices.Concat(l.id, row.paths)
		}
		t.rows = append(t.rows, cefFieldRow{row, t.find(row.paths)})
		if row.kind == cefDetail {
			for _, path := range row.paths {
				t.root.at(path).whole = true
			}
		}
	}
	return t
}

// find returns the numbers of the fields at these paths, from 1, and gives numbers to those that have none.
func (t *cefTable) find(paths []string) (fields []int) {
	for _, path := range paths {
		if i := slices.Index(cefGiven, path); i >= 0 {
			fields = append(fields, 1+i)
			continue
		}
		p := t.root.at(path)
		if p.field == 0 {
			t.fields++
			p.field = t.fields
		}
		fields = append(fields, p.field)
	}
	return fields
}

// cefValues are the values of a record's fields, by their number less 1; an empty one is none.
type cefValues struct {
	version string
	values  [][]byte
}

// shrink lets go of values of uncommon size.
func (c *cefValues) shrink() {
	for i := range c.values {
		if cap(c.values[i]) > maxKept/16 {
			c.values[i] = nil
		}
	}
}

// begin forgets the last event's values and takes those that this one has beside the record, as in cefGiven.
func (c *cefValues) begin(fields int, ev Event, hidden keySet) {
	for len(c.values) < fields {
		c.values = append(c.values, nil)
	}
	for i := range c.values {
		c.values[i] = c.values[i][:0]
	}
	sec, nsec := clampTime(ev.Time)
	c.values[0] = strconv.AppendInt(c.values[0], sec*1000+int64(nsec/1e6), 10)
	for i, key := range added {
		if !hidden[i] {
			c.values[1+i] = trimBlank(append(c.values[1+i], key.value(ev)...))
		}
	}
}

// add takes in one more JSON value of a field.
func (c *cefValues) add(field int, kind scan.Kind, text []byte) {
	v := c.values[field-1]
	before := len(v)
	if before > 0 {
		v = append(v, "; "...)
	}
	start := len(v)
	switch kind {
	case scan.Null:
	case scan.String:
		v, _ = jsontext.AppendUnquote(v, text)
	default:
		in := scan.New(text)
		v = appendCompact(v, &in)
	}
	value := trimBlank(v[start:])
	if len(value) == 0 {
		start = before
	}
	c.values[field-1] = append(v[:start], value...)
}

// trimBlank returns b without the spaces and the control characters around it.
func trimBlank(b []byte) []byte {
	return bytes.TrimFunc(b, func(r rune) bool { return r == ' ' || breaksLine(r) })
}

// first returns the first of the fields that has a value.
func (c *cefValues) first(fields []int) []byte {
	for _, field := range fields {
		if v := c.values[field-1]; len(v) > 0 {
			return v
		}
	}
	return nil
}

// appendCEF is the body of format cef: in message the CEF line, and the added keys beside it.
func (e *Encoder) appendCEF(dst []byte, ev Event) []byte {
	t := cefTables[ev.EventType]
	if t == nil {
		t = cefAnyTable
	}
	e.cef.begin(t.fields, ev, e.hidden)
	e.collect(&t.root)
	e.line = t.appendLine(e.line[:0], &e.cef)
	return e.appendMessage(dst, e.line, ev)
}

// cefText is the CEF line of a record that cannot be read.
func (e *Encoder) cefText(ev Event) []byte {
	e.cef.begin(cefAnyTable.fields, ev, e.hidden)
	last := &e.cef.values[cefAnyTable.root.field-1]
	*last = append(*last, trimBlank(ev.Raw)...)
	return cefAnyTable.appendLine(nil, &e.cef)
}

// collect takes the fields out of the value that comes next, which lies at p; where p is nil there are none.
func (e *Encoder) collect(p *place) {
	kind := e.in.Kind()
	if p == nil || p.whole || !isContainer(kind) {
		if text := e.in.Value(); text != nil && p != nil && p.field != 0 {
			e.cef.add(p.field, kind, text)
		}
		return
	}
	for more := e.in.Enter(); more; more = e.in.Next(kind) {
		below := p
		if kind == scan.Object {
			_, name := e.readName()
			below = p.names[string(name)]
		}
		e.collect(below)
	}
}

// appendLine appends the CEF line of these values.
func (t *cefTable) appendLine(line []byte, c *cefValues) []byte {
	line = appendHeader(append(line, "CEF:0|Duo Security|duo_in|"...), []byte(c.version))
	line = appendHeader(append(line, '|'), c.first(t.signature))
	line = appendHeader(append(line, '|'), c.first(t.name))
	line = strconv.AppendInt(append(line, '|'), int64(t.severityOf(c)), 10)
	separator := byte('|')
	for _, row := range t.rows {
		value := c.first(row.fields)
		if len(value) == 0 {
			continue
		}
		line = append(line, separator)
		separator = ' '
		if row.kind == cefAddress {
			line = appendAddress(line, value)
		} else {
			line = appendExtension(line, row.key, row.label, value)
		}
	}
	return line
}

// severityOf is the highest of the severities that the values stand for.
func (t *cefTable) severityOf(c *cefValues) int {
	severity := 0
	for _, s := range t.severity {
		if bytes.EqualFold(c.values[s.field-1], []byte(s.value)) {
			severity = max(severity, s.severity)
		}
	}
	if severity == 0 {
		return cefOtherSeverity
	}
	return severity
}

// appendHeader appends one field of the header, which may not be empty.
func appendHeader(line, value []byte) []byte {
	if len(value) == 0 {
		return append(line, "event"...)
	}
	return appendEscaped(line, value, '|', " ", " ")
}

// appendExtension appends a key with its value and its label.
func appendExtension(line []byte, key, label string, value []byte) []byte {
	line = append(append(line, key...), '=')
	line = appendEscaped(line, value, '=', `\n`, `\r`)
	if label != "" {
		line = append(append(append(append(line, ' '), key...), "Label="...), label...)
	}
	return line
}

// appendAddress appends the extensions that an access device's address makes.
func appendAddress(line, value []byte) []byte {
	addr, port := splitAddress(string(value))
	switch {
	case !addr.IsValid():
		return appendExtension(line, "shost", "", value)
	case addr.Is4():
		line = appendExtension(line, "src", "", []byte(addr.String()))
	default:
		line = appendExtension(line, "c6a2", cefIPv6Label, []byte(addr.String()))
	}
	if port != "" {
		line = append(append(line, " spt="...), port...)
	}
	return line
}

// splitAddress reads 1.2.3.4, 1.2.3.4:1234, v6, [v6] and [v6]:1234; an IPv4 address within IPv6 is one of IPv4. What is
// no address, or has a zone, gives none.
func splitAddress(s string) (addr netip.Addr, port string) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		addr, port = ap.Addr(), strconv.Itoa(int(ap.Port()))
	} else if n := len(s); n > 2 && s[0] == '[' && s[n-1] == ']' {
		if addr, err = netip.ParseAddr(s[1 : n-1]); err != nil || addr.Is4() {
			return netip.Addr{}, ""
		}
	} else if addr, err = netip.ParseAddr(s); err != nil {
		return netip.Addr{}, ""
	}
	if addr = addr.Unmap(); addr.Zone() != "" {
		return netip.Addr{}, ""
	}
	return addr, port
}

// appendEscaped appends text with \ and the separator escaped, LF and CRLF written as lf, CR as cr. What is not UTF-8
// becomes U+FFFD.
func appendEscaped(dst, text []byte, separator byte, lf, cr string) []byte {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		text = text[n:]
		switch {
		case r == '\\' || r == rune(separator):
			dst = append(dst, '\\', byte(r))
		case r == '\r' && len(text) > 0 && text[0] == '\n':
		case r == '\n':
			dst = append(dst, lf...)
		case r == '\r':
			dst = append(dst, cr...)
		case breaksLine(r):
			dst = append(dst, ' ')
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return dst
}
