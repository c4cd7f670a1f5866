package duo

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"duo_in/duo/duotest"
)

// oracleParsePage is ParsePage, and what it has to answer in every case, written with
// jsontext alone.
func oracleParsePage(l Log, body []byte) (Page, error) {
	p := oracleParser{log: l, dec: jsontext.NewDecoder(bytes.NewBuffer(body), lenient)}
	err := p.object(p.top)
	if tooDeep(err) {
		var c cutter
		if body, err = c.read(bytes.NewReader(body)); err == nil {
			p = oracleParser{log: l, dec: jsontext.NewDecoder(bytes.NewBuffer(body), lenient)}
			err = p.object(p.top)
			p.page.left = c.left
		}
	}
	if errors.Is(err, ErrTooLarge) || errors.Is(err, ErrNotPage) {
		return Page{}, err
	}
	if err != nil {
		return Page{}, fmt.Errorf("%w: %v", ErrNotPage, err)
	}
	if !p.listed {
		return Page{}, fmt.Errorf("%w: it has no %s", ErrNotPage, strings.TrimSuffix("response."+l.List, "."))
	}
	return p.page, nil
}

// oracleParser walks an answer in one pass.
type oracleParser struct {
	log    Log
	dec    *jsontext.Decoder
	page   Page
	listed bool // the list was there, be it empty
}

// object reads an object and calls member, which consumes the value, for each
// of its names.
func (p *oracleParser) object(member func(name string) error) error {
	if t, err := p.dec.ReadToken(); err != nil {
		return err
	} else if t.Kind() != '{' {
		return fmt.Errorf("%s where an object was expected", t.Kind())
	}
	for p.dec.PeekKind() == '"' {
		name, err := p.dec.ReadToken()
		if err != nil {
			return err
		}
		if err := member(name.String()); err != nil {
			return err
		}
	}
	_, err := p.dec.ReadToken()
	return err
}

func (p *oracleParser) top(name string) error {
	kind := p.dec.PeekKind()
	switch {
	case name == "response" && kind == '{':
		return p.object(p.response)
	case name == "response" && kind == '[':
		return p.list()
	case name == "metadata" && kind == '{':
		return p.object(p.metadata)
	}
	return p.dec.SkipValue()
}

func (p *oracleParser) response(name string) error {
	kind := p.dec.PeekKind()
	switch {
	case name == p.log.List && kind == '[':
		return p.list()
	case name == p.log.List && kind == 'n':
		p.listed = true
	case name == "metadata" && kind == '{':
		return p.object(p.metadata)
	}
	return p.dec.SkipValue()
}

func (p *oracleParser) list() error {
	if _, err := p.dec.ReadToken(); err != nil {
		return err
	}
	p.listed = true
	for p.dec.PeekKind() != ']' {
		if len(p.page.Records) == maxRecords {
			return ErrTooLarge
		}
		v, err := p.dec.ReadValue()
		if err != nil {
			return err
		}
		p.page.Records = append(p.page.Records, oracleRecord(p.log, bytes.Clone(v)))
	}
	_, err := p.dec.ReadToken()
	return err
}

