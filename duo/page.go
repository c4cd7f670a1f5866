package duo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"duo_in/internal/scan"
)

// Page is one answer, read.
type Page struct {
	Records []Record
	Next    string // next_offset as it is sent back; empty at the end
	Total   int    // records in the whole window, as far as Duo says: a hint; 0 if it does not
	cut     bool   // the page had more records behind these
	left    int    // bytes that were left out of records
}

// end is the place of the page's last record in Duo's order: the millisecond of
// next_offset, which is what Duo goes on from; where that has another form, the
// newest time that a record shows and that is not beyond until. None for a page
// that shows neither.
func (p Page) end(until Millis) Millis {
	if len(p.Records) == 0 {
		return 0
	}
	if at := offsetTime(p.Next); at != 0 && at <= until {
		return at
	}
	var end Millis
	for _, r := range p.Records {
		if at := ToMillis(r.Time); r.timed && at <= until {
			end = max(end, at)
		}
	}
	return end
}

// beyond reports whether the page ends later than until: the rest does as well.
func (p Page) beyond(until Millis) bool {
	if at := offsetTime(p.Next); at != 0 {
		return at > until
	}
	last := p.Records[len(p.Records)-1]
	return last.timed && ToMillis(last.Time) > until
}

// offsetTime is the millisecond that a next_offset "ms,id" begins with; none if
// it looks otherwise.
func offsetTime(next string) Millis {
	ms, _, _ := strings.Cut(next, ",")
	t, ok := parseTime(ms)
	if !ok || len(ms) < 12 {
		return 0
	}
	return ToMillis(t)
}

// ParsePage reads the body of an answer: a response that holds the log's list
// or is the list itself, and metadata within or beside it. The records are parts
// of the body, which must not change any more, unless the answer nests deeper than
// 10,000 levels: then what is deeper is text. Errors are [ErrTooLarge], and
// [ErrNotPage] with what was odd.
func ParsePage(l Log, body []byte) (Page, error) {
	p, err := parsePage(l, body)
	if tooDeep(err) {
		var c cutter
		if body, err = c.read(bytes.NewReader(body)); err == nil {
			p, err = parsePage(l, body)
			p.left = c.left
		}
	}
	if errors.Is(err, ErrTooLarge) || errors.Is(err, ErrNotPage) {
		return Page{}, err
	}
	if err != nil {
		return Page{}, fmt.Errorf("%w: %v", ErrNotPage, err)
	}
	return p, nil
}

func parsePage(l Log, body []byte) (Page, error) {
	p := pageParser{log: l, in: scan.New(body), records: reader{log: l}, value: -1}
	kind, err := p.in.Kind(), error(nil)
	if kind == scan.Object {
		err = p.object(p.top)
	} else if kind != scan.List {
		p.in.Value()
	}
	switch {
	case err != nil:
		return Page{}, err
	case p.in.Bad():
		return Page{}, syntaxError(body, p.value)
	case kind != scan.Object:
		return Page{}, fmt.Errorf("%s where an object was expected", jsontext.Kind(kind))
	case !p.listed:
		return Page{}, fmt.Errorf("%w: it has no %s", ErrNotPage, strings.TrimSuffix("response."+l.List, "."))
	}
	return p.page, nil
}

// syntaxError says what is not JSON about a body, in jsontext's words. value is
// where the last value begins that was read as a whole: jsontext has to read it so
// too, since of one that is read token by token it says something else.
func syntaxError(body []byte, value int) error {
	dec := jsontext.NewDecoder(bytes.NewBuffer(body), lenient)
	for {
		read := func() error { _, err := dec.ReadToken(); return err }
		if at := int(dec.InputOffset()); at <= value && len(bytes.TrimLeft(body[at:value], " \t\r\n,:")) == 0 {
			read = func() error { _, err := dec.ReadValue(); return err }
		}
		if err := read(); err != nil {
			return err
		}
	}
}

// tooDeep reports whether an error is jsontext's for what nests too deep, which
// it does not export.
func tooDeep(err error) bool {
	var syntax *jsontext.SyntacticError
	return errors.As(err, &syntax) && syntax.Err != nil && syntax.Err.Error() == "exceeded max depth"
}

