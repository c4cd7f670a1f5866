package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	duoapi "github.com/duosecurity/duo_api_golang"
	"github.com/ugorji/go/codec"

	"duo_in/duo/duotest"
)

// walkTask is the task of the roles plain and bytes: all authentication events
// since a time, in pages of 1000.
type walkTask struct {
	access
	Since time.Time
}

// walked is their answer.
type walked struct{ Records int }

// readPlain is the role plain: what a plugin does that was written in an
// afternoon. encoding/json reads each page into maps, ugorji's codec writes each
// event.
func readPlain(task []byte, _ *bufio.Scanner, out io.Writer) error {
	var packed []byte
	encoder := codec.NewEncoderBytes(&packed, &codec.MsgpackHandle{WriteExt: true})
	return walk(task, out, func(body io.Reader) (string, int, error) {
		text, err := io.ReadAll(body)
		if err != nil {
			return "", 0, err
		}
		events, next, err := decodePlain(text)
		for _, e := range events {
			if err == nil {
				encoder.ResetBytes(&packed)
				err = encodePlain(encoder, e)
			}
		}
		return next, len(events), err
	})
}

// decodePlain reads a page of the authentication log.
func decodePlain(body []byte) (events []map[string]any, next string, err error) {
	var page struct {
		Response struct {
			Authlogs []map[string]any
			Metadata struct {
				Next []string `json:"next_offset"`
			}
		}
	}
	err = json.Unmarshal(body, &page)
	return page.Response.Authlogs, strings.Join(page.Response.Metadata.Next, ","), err
}

// encodePlain writes an event as Fluent Bit takes it.
func encodePlain(encoder *codec.Encoder, event map[string]any) error {
	seconds, _ := event["timestamp"].(float64)
	at := codec.RawExt{Data: []byte{byte(int(seconds) >> 24), byte(int(seconds) >> 16), byte(int(seconds) >> 8), byte(int(seconds)), 0, 0, 0, 0}}
	event["eventtype"], event["host"] = "authentication", "api-xxxxxxxx.duosecurity.com"
	return encoder.Encode([]any{&at, event})
}

var nextOffset = regexp.MustCompile(`"next_offset": \["(\d+)", "([^"]+)"\]`)

// readBytes is the role bytes: nobody can do with less than reading what comes.
func readBytes(task []byte, _ *bufio.Scanner, out io.Writer) error {
	return walk(task, out, func(body io.Reader) (string, int, error) {
		c := &counter{}
		if _, err := io.Copy(c, body); err != nil {
			return "", 0, err
		}
		next := nextOffset.FindSubmatch(c.end)
		if next == nil {
			return "", c.records(), nil
		}
		return string(next[1]) + "," + string(next[2]), c.records(), nil
	})
}

// counter keeps no more than the end of what is written to it. A page of less
// bytes than a full one is the last.
type counter struct {
	n   int64
	end []byte
}

func (c *counter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	c.end = append(c.end, b[max(0, len(b)-endSize):]...)
	c.end = c.end[max(0, len(c.end)-endSize):]
	return len(b), nil
}

const endSize = 512 // bytes, more than the metadata behind a page's events takes

// records is how many a page holds as far as this looks: 1000 if there is one.
func (c *counter) records() int {
	if c.n < endSize {
		return 0
	}
	return pageSize
}

const pageSize = 1000

// walk reads page after page until one has no more; page returns next_offset and
// the number of events.
func walk(task []byte, out io.Writer, page func(io.Reader) (string, int, error)) error {
	var t walkTask
	if err := json.Unmarshal(task, &t); err != nil {
		return err
	}
	pem, err := os.ReadFile(t.CA)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	through := &inPlace{base: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}, page: page}
	api := duoapi.NewDuoApi(duotest.IntegrationKey, duotest.SecretKey, t.Addr, "bench")
	api.SetCustomHTTPClient(&http.Client{Transport: through})
	params := url.Values{
		"mintime": {strconv.FormatInt(t.Since.UnixMilli(), 10)},
		"maxtime": {strconv.FormatInt(time.Now().UnixMilli(), 10)},
		"sort":    {"ts:asc"}, "limit": {strconv.Itoa(pageSize)},
	}
	total := 0
	for {
		resp, _, err := api.SignedCall(http.MethodGet, "/admin/v2/logs/authentication", params, duoapi.UseTimeout)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = errors.New(resp.Status)
		}
		if err != nil {
			return fmt.Errorf("page after %d events: %w", total, err)
		}
		total += through.events
		if through.next == "" || through.events == 0 {
			break
		}
		params.Set("next_offset", through.next)
	}
	return json.NewEncoder(out).Encode(walked{total})
}

// inPlace gives a page to who reads it in place of duo_api_golang, which would
// read it whole before.
type inPlace struct {
	base   http.RoundTripper
	page   func(io.Reader) (string, int, error)
	next   string
	events int
}

func (p *inPlace) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := p.base.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	defer resp.Body.Close()
	p.next, p.events, err = p.page(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(nil))
	return resp, err
}
