package duo_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"duo_in/duo"
	"duo_in/duo/duotest"
)

// inList puts items in front of the records of a page.
func inList(items string) func([]byte) []byte {
	return func(body []byte) []byte {
		i := bytes.IndexByte(body, '[') + 1
		comma := ","
		if bytes.HasPrefix(bytes.TrimSpace(body[i:]), []byte("]")) {
			comma = ""
		}
		return slices.Concat(body[:i], []byte(items+comma), body[i:])
	}
}

// What a page may hold beside its records without one of them being lost: they
// and the odd item are delivered, and the log has few lines about it.
func TestOddPages(t *testing.T) {
	padding := strings.Repeat("x", 17<<20)
	for name, tc := range map[string]struct {
		rewrite func([]byte) []byte
		extra   string // what is delivered besides the records, or its beginning
		lines   int
		says    string
		large   bool
	}{
		"deep record":        {rewrite: inList(`{"activity_id":"odd","a":` + strings.Repeat("[", 50_000) + strings.Repeat("]", 50_000) + `}`), extra: `{"activity_id":"odd","a":"[[[[`},
		"deep, no array":     {rewrite: inList(`{"activity_id":"odd","a":` + strings.Repeat(`{"a":`, 50_000) + "1" + strings.Repeat("}", 50_000) + `,"result":"FAIL"}`), extra: `{"activity_id":"odd","a":"{\"a\":{`},
		"deep and large":     {rewrite: inList(`{"activity_id":"odd","a":"` + padding[:5<<20] + `","b":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`), extra: `{"activity_id":"odd","a":"xxxx`, lines: 1, says: "a record is larger than can be read", large: true},
		"deep, alone":        {rewrite: inList(strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)), extra: `"[[[`},
		"large record":       {rewrite: inList(`{"activity_id":"odd","a":"` + padding + `","b":1}`), extra: `{"activity_id":"odd","a":"xxxx`, lines: 9, says: "a record is larger than can be read", large: true},
		"duplicate keys":     {rewrite: inList(`{"activity_id":"odd","a":1,"a":{"b":1,"b":2},"activity_id":"odd"}`), extra: `{"activity_id":"odd","a":1,"a":{"b":1,"b":2},"activity_id":"odd"}`},
		"huge numbers":       {rewrite: inList(`{"activity_id":"odd","a":[1e999999,-1e-999999,` + strings.Repeat("9", 10_000) + `]}`), extra: `{"activity_id":"odd","a":[1e999999,-1e-999999,999`},
		"invalid UTF-8":      {rewrite: inList("{\"activity_id\":\"odd\",\"a\":\"\xff\xfe\\ud800\"}"), extra: "{\"activity_id\":\"odd\",\"a\":\"\xff\xfe\\ud800\"}"},
		"control characters": {rewrite: inList(`{"activity_id":"odd","a":"\u0000\r\n\u001b[31m"}`), extra: `{"activity_id":"odd","a":"\u0000\r\n\u001b[31m"}`},
		"a million keys":     {rewrite: inList(`{"activity_id":"odd"` + manyKeys(200_000) + `}`), extra: `{"activity_id":"odd","k0":0,`, large: true},
		"no object":          {rewrite: inList(`"odd"`), extra: `"odd"`},
		"odd times":          {rewrite: inList(`{"activity_id":"odd","ts":"9999-12-31T23:59:59Z"}`), extra: `{"activity_id":"odd","ts":"9999`},
		"absurd total":       {rewrite: metadata("total_objects", "-99999999999999999999")},
		"total as text":      {rewrite: metadata("total_objects", `{"value":[1e999]}`)},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.large {
				duo.SkipUnderRace(t)
			}
			synctest.Test(t, func(t *testing.T) {
				a := newAccount(t, duotest.Config{})
				backlog(a.server, "activity", 300)
				a.server.Fault(duotest.Fault{Kind: duotest.FaultRewrite, Rewrite: tc.rewrite, N: 12})
				w := defaults
				w.PageSize = 100
				r := a.read("activity", w, duo.NewCursor(time.Now().Add(-25*time.Hour), time.Now()))
				time.Sleep(2 * time.Hour)
				extra := 0
				r.mu.Lock()
				r.ids = slices.DeleteFunc(r.ids, func(id string) bool { return id == "odd" || id == "" })
				for _, raw := range r.raws {
					if tc.extra != "" && strings.HasPrefix(raw, tc.extra) {
						extra++
					}
				}
				r.mu.Unlock()
				sameOnce(t, a.server.IDs("activity"), r.got())
				if (extra > 0) != (tc.extra != "") {
					t.Errorf("the odd item was delivered %d times", extra)
				}
				lines := r.logs.all()
				if said := saying(r, tc.says); len(lines) > tc.lines || tc.says != "" && said == 0 {
					t.Errorf("%d log lines, want at most %d:\n%.2000s", len(lines), tc.lines, strings.Join(lines, "\n"))
				}
			})
		})
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"k%d":%d`, i, i)
	}
	return b.String()
}

// A record that is too large, the last but one of a quiet log, so that each poll
// reads it again: it is delivered once, and nothing is said after that.
func TestLargeRecordOfQuietLog(t *testing.T) {
	duo.SkipUnderRace(t)
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		at := func(ago time.Duration) string { return time.Now().Add(-ago).UTC().Format(time.RFC3339) }
		a.server.Add("activity", json.RawMessage(fmt.Sprintf(`{"activity_id":"large","ts":%q,"a":%q}`, at(4*time.Minute), strings.Repeat("x", 17<<20))))
		a.server.Add("activity", json.RawMessage(fmt.Sprintf(`{"activity_id":"last","ts":%q}`, at(3*time.Minute))))
		r := a.read("activity", defaults, duo.NewCursor(time.Now().Add(-time.Hour), time.Now()))
		time.Sleep(8 * time.Minute)
		sameOnce(t, []string{"large", "last"}, r.got())
		if lines := r.logs.all(); len(lines) > 3 || saying(r, "a record is larger than can be read") != 1 {
			t.Errorf("log lines %q", lines)
		}
	})
}

// A page of a v1 log, which no call can make smaller, is read in parts, also
// where records stand on it whose time is odd.
func TestLargePageOfV1(t *testing.T) {
	duo.SkipUnderRace(t)
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		padding := strings.Repeat("x", 25<<10)
		want := map[string]bool{}
		for i := range 1500 {
			text := fmt.Sprintf(`{"action":"a","description":"%d %s","timestamp":%d}`, i, padding, time.Now().Add(-20*time.Hour).Unix()+int64(20*i))
			want[text] = true
			a.server.Add("administrator", json.RawMessage(text))
		}
		odd := `{"action":"odd"},{"action":"odd","timestamp":946684800},`
		a.server.Fault(duotest.Fault{Kind: duotest.FaultRewrite, N: -1, Rewrite: func(b []byte) []byte {
			place := []byte(`{"action":"a","description":"500 `)
			return bytes.Replace(b, place, append([]byte(odd), place...), 1)
		}})
		r := a.read("administrator", defaults, duo.NewCursor(time.Now().Add(-25*time.Hour), time.Now()))
		time.Sleep(time.Hour)
		r.stop()
		for _, raw := range r.raws {
			delete(want, raw)
		}
		if len(want) > 0 || len(r.raws) != 1501 || len(r.logs.all()) > 10 {
			t.Errorf("%d of 1500 are missing, %d were delivered, log lines %q", len(want), len(r.raws), r.logs.all())
		}
	})
}

