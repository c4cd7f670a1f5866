package main

import (
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"duo_in/duo/duotest"
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
