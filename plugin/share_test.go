package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"duo_in/duo"
	"duo_in/duo/duotest"
	"duo_in/plugin/record"
)

// BenchmarkShare is all that the plugin does with a page of 1000 authentication
// records of 1.7 KB, from the bytes that Duo answered to those that Fluent Bit
// takes: reading, hashes, what is known dropped, and the events. What is known
// are the five minutes before, of 60 events a second.
func BenchmarkShare(b *testing.B) {
	log, err := duo.LookupLog("authentication")
	if err != nil {
		b.Fatal(err)
	}
	noon := time.Date(2026, 2, 13, 12, 0, 0, 0, time.UTC)
	w := duo.Window{Delay: 2 * time.Minute, Overlap: 5 * time.Minute, PollInterval: time.Minute, PageSize: 1000}
	c := duo.NewCursor(noon.Add(-w.Overlap), noon)
	c.Until = duo.ToMillis(noon.Add(time.Hour))
	var body []byte
	for n := range 19 {
		from := noon.Add(time.Duration(n)*time.Second*1000/60 - w.Overlap)
		body = pageBody(from, uint64(n))
		if n == 18 {
			break
		}
		p, err := duo.ParsePage(log, body)
		if err != nil {
			b.Fatal(err)
		}
		if c, _, err = c.Advance(log, p, w, w.PageSize, noon.Add(time.Hour)); err != nil {
			b.Fatal(err)
		}
	}
	if len(c.Seen) < 17_500 {
		b.Fatalf("only %d records are remembered", len(c.Seen))
	}
	for _, o := range []record.Options{{}, {Format: record.Flat}, {Format: record.Raw}, {Format: record.CEF}, {Exclude: []string{"access_device.epkey", "user.groups"}}} {
		b.Run(strings.Join(append([]string{o.Format.String()}, o.Exclude...), "-"), func(b *testing.B) {
			enc := record.NewEncoder(o)
			var data []byte
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				p, err := duo.ParsePage(log, body)
				if err != nil {
					b.Fatal(err)
				}
				_, fresh, err := c.Advance(log, p, w, w.PageSize, noon.Add(time.Hour))
				if err != nil || len(fresh) != 1000 {
					b.Fatal(len(fresh), err)
				}
				data = data[:0]
				for _, r := range fresh {
					data = enc.Append(data, record.Event{Raw: r.Raw, Time: r.Time, EventType: log.EventType, Host: "api-00000000.duosecurity.com", EventID: r.EventID})
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/record")
		})
	}
}

// pageBody is a full page of authentication records that begins at a time.
func pageBody(from time.Time, seed uint64) []byte {
	to := from.Add(time.Second * 1000 / 60)
	var list []string
	for _, r := range duotest.NewRecords("authentication", seed, from, to, 1000) {
		list = append(list, string(r))
	}
	return fmt.Appendf(nil, `{"stat": "OK", "response": {"authlogs": [%s], "metadata": {"next_offset": ["%d", "af0ba235"], "total_objects": 1000000}}}`,
		strings.Join(list, ", "), to.UnixMilli())
}