func (p *oracleParser) metadata(name string) error {
	v, err := p.dec.ReadValue()
	if err != nil {
		return err
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

// oracleRecord reads what is needed of a record. It takes anything: what cannot
// be read stays empty.
func oracleRecord(l Log, raw []byte) Record {
	r := Record{Raw: raw, content: contentHash(raw)}
	dec := jsontext.NewDecoder(bytes.NewReader(raw), lenient)
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '{' {
		return r
	}
	best := len(l.Times)
	for dec.PeekKind() == '"' {
		name, err := dec.ReadToken()
		if err != nil {
			return r
		}
		key := name.String()
		value, err := dec.ReadValue()
		if err != nil {
			return r
		}
		if key == l.ID {
			r.id = scalar(value)
		}
		for i, k := range l.Times[:best] {
			if key != k {
				continue
			}
			if t, ok := parseTime(scalar(value)); ok {
				r.Time, r.timed, r.exact, best = t, true, i == 0, i
			}
			break
		}
	}
	return r
}

// checkPage compares a page with the oracle's, in all that is known of it, or the
// error with the oracle's text.
func checkPage(t *testing.T, l Log, body []byte) (Page, error) {
	t.Helper()
	want, wantErr := oracleParsePage(l, slices.Clone(body))
	got, err := ParsePage(l, slices.Clone(body))
	if fmt.Sprint(err) != fmt.Sprint(wantErr) || errors.Is(err, ErrTooLarge) != errors.Is(wantErr, ErrTooLarge) {
		t.Errorf("%.300q: error %.300v, want %.300v", body, err, wantErr)
	}
	// cmp is slow where there is much to compare, and reflect is slow too.
	same := slices.EqualFunc(want.Records, got.Records, func(a, b Record) bool {
		return bytes.Equal(a.Raw, b.Raw) && a.Time.Equal(b.Time) && a.EventID == b.EventID && a.id == b.id && a.timed == b.timed && a.exact == b.exact && a.content == b.content
	})
	if !same || want.Next != got.Next || want.Total != got.Total || want.cut != got.cut || want.left != got.left {
		t.Errorf("%.300q: page (-want +got):\n%.3000s", body, cmp.Diff(want, got, cmp.AllowUnexported(Page{}, Record{})))
	}
	return got, err
}

// oddRecords are texts that somebody may take for a record.
var oddRecords = []string{
	`{}`, `[]`, `null`, `""`, `0`, `true`, `{"txid":"a"}`, `{ "b" : 1 , "a" : { "d" : [ ] , "c" : { } } }`, `{"b":1,"a":2,"c":3}`, `{"a":1,"a":2}`, `{"a":2,"a":1}`, `{"a":1,"a":1}`,
	`{"b":{"a":1,"a":0},"a":0}`, `{"a!":1,"a":2,"a b":3,"a\"":4}`, `{"a":1,"A":2,"_":3,"":4}`, `{"":"x","timestamp":1714564800}`, `{"\u0061":1,"a":0}`, `{"b":1,"\u0061":2}`,
	"{\"\xff\":1,\"\xfe\":0}", "{\"é\":1,\"e\":2}", `{"\ud83d\udd11":1,"\uffff":2}`, "{\"\U0001F511\":1,\"\uffff\":2}", `{"s":"\/\b\f\n\r\t\"\\"}`, `{"s":"\u0000\u001F\u001f\u007f\u0008"}`,
	`{"s":"\u00e9\u6771\ud83d\udd11"}`, `{"s":"\ud83d"}`, `{"s":"\udd11\ud83d"}`, `{"s":"\ud83d\u0041"}`, "{\"s\":\"\xe2\x82\"}", "{\"s\":\"é\xff\"}", "{\"s\":\"é\u2028<>&\x7f\"}",
	`{"n":[0,-0,1.0,1e5,1E+5,-1.25e-10,1e400,123456789012345678901234567890]}`, `{"timestamp":1e400,"isotimestamp":"x"}`, `{"timestamp":"1714564800","isotimestamp":null,"txid":7}`,
	`{"isotimestamp":"2024-05-01T12:00:00.5+00:00","timestamp":1,"txid":"a\u00e9\ud800"}`, `{"timestamp":1714564800,"isotimestamp":"2024-05-01T12: 00: 00"}`, `{"txid":"a","txid":{"a":1}}`, `{"\u0074xid":"x"}`,
	`{"z":[{"b":1,"a":2},{"b":[],"a":{}}],"y":[[[{"d":0,"c":0}]]]}`,
	strings.Repeat(`{"b":0,"a":`, 40) + "1" + strings.Repeat("}", 40), strings.Repeat("[", 9_997) + strings.Repeat("]", 9_997), strings.Repeat("[", 9_998) + strings.Repeat("]", 9_998),
}

func TestPageMatchesOracle(t *testing.T) {
	SkipUnderRace(t)
	records := append([]string{strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)}, oddRecords...)
	for _, log := range []string{"authentication", "activity", "telephony", "trust_monitor", "administrator"} {
		for _, raw := range duotest.NewGenerator(log, 1, duotest.Options{Quirks: 0.5}).Spread(noon, minute(1), 60) {
			records = append(records, string(raw))
		}
	}
	for n, size := range []int{maxSorted - 20, maxSorted + 20} {
		text := strings.Repeat("x", size)
		records = append(records, `{"b":1,"a":"`+text+`"}`, `{"b":`+strings.Repeat(" ", size)+`1,"a":2}`, `{"b":[`+strings.Repeat("1,", size/2)+`1],"a":2}`)
		if n == 0 {
			records = append(records, `{"b":1,"a":"`+strings.Repeat("\xff", size/2)+`"}`)
		}
	}
	var small []string
	for _, raw := range records {
		if len(raw) < 5000 {
			small = append(small, raw)
		}
		_, _ = checkPage(t, logs[0], []byte(`{"response": {"authlogs": [`+raw+`]}}`))
		if len(raw) < 5000 {
			_, _ = checkPage(t, logs[4], []byte(`{"response":[`+raw+`,1 ,`+raw+` ]}`))
		}
	}
	for _, l := range logs {
		body := `{"response":{"` + l.List + `":[` + strings.Join(small, ",") + `]}}`
		if l.List == "" {
			body = `{"response":[` + strings.Join(small, ",") + `]}`
		}
		if p, err := checkPage(t, l, []byte(body)); len(p.Records) != len(small) {
			t.Errorf("%s: %d records of %d, %v", l.Name, len(p.Records), len(small), err)
		}
	}
	most := `{"response":[0` + strings.Repeat(",0", maxRecords-1)
	for _, end := range []string{"]}", "", " 1", ",", "x", ",0]}", ",x"} {
		_, _ = checkPage(t, logs[4], []byte(most+end))
	}
	_, _ = checkPage(t, logs[4], []byte(most[:len(most)-2]))
}

// FuzzRecord has whatever may be a record of a page be read as the oracle reads it.
func FuzzRecord(f *testing.F) {
	for _, raw := range oddRecords {
		if len(raw) < 1000 {
			f.Add([]byte(raw), 0)
			f.Add([]byte(raw), 4)
		}
	}
	for i, log := range []string{"authentication", "activity", "telephony", "trust_monitor", "administrator"} {
		for _, raw := range duotest.NewGenerator(log, 1, duotest.Options{Quirks: 0.8}).Spread(noon, minute(1), 20) {
			f.Add([]byte(raw), i)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, n int) {
		l := logs[uint(n)%uint(len(logs))]
		_, _ = checkPage(t, l, slices.Concat([]byte(`{"response":{"`+l.List+`":[`), raw, []byte(`]}}`)))
		if l.List == "" {
			_, _ = checkPage(t, l, slices.Concat([]byte(`{"response":[`), raw, []byte(`, `), raw, []byte(`]}`)))
		}
	})
}

// oracleTake is take, written with a map of all that was seen.
func (c *Cursor) oracleTake(records []Record, before map[string]int, place func(*Record) Millis) (fresh []Record, equal map[string]int) {
	known := make(map[uint64]bool, len(c.Seen)+len(records))
	for _, s := range c.Seen {
		known[s.Hash] = true
	}
	var added []Seen
	again := map[uint64]Millis{} // where known records are that have no place of their own
	equal = map[string]int{}
	c.Known = 0
	for _, r := range records {
		at := place(&r)
		nth := 1
		if r.id == "" {
			key := strconv.FormatUint(r.content, 16)
			nth = max(equal[key], before[key]) + 1
			equal[key] = nth
		}
		hash := r.content + uint64(nth-1)*0x9e3779b97f4a7c15
		if known[hash] {
			c.Known++
			if !r.exact {
				again[hash] = at
			}
			continue
		}
		known[hash] = true
		added = append(added, Seen{At: at, Hash: hash})
		r.EventID = oracleID(r, nth)
		fresh = append(fresh, r)
	}
	if len(added)+len(again) > 0 {
		c.Seen = slices.Concat(c.Seen, added)
		for i, s := range c.Seen {
			c.Seen[i].At = max(s.At, again[s.Hash])
		}
		slices.SortFunc(c.Seen, Seen.compare)
	}
	return fresh, equal
}

func oracleID(r Record, nth int) string {
	s := fmt.Sprintf("%016x", r.content)
	if r.id != "" {
		s = r.id + "-" + s
	}
	if nth > 1 {
		s += "-" + strconv.Itoa(nth)
	}
	return s
}

// TestTakeMatchesOracle takes pages in that have new records and known ones, in
// order or not, with and without ids and times of their own.
func TestTakeMatchesOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(20260213, 0))
	var got, want Cursor
	var before map[string]int
	for n := range 2000 {
		if n%50 == 0 {
			got, want = Cursor{}, Cursor{}
		}
		var records []Record
		for range r.IntN(40) {
			content := r.Uint64N(1<<uint(1+r.IntN(63))) << uint(r.IntN(60))
			record := Record{content: content, timed: r.IntN(3) > 0, exact: r.IntN(3) > 0, Time: noon.Add(time.Duration(n%50*5+r.IntN(20)) * time.Second)}
			if len(want.Seen) > 0 && r.IntN(3) == 0 {
				record.content = want.Seen[r.IntN(len(want.Seen))].Hash
			}
			if r.IntN(2) == 0 {
				record.id = "id"
			}
			records = append(records, record)
		}
		place := func(r *Record) Millis {
			if !r.timed {
				r.Time = noon
			}
			return ToMillis(r.Time)
		}
		old, oldSeen := got, slices.Clone(got.Seen)
		fresh, equal := got.take(slices.Clone(records), before, place)
		wantFresh, wantEqual := want.oracleTake(records, before, place)
		for _, c := range []*Cursor{&got, &want} {
			c.prune(Window{MaxSeen: 300}, at(0)+Millis(n%50*5000-60_000))
		}
		if !reflect.DeepEqual(fresh, wantFresh) || !reflect.DeepEqual(equal, wantEqual) || !reflect.DeepEqual(got, want) {
			t.Fatalf("page %d (-want +got):\n%s\n%s", n, cmp.Diff(wantFresh, fresh, cmp.AllowUnexported(Record{})), cmp.Diff(want, got))
		}
		if !slices.Equal(old.Seen, oldSeen) {
			t.Fatalf("page %d changed what the cursor before it holds", n)
		}
		if before = equal; r.IntN(3) == 0 {
			before = nil
		}
	}
}