// A second that alone is too large for an answer is said, as one that is too full
// for a page is, and passed.
func TestLargeSecondOfV1(t *testing.T) {
	duo.SkipUnderRace(t)
	synctest.Test(t, func(t *testing.T) {
		a := newAccount(t, duotest.Config{})
		at := time.Now().Add(-20 * time.Hour).Unix()
		for i := range 800 {
			a.server.Add("administrator", json.RawMessage(fmt.Sprintf(`{"action":"a","description":"%d %s","timestamp":%d}`, i, strings.Repeat("x", 25<<10), at)))
		}
		a.server.Add("administrator", json.RawMessage(fmt.Sprintf(`{"action":"last","timestamp":%d}`, at+1)))
		r := a.read("administrator", defaults, duo.NewCursor(time.Now().Add(-25*time.Hour), time.Now()))
		time.Sleep(3 * time.Minute)
		r.stop()
		if last := r.raws[len(r.raws)-1]; !strings.Contains(last, `"last"`) || len(r.raws) < 600 || saying(r, "fill a page") != 1 {
			t.Errorf("%d records, the last is %.50s; log lines %q", len(r.raws), last, r.logs.all())
		}
	})
}

// What takes the place of a page is refused and said in a line or two, nothing
// is held of it, and when it ends nothing is missing.
func TestHostileAnswers(t *testing.T) {
	answer := func(body string, header ...string) duotest.Fault {
		f := duotest.Fault{Kind: duotest.FaultStatus, Status: 200, Body: body, Header: http.Header{}}
		for i := 0; i < len(header); i += 2 {
			f.Header.Add(header[i], header[i+1])
		}
		return f
	}
	status := func(n int, f duotest.Fault) duotest.Fault { f.Status = n; return f }
	many := answer("{}")
	for i := range 5000 {
		many.Header.Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 20))
	}
	const tooLarge = "the answer is larger than 16 MiB"
	for name, tc := range map[string]struct {
		fault duotest.Fault
		says  string
	}{
		"a gigabyte":          {duotest.Fault{Kind: duotest.FaultHuge, Size: 1 << 30}, tooLarge},
		"gzip bomb":           {answer(gzipBomb(1<<30), "Content-Encoding", "gzip"), tooLarge},
		"a huge next_offset":  {answer(`{"response":{"items":[{}],"metadata":{"next_offset":"` + strings.Repeat("9", 5000) + `"}}}`), "next_offset has 5002 bytes"},
		"broken gzip":         {answer("this is not compressed", "Content-Encoding", "gzip"), "gzip: invalid header"},
		"tiny records":        {answer(`{"response":{"items":[1` + strings.Repeat(",1", 4_000_000) + `]}}`), "more than 100000 records"},
		"empty records":       {answer(`{"response":{"items":[{}` + strings.Repeat(",{}", 4_000_000) + `]}}`), "more than 100000 records"},
		"deep, for ever":      {answer(`{"response":` + strings.Repeat("[", 8<<20)), "cannot be used"},
		"deep refusal":        {status(500, answer(strings.Repeat(`{"stat":`, 1<<20))), "HTTP 500: not JSON"},
		"large refusal":       {status(400, answer(`{"stat":"FAIL","code":40002,"message":"`+strings.Repeat("x", 1<<20)+`"}`)), "HTTP 400, code 40002: xxxx"},
		"many keys, refusal":  {status(500, answer(`{"stat":"FAIL"`+manyKeys(500_000)+`}`)), "HTTP 500"},
		"one huge string":     {answer(`"` + strings.Repeat("x", 8<<20) + `"`), "HTTP 502"},
		"NaN":                 {answer(`{"response":{"items":[{"a":NaN,"b":Infinity}]}}`), "cannot be used"},
		"huge numbers":        {status(500, answer(`{"stat":"FAIL","code":1e999999,"message":`+strings.Repeat("9", 10_000)+`}`)), "HTTP 500: 9999"},
		"a huge header":       {answer("{}", "X-Padding", strings.Repeat("x", 1<<20)), "header"},
		"many headers":        {many, "header"},
		"informational":       {duotest.Fault{Kind: duotest.FaultHints}, "header"},
		"a forged line":       {status(403, answer(`{"stat":"FAIL","code":40301,"message":"no\n[2026/01/01] [error] forged"}`)), "denies access"},
		"an odd redirect":     {status(302, answer("{}", "Location", "https://user:hunter2@a/%zz"+strings.Repeat("\x99", 10_000))), "redirect to another path"},
		"a long redirect":     {status(302, answer("{}", "Location", "https://user:hunter2@"+strings.Repeat("x", 10_000))), "redirect to xxxx"},
		"a long type":         {status(500, answer("no", "Content-Type", strings.Repeat("x", 10_000))), "HTTP 500: not JSON but xxxx"},
		"a long name":         {answer(`{"response":{"items":[{"` + strings.Repeat("x", 1<<20) + `":NaN}]}}`), "cannot be used"},
		"Retry-After of ages": {status(429, answer("{}", "Retry-After", "99999999999")), "HTTP 429"},
	} {
		t.Run(name, func(t *testing.T) {
			if len(tc.fault.Body) > 1<<20 {
				duo.SkipUnderRace(t)
			}
			synctest.Test(t, func(t *testing.T) {
				a := newAccount(t, duotest.Config{})
				backlog(a.server, "activity", 300)
				tc.fault.N = 3
				a.server.Fault(tc.fault)
				w := defaults
				w.PageSize = 100
				r := a.read("activity", w, duo.NewCursor(time.Now().Add(-25*time.Hour), time.Now()))
				time.Sleep(6 * time.Hour)
				sameOnce(t, a.server.IDs("activity"), r.got())
				lines := r.logs.all()
				if len(lines) != 2 || !strings.Contains(lines[0], tc.says) || !strings.Contains(lines[1], "answers again") || len(lines[0]) > 1500 || strings.Contains(lines[0], "hunter2") {
					t.Errorf("want a line with %q and one that it is over, got %.3000q", tc.says, lines)
				}
			})
		})
	}
}

