package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	duoapi "github.com/duosecurity/duo_api_golang"
)

// simDelay is the age from which the simulated Duo shows an event.
const simDelay = time.Second

// logs are those that the simulated Duo has.
var logs = []string{"authentication", "activity", "telephony"}

// sim is a running "duoctl sim".
type sim struct {
	host, integrationKey, secretKey, caFile string

	since time.Time // when it began: what is older is backlog
	stop  func()    // ends the process and waits for it
}

// startSim starts the program and waits until it listens.
func startSim(ctx context.Context, duoctl, dir string, backlog int) (*sim, error) {
	ready := filepath.Join(dir, "ready")
	running, cancel := context.WithCancel(context.Background())
	// -for is for the case that this program is killed: then nobody stops it.
	cmd := exec.CommandContext(running, duoctl, "sim", "-listen", "127.0.0.1:0", "-dir", filepath.Join(dir, "sim"), "-ready-file", ready,
		"-backlog", strconv.Itoa(backlog), "-rate", "1", "-delay", simDelay.String(), "-for", "2m")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 3 * time.Second // then it is killed
	s := &sim{since: time.Now()}
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("start the simulated Duo: %w; build it first: make demo", err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	s.stop = func() { cancel(); <-ended }
	for {
		settings, err := os.ReadFile(ready)
		if err == nil {
			s.set(string(settings))
			return s, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ended:
			err = fmt.Errorf("the simulated Duo has ended: %s", bytes.TrimSpace(output.Bytes()))
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			s.stop()
			return nil, err
		}
	}
}

// set reads the ready file's KEY=VALUE lines.
func (s *sim) set(settings string) {
	for line := range strings.Lines(settings) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "DUO_API_HOST":
			s.host = value
		case "DUO_INTEGRATION_KEY":
			s.integrationKey = value
		case "DUO_SECRET_KEY":
			s.secretKey = value
		case "DUO_CA_FILE":
			s.caFile = value
		}
	}
}

// filed returns every event that the simulated Duo shows at this moment. It
// shares nothing with duo_in, so that a fault there cannot hide itself here.
func (s *sim) filed(ctx context.Context) ([]event, error) {
	pem, err := os.ReadFile(s.caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	api := duoapi.NewDuoApi(s.integrationKey, s.secretKey, s.host, "duo_in-demo")
	api.SetCustomHTTPClient(&http.Client{Transport: transport, Timeout: 10 * time.Second})
	var all []event
	now := time.Now()
	for _, log := range logs {
		params := url.Values{
			"mintime": {strconv.FormatInt(now.Add(-24*time.Hour).UnixMilli(), 10)},
			"maxtime": {strconv.FormatInt(now.UnixMilli(), 10)},
			"sort":    {"ts:asc"}, "limit": {"1000"},
		}
		for more := true; more; {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			records, next, err := readPage(api, log, params)
			if err != nil {
				return nil, fmt.Errorf("ask the simulated Duo for %s: %w", log, err)
			}
			for _, r := range records {
				e, err := newEvent(log, r)
				if err != nil {
					return nil, err
				}
				all = append(all, e)
			}
			params.Set("next_offset", next)
			more = next != ""
		}
	}
	return all, nil
}

// readPage makes one call. next is empty at the end.
func readPage(api *duoapi.DuoApi, log string, params url.Values) (records []json.RawMessage, next string, err error) {
	resp, body, err := api.SignedCall(http.MethodGet, "/admin/v2/logs/"+log, params, duoapi.UseTimeout)
	if err != nil {
		return nil, "", err
	}
	var page struct {
		Response struct {
			Authlogs, Items []json.RawMessage
			Metadata        struct {
				Next any `json:"next_offset"`
			}
		}
	}
	if err := json.Unmarshal(body, &page); err != nil || resp.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("%s: %.200s", resp.Status, body)
	}
	switch n := page.Response.Metadata.Next.(type) {
	case string:
		next = n
	case []any: // of authentication: milliseconds and id
		next = strings.Trim(strings.ReplaceAll(fmt.Sprint(n), " ", ","), "[]")
	}
	return append(page.Response.Authlogs, page.Response.Items...), next, nil
}
