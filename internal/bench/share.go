package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"github.com/ugorji/go/codec"

	"duo_in/duo"
	"duo_in/duo/duotest"
	"duo_in/plugin/record"
)

// pages are answers of Duo, each with as many authentication events, one after
// the other in time.
type pages struct {
	log    duo.Log
	bodies [][]byte
	size   int // events of a page
	cursor duo.Cursor
	window duo.Window
	now    time.Time
}

// newPages makes n answers for size events each.
func newPages(n, size int) (*pages, error) {
	l, err := duo.LookupLog(duotest.Authentication)
	if err != nil {
		return nil, err
	}
	now := time.Date(2026, 2, 13, 12, 0, 0, 0, time.UTC)
	past := tenant(n*size, now)[duotest.Authentication]
	g := duotest.NewGenerator(duotest.Authentication, 1, duotest.Options{})
	p := &pages{
		log: l, size: size, now: now, cursor: duo.NewCursor(past.since(past.N), now),
		window: duo.Window{Delay: 2 * time.Minute, Overlap: 5 * time.Minute, PollInterval: time.Minute, PageSize: size},
	}
	for page := range n {
		body := []byte(`{"response": {"authlogs": [`)
		var id string
		for i := range size {
			r := g.At(past.at(page*size + i))
			body = append(body, r...)
			body = append(body, ", "...)
			var fields struct{ Txid string }
			if err := json.Unmarshal(r, &fields); err != nil {
				return nil, err
			}
			id = fields.Txid
		}
		end := strconv.FormatInt(past.at(page*size+size-1).UnixMilli(), 10)
		body = fmt.Appendf(bytes.TrimSuffix(body, []byte(", ")),
			`], "metadata": {"next_offset": [%q, %q], "total_objects": %d}}, "stat": "OK"}`, end, id, past.N)
		p.bodies = append(p.bodies, body)
	}
	return p, nil
}

// ours is duo_in's own share of the work: each page to events for Fluent Bit, with
// all that keeps them from coming twice. dst is what the last page's take; n is
// how many events there were.
func (p *pages) ours() (dst []byte, n int, err error) {
	e := record.NewEncoder(record.Options{})
	c, _, _ := p.cursor.Open(p.now, p.window)
	for _, body := range p.bodies {
		page, err := duo.ParsePage(p.log, body)
		if err != nil {
			return nil, 0, err
		}
		var records []duo.Record
		if c, records, err = c.Advance(p.log, page, p.window, p.size, p.now); err != nil {
			return nil, 0, err
		}
		dst = dst[:0]
		for _, r := range records {
			dst = e.Append(dst, record.Event{
				Raw: r.Raw, Time: r.Time, EventType: p.log.EventType, Host: "api-xxxxxxxx.duosecurity.com", EventID: r.EventID,
			})
		}
		n += len(records)
	}
	return dst, n, nil
}

// plain is the same with encoding/json and codec, without anything against
// duplicates.
func (p *pages) plain() (dst []byte, n int, err error) {
	encoder := codec.NewEncoderBytes(&dst, &codec.MsgpackHandle{WriteExt: true})
	for _, body := range p.bodies {
		events, _, err := decodePlain(body)
		if err != nil {
			return nil, 0, err
		}
		for _, e := range events {
			encoder.ResetBytes(&dst)
			if err := encodePlain(encoder, e); err != nil {
				return nil, 0, err
			}
		}
		n += len(events)
	}
	return dst, n, nil
}

// valid only asks encoding/json whether the pages are JSON.
func (p *pages) valid() (dst []byte, n int, err error) {
	for _, body := range p.bodies {
		if !json.Valid(body) {
			return nil, 0, fmt.Errorf("a page is no JSON: %.80s", body)
		}
	}
	return nil, len(p.bodies) * p.size, nil
}

// measureShare compares them, in rounds, by the time of the processor that this
// process uses meanwhile, that of the garbage collector included.
func measureShare(ctx context.Context, l *lab) ([]row, error) {
	p, err := newPages(l.scale.pages, pageSize)
	if err != nil {
		return nil, err
	}
	ways := []struct {
		name string
		run  func() ([]byte, int, error)
		runs []float64
	}{
		{name: "ours", run: p.ours}, {name: "encoding/json into maps and codec", run: p.plain}, {name: "json.Valid alone", run: p.valid},
	}
	for range l.scale.shareRounds {
		for i := range ways {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			runtime.GC()
			before := ownCPU()
			_, n, err := ways[i].run()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", ways[i].name, err)
			}
			if n != len(p.bodies)*p.size {
				return nil, fmt.Errorf("%s: %d events came out, want %d", ways[i].name, n, len(p.bodies)*p.size)
			}
			ways[i].runs = append(ways[i].runs, float64(ownCPU()-before)/1e3/float64(n))
		}
	}
	if err := profiled(l.profile, l.scale.shareRounds, p.ours); err != nil {
		return nil, err
	}
	ours, plain, valid := median(ways[0].runs), median(ways[1].runs), median(ways[2].runs)
	l.say("own share %s a record, encoding/json and codec %s, json.Valid %s", micros(ours), micros(plain), micros(valid))
	return []row{{
		What:   "processor, our own share: JSON page to msgpack, with hash and dedupe",
		Budget: "at most 10 µs a record, goal 4 µs", Verdict: budget{required: 10, goal: 4}.judge(ours),
		Measured: fmt.Sprintf("%s a record, %.1f times json.Valid of the same bytes (%s); encoding/json into maps and codec, without hash and dedupe: %s",
			micros(ours), ours/valid, micros(valid), micros(plain)),
		How: fmt.Sprintf("ParsePage, Advance and Append over %d pages of %d events, in one process, %d rounds, medians", len(p.bodies), p.size, l.scale.shareRounds),
	}}, nil
}