// pageParser walks an answer in one pass.
type pageParser struct {
	log     Log
	in      scan.Scanner
	records reader
	page    Page
	listed  bool // the list was there, be it empty
	value   int  // where the last value begins that was read as a whole; -1: none yet
}

// object reads an object and calls member, which passes the value, for each of
// its names.
func (p *pageParser) object(member func(name string, kind scan.Kind) error) error {
	for more := p.in.Enter(); more; more = p.in.Next(scan.Object) {
		name := p.in.Name()
		if p.in.Bad() {
			break
		}
		if err := member(string(unquoted(name, p.in.Plain())), p.in.Kind()); err != nil {
			return err
		}
	}
	return nil
}

func (p *pageParser) top(name string, kind scan.Kind) error {
	switch {
	case name == "response" && kind == scan.Object:
		return p.object(p.response)
	case name == "response" && kind == scan.List:
		return p.list()
	case name == "metadata" && kind == scan.Object:
		return p.object(p.metadata)
	}
	p.skip(kind)
	return nil
}

func (p *pageParser) response(name string, kind scan.Kind) error {
	switch {
	case name == p.log.List && kind == scan.List:
		return p.list()
	case name == p.log.List && kind == scan.Null:
		p.listed = true
	case name == "metadata" && kind == scan.Object:
		return p.object(p.metadata)
	}
	p.skip(kind)
	return nil
}

// skip passes a value that is not needed.
func (p *pageParser) skip(kind scan.Kind) {
	if kind != scan.Object && kind != scan.List {
		p.value = p.in.Pos()
	}
	p.in.Value()
}

// yieldEvery is after how many records others are let through: a host's callback
// that enters Go while all processors are at work would wait for up to 10 ms.
const yieldEvery = 50

func (p *pageParser) list() error {
	p.listed = true
	for more := p.in.Enter(); more; more = p.in.Next(scan.List) {
		if len(p.page.Records) == maxRecords {
			return ErrTooLarge
		}
		p.value = p.in.Pos()
		r := p.records.read(&p.in)
		if p.in.Bad() {
			return nil
		}
		if p.page.Records == nil {
			// About as many as are to come, as far as this is a usual page.
			p.page.Records = make([]Record, 0, min(1000, 1+2*p.in.Left()/len(r.Raw)))
		}
		p.page.Records = append(p.page.Records, r)
		if len(p.page.Records)%yieldEvery == 0 {
			runtime.Gosched()
		}
	}
	if p.in.Bad() && len(p.page.Records) == maxRecords {
		return ErrTooLarge // by as much as has been read
	}
	return nil
}

func (p *pageParser) metadata(name string, _ scan.Kind) error {
	p.value = p.in.Pos()
	v := jsontext.Value(p.in.Value())
	if p.in.Bad() {
		return nil
	}
	switch {
	case name == "next_offset" && len(v) > maxOffset:
		// It could be neither sent nor stored.
		return fmt.Errorf("next_offset has %d bytes, more than %d", len(v), maxOffset)
	case name == "next_offset":
		p.page.Next = nextOffset(v)
	case name == "total_objects":
		p.page.Total = total(v)
	}
	return nil
}

// maxOffset bounds a next_offset, in bytes; Duo's have about 60.
const maxOffset = 4 << 10

// total reads N and {"relation": "eq", "value": N}.
func total(v jsontext.Value) int {
	var object struct{ Value int }
	if v.Kind() == '{' && json.Unmarshal(v, &object) == nil {
		return object.Value
	}
	n, _ := strconv.Atoi(scalar(v))
	return n
}

// nextOffset returns the one value that is sent back: the parts of a list
// joined by commas, a string or a number as it is. The end, which is null, "",
// [] or no next_offset at all, is empty.
func nextOffset(v jsontext.Value) string {
	if v.Kind() != '[' {
		return scalar(v)
	}
	var parts []json.RawMessage
	if json.Unmarshal(v, &parts) != nil {
		return ""
	}
	var s []byte
	for i, part := range parts {
		if i > 0 {
			s = append(s, ',')
		}
		s = append(s, scalar(jsontext.Value(part))...)
	}
	return string(s)
}
