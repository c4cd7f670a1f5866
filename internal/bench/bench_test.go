package main

import (
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

// TestMain lets the helpers of what is tested be this program too.
func TestMain(m *testing.M) {
	if status, played := play(); played {
		os.Exit(status)
	}
	os.Exit(m.Run())
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3}, {[]float64{5, 1, 4}, 4}, {[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(tt.values); got != tt.want {
			t.Errorf("median of %v is %v, want %v", tt.values, got, tt.want)
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing is %v", got)
	}
}

func TestPercentile(t *testing.T) {
	var values []float64
	for i := range 1000 {
		values = append(values, float64(1000-i))
	}
	for p, want := range map[float64]float64{0: 1, 0.5: 500, 0.999: 999, 0.9991: 1000, 1: 1000} {
		if got := percentile(values, p); got != want {
			t.Errorf("percentile %v is %v, want %v", p, got, want)
		}
	}
	if got := percentile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("percentile of nothing is %v", got)
	}
}

func TestJudge(t *testing.T) {
	atMost, atLeast := budget{required: 1.5, goal: 1}, budget{required: 95, least: true}
	for _, tt := range []struct {
		budget budget
		value  float64
		want   verdict
	}{
		{atMost, 0.9, goalMet}, {atMost, 1, goalMet}, {atMost, 1.2, met}, {atMost, 1.5, met}, {atMost, 1.51, missed},
		{atLeast, 94.9, missed}, {atLeast, 95, met}, {atMost, math.NaN(), missed}, {atLeast, math.NaN(), missed},
	} {
		if got := tt.budget.judge(tt.value); got != tt.want {
			t.Errorf("%+v, %v: %q, want %q", tt.budget, tt.value, got, tt.want)
		}
	}
}

func TestFigures(t *testing.T) {
	c := cost{cpu: 3 * time.Second, elapsed: 4 * time.Second, records: 100_000}
	costs := []cost{{cpu: 9 * time.Second, records: 100_000}, c, {cpu: 5 * time.Second, records: 100_000}}
	if m, least := medianOf(costs, cost.perRecord), leastOf(costs, cost.perRecord); m != 50 || least != 30 {
		t.Errorf("median %v, least %v, want 50 and 30", m, least)
	}
	got := []string{micros(c.perRecord()), thousands(c.rate()), thousands(999), thousands(1234567), thousands(-1000), megabytes(3 << 19)}
	if diff := cmp.Diff([]string{"30.0 µs", "25,000", "999", "1,234,567", "-1,000", "1.5 MB"}, got); diff != "" {
		t.Error("(-want +got):\n", diff)
	}
}

func TestBacklog(t *testing.T) {
	b := tenant(1000, time.Now())
	auth, activity := b[duotest.Authentication], b[duotest.Activity]
	since := auth.since(101)
	if n := auth.from(since); n != 101 {
		t.Errorf("%d events since that of 101", n)
	}
	if n := activity.from(since); n != 11 { // at 0, 10, … 100 steps before the end
		t.Errorf("%d events of activity, want 11", n)
	}
	if got := auth.at(auth.N - 1); !got.Equal(auth.End) {
		t.Errorf("the newest is of %v, not %v", got, auth.End)
	}
	if n := activity.from(auth.since(1000)); n != 100 {
		t.Errorf("%d events of activity, want all 100", n)
	}
	if n := auth.from(auth.End.Add(time.Second)); n != 0 {
		t.Errorf("%d events after the end", n)
	}
}

func TestSample(t *testing.T) {
	const text = "# TYPE a_total counter\na_total{name=\"x\"} 12\na_total{name=\"y\"} 3\na_total_more 7\nb 1.5e+06\n"
	for name, want := range map[string]int{"a_total": 15, "b": 1_500_000, "c": 0} {
		if got := sample(text, name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

func TestParseLimit(t *testing.T) {
	const out = `=== RUN   TestPaceFound
=== RUN   TestPaceFound/1_calls_a_minute,_token_bucket
    pace_test.go:40: 91 % of the limit, one 429 in 30 calls
=== RUN   TestPaceFound/N=1_fixed_window
    pace_test.go:41: N=1 fixed window: 95 % of the limit, one 429 in 21 calls
=== RUN   TestPaceFound/N=50_token_bucket_counted_latency_0s
    pace_test.go:41: N=50 token bucket: 88 % of the limit, one 429 in 25 calls
--- PASS: TestPaceFound (1.00s)
=== RUN   TestPaceDay
    pace_test.go:90: 93 % of the limit used, 12 of 40000 calls refused
--- PASS: TestPaceDay (2.00s)
ok  	duo_in/duo	3.0s
`
	limits, days := parseLimit(out)
	want := []limit{{"1", 91, 21}, {"50", 88, 25}}
	if diff := cmp.Diff(want, limits, cmp.AllowUnexported(limit{})); diff != "" {
		t.Error("(-want +got):\n", diff)
	}
	if diff := cmp.Diff([]string{"93 % of the limit used, 12 of 40000 calls refused"}, days); diff != "" {
		t.Error("(-want +got):\n", diff)
	}
}

func call(at time.Time, account, log string, records int) duotest.Call {
	return duotest.Call{At: at, Account: account, Log: log, Records: records}
}

func TestRegularity(t *testing.T) {
	begin := time.Date(2026, 2, 13, 0, 0, 0, 0, time.UTC)
	at := func(seconds float64) time.Time { return begin.Add(time.Duration(seconds * float64(time.Second))) }
	got := regularity([]duotest.Call{
		call(at(0.5), "", "", 0), // the list of accounts
		call(at(1), "A", "activity", 0), call(at(1.5), "B", "activity", 0), call(at(3), "A", "telephony", 0),
		call(at(11), "A", "activity", 0), call(at(14.5), "B", "activity", 0),
	}, begin, at(20))
	// A's telephony was asked at 3 s only, and until 20 s never again.
	want := regular{streams: 3, calls: 5, shortest: 10 * time.Second, longest: 17 * time.Second, firstMost: 2}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(regular{})); diff != "" {
		t.Error("(-want +got):\n", diff)
	}
}

func TestPace(t *testing.T) {
	begin := time.Date(2026, 2, 13, 0, 0, 0, 0, time.UTC)
	rate, pages := pace([]duotest.Call{
		call(begin, "", "authentication", 1000), call(begin.Add(400*time.Millisecond), "", "authentication", 1000),
		call(begin.Add(time.Second), "", "authentication", 500), call(begin.Add(time.Minute), "", "authentication", 0),
	})
	if rate != 2000 || pages != 3 {
		t.Errorf("%v records a second over %d pages, want 2000 over 3", rate, pages)
	}
	if rate, _ := pace(nil); rate != 0 {
		t.Errorf("%v records a second of nothing", rate)
	}
}

func TestFullness(t *testing.T) {
	share, n := fullness([]flbtest.Collect{{Bytes: 10}, {Bytes: 100}, {Bytes: 80}}, 100)
	if share != 0.9 || n != 2 {
		t.Errorf("%v of %d callbacks, want 0.9 of 2", share, n)
	}
	if share, n := fullness(nil, 100); share != 0 || n != 0 {
		t.Errorf("%v of %d callbacks of nothing", share, n)
	}
}

func TestReport(t *testing.T) {
	r := report{
		Time: time.Date(2026, 2, 13, 0, 0, 0, 0, time.UTC), Machine: "2 processors", Programs: "go, Fluent Bit", Command: "make bench",
		Rows: []row{
			{What: "this | that", Budget: "at most 1", Measured: "2\n3", Verdict: missed, How: "so"},
			{What: "other", Measured: "5", How: "so too"},
		},
	}
	const table = "Measured 2026-02-13 by `make bench` on 2 processors; go, Fluent Bit.\n\n" +
		"| what | budget | measured | | how |\n|---|---|---|---|---|\n" +
		"| this \\| that | at most 1 | 2 3 | MISSED | so |\n| other |  | 5 |  | so too |\n"
	if diff := cmp.Diff(table, r.markdown()); diff != "" {
		t.Error("(-want +got):\n", diff)
	}
	got, err := inDoc([]byte("a\n"+docBegin+"old\n"+docEnd+"z\n"), []byte(table))
	if want := "a\n" + docBegin + table + docEnd + "z\n"; err != nil || string(got) != want {
		t.Errorf("%v, the document is %q", err, got)
	}
	if _, err := inDoc([]byte("a\n"+docBegin), nil); err == nil {
		t.Error("no error of a document without the marks")
	}
	if !r.missedAny() || (&report{Rows: r.Rows[1:]}).missedAny() || !(&report{Failed: []string{"x"}}).missedAny() {
		t.Error("what was missed is not told, or what was not is")
	}
	if !strings.Contains(r.text(), "verdict   MISSED") {
		t.Errorf("text:\n%s", r.text())
	}
}

// The ways that are compared must do the same work: as many events, and the same
// bytes of Duo's.
func TestShare(t *testing.T) {
	p, err := newPages(2, 50)
	if err != nil {
		t.Fatal(err)
	}
	for name, way := range map[string]func() ([]byte, int, error){"ours": p.ours, "plain": p.plain, "valid": p.valid} {
		if dst, n, err := way(); err != nil || n != 100 || name != "valid" && len(dst) < 1000 {
			t.Errorf("%s: %d events, %d bytes, %v; want 100", name, n, len(dst), err)
		}
	}
}

// BenchmarkShare is duo_in's own share: an operation is a page.
func BenchmarkShare(b *testing.B) {
	p, err := newPages(1, pageSize)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(p.bodies[0])))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := p.ours(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*p.size), "ns/record")
}
