package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestHealth asks servers that answer, refuse, hang, lead elsewhere and are not there.
func TestHealth(t *testing.T) {
	release, stop := context.WithCancel(t.Context())
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/ill", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	mux.Handle("/elsewhere", http.RedirectHandler("/ok", http.StatusFound))
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-release.Done():
		}
	})
	plain, secure := httptest.NewServer(mux), httptest.NewTLSServer(mux)
	defer plain.Close()
	defer secure.Close()
	defer stop()
	file := func(name string, content []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca := file("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))

	tests := map[string]struct {
		args   []string
		status int
		stderr string
	}{
		"well":                {[]string{plain.URL + "/ok"}, 0, ""},
		"ill":                 {[]string{plain.URL + "/ill"}, 1, "/ill: HTTP 500, want 200"},
		"not there":           {[]string{plain.URL + "/none"}, 1, "HTTP 404, want 200"},
		"another status":      {[]string{"-status", "404", plain.URL + "/none"}, 0, ""},
		"a redirect":          {[]string{plain.URL + "/elsewhere"}, 1, "HTTP 302, want 200"},
		"no answer":           {[]string{"-timeout", "50ms", plain.URL + "/hang"}, 1, "/hang: no answer within -timeout"},
		"no server":           {[]string{"http://127.0.0.1:1"}, 1, "connection refused"},
		"a password":          {[]string{"http://duo:hunter2@127.0.0.1:1"}, 1, "http://duo:xxxxx@127.0.0.1:1: dial"},
		"its own root":        {[]string{"-ca", ca, secure.URL + "/ok"}, 0, ""},
		"an unknown root":     {[]string{secure.URL + "/ok"}, 1, "certificate signed by unknown authority"},
		"no roots":            {[]string{"-ca", ca + "x", secure.URL}, 1, "read -ca: open "},
		"roots without a one": {[]string{"-ca", file("empty", nil), secure.URL}, 1, "there is no certificate in it"},
		"two URLs":            {[]string{plain.URL, plain.URL}, 2, "one URL is expected"},
		"no URL":              {[]string{"localhost:2020"}, 2, `URL "localhost:2020": want http://host:port/path`},
		"no status":           {[]string{"-status", "0"}, 2, "-status 0: want 100 to 599"},
		"no time":             {[]string{"-timeout", "0"}, 2, `-timeout "0s": want more than 0`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			args := append([]string{"health", "-timeout", "1m"}, test.args...) // of two the last counts
			if status := run(args, &stdout, &stderr); status != test.status {
				t.Errorf("status %d, want %d: %s", status, test.status, &stderr)
			}
			if !strings.Contains(stderr.String(), test.stderr) || test.stderr == "" && stderr.Len() > 0 || stdout.Len() > 0 {
				t.Errorf("stdout %q, stderr %q; want nothing, %q", &stdout, &stderr, test.stderr)
			}
		})
	}
}
