package duo

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/scan"
)

// benchRate is how many events a second a large account makes at its busiest,
// as far as the benchmarks go.
const benchRate = 60

// benchPage is the body of a full page of authentication records, of 1.7 KB
// each, that begins at noon, in the form that Duo writes it.
func benchPage() (body []byte, records []json.RawMessage) {
	records = duotest.NewRecords("authentication", 1, noon, noon.Add(1000*time.Second/benchRate), 1000)
	var list []string
	for _, r := range records {
		list = append(list, string(r))
	}
	return fmt.Appendf(nil, `{"stat": "OK", "response": {"authlogs": [%s], "metadata": {"next_offset": ["%d", "af0ba235"], "total_objects": 1000000}}}`,
		strings.Join(list, ", "), ToMillis(noon.Add(1000*time.Second/benchRate))), records
}

// perRecord reports how long each of the records of b's loop took, of which
// there are n.
func perRecord(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/record")
}

func BenchmarkParsePage(b *testing.B) {
	body, _ := benchPage()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if p, err := ParsePage(logs[0], body); err != nil || len(p.Records) != 1000 {
			b.Fatal(len(p.Records), err)
		}
	}
	perRecord(b, 1000)
}

// BenchmarkNewRecord reads a record with its hash, and BenchmarkContentHash has the
// hash alone, as records that are odd get it.
func BenchmarkNewRecord(b *testing.B) {
	_, records := benchPage()
	rd := reader{log: logs[0]}
	b.ReportAllocs()
	for b.Loop() {
		for _, raw := range records {
			in := scan.New(raw)
			rd.read(&in)
		}
	}
	perRecord(b, len(records))
}

func BenchmarkContentHash(b *testing.B) {
	_, records := benchPage()
	b.ReportAllocs()
	for b.Loop() {
		for _, raw := range records {
			contentHash(raw)
		}
	}
	perRecord(b, len(records))
}

// BenchmarkAdvance takes in a page of new records, and one that is known, where
// five minutes of a large account are remembered.
func BenchmarkAdvance(b *testing.B) {
	body, _ := benchPage()
	p, err := ParsePage(logs[0], body)
	if err != nil {
		b.Fatal(err)
	}
	c, w := benchCursor(), Window{Delay: 2 * time.Minute, Overlap: 5 * time.Minute, PollInterval: time.Minute, PageSize: 1000}
	again, _, err := c.Advance(logs[0], p, w, w.PageSize, noon.Add(time.Hour))
	if err != nil {
		b.Fatal(err)
	}
	again.Next = c.Next
	for _, bc := range []struct {
		name  string
		c     Cursor
		fresh int
	}{{"new", c, 1000}, {"known", again, 0}} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, fresh, err := bc.c.Advance(logs[0], p, w, w.PageSize, noon.Add(time.Hour)); err != nil || len(fresh) != bc.fresh {
					b.Fatal(len(fresh), err)
				}
			}
			perRecord(b, 1000)
		})
	}
}

// benchCursor remembers what came in the five minutes before noon.
func benchCursor() Cursor {
	r := rand.New(rand.NewPCG(1, 1))
	from := noon.Add(-5 * time.Minute)
	c := Cursor{From: ToMillis(from), Until: ToMillis(noon.Add(50 * time.Minute)), Next: "1,a", SeenSince: ToMillis(from)}
	for i := range 300 * benchRate {
		c.Seen = append(c.Seen, Seen{At: ToMillis(from.Add(time.Duration(i) * time.Second / benchRate)), Hash: r.Uint64()})
	}
	return c
}

// BenchmarkMarshalCursor writes what a checkpoint holds of such a cursor.
func BenchmarkMarshalCursor(b *testing.B) {
	c := benchCursor()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.CompactJSON(); err != nil {
			b.Fatal(err)
		}
	}
}