// gzipBomb is n bytes of nothing, compressed, as members of a MiB each: so a
// gigabyte costs the test no time.
func gzipBomb(n int) string {
	var member bytes.Buffer
	z := gzip.NewWriter(&member)
	_, _ = z.Write(make([]byte, 1<<20))
	_ = z.Close()
	return strings.Repeat(member.String(), n>>20)
}

// metadata replaces a member of a page's metadata, a number or a string.
func metadata(name, value string) func([]byte) []byte {
	member := regexp.MustCompile(`"` + name + `": *("[^"]*"|[0-9]+)`)
	return func(body []byte) []byte { return member.ReplaceAll(body, fmt.Appendf(nil, "%q:%s", name, value)) }
}

// mostAllocated is how many times an answer's size may be allocated for it.
const mostAllocated = 20

// What an answer takes in memory is bounded by its size, whatever it is made of:
// all that is ever allocated for it, so that no more can be in use at once.
func TestHostileMemory(t *testing.T) {
	duo.SkipUnderRace(t) // where what is allocated is larger, too
	l, err := duo.LookupLog("activity")
	if err != nil {
		t.Fatal(err)
	}
	const size = 8 << 20
	list := func(items string) string { return `{"response":{"items":[` + items + `]}}` }
	for name, body := range map[string]string{
		"a string":        list(`{"a":"` + strings.Repeat("x", size) + `"}`),
		"escapes":         list(`{"a":"` + strings.Repeat(`\ud800`, size/6) + `"}`),
		"keys":            list(`{"a":0` + manyKeys(size/18) + `}`),
		"the same key":    list(`{"a":0` + strings.Repeat(`,"a":0`, size/6) + `}`),
		"tiny records":    list("0" + strings.Repeat(",0", size/2)),
		"allowed records": list("{}" + strings.Repeat(`,{"activity_id":"`+strings.Repeat("x", 60)+`"}`, 99_999)),
		"levels":          list(strings.Repeat("[", size/2) + strings.Repeat("]", size/2)),
		"a million deep":  list("0" + strings.Repeat(","+strings.Repeat("[", 20)+strings.Repeat("]", 20), size/41)),
		"metadata":        `{"response":{"items":[],"metadata":{"next_offset":[1` + strings.Repeat(",1", size/2) + `]}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			page, err := duo.ParsePage(l, []byte(body))
			if err == nil {
				c := duo.NewCursor(time.Now().Add(-time.Hour), time.Now())
				c, _, _ = c.Open(time.Now(), defaults)
				_, _, err = c.Advance(l, page, defaults, 1000, time.Now())
			}
			runtime.ReadMemStats(&after)
			used := after.TotalAlloc - before.TotalAlloc
			t.Logf("%d records, error %v, %d MiB allocated, %.1f of the answer's size", len(page.Records), err, used>>20, float64(used)/float64(len(body)))
			if used > mostAllocated*uint64(len(body)) {
				t.Errorf("%d bytes were allocated for an answer of %d", used, len(body))
			}
		})
	}
}
