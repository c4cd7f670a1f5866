package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"duo_in/checkpoint"
	"duo_in/duo"
)

// FuzzConfig holds that whatever a config.yml holds, reading it ends with an error that shows no secret, or with a
// configuration in which every line is one that belongs there.
func FuzzConfig(f *testing.F) {
	configs, _ := filepath.Glob("testdata/migrate/*/config.yml")
	for _, name := range configs {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(good))
	f.Add([]byte("a: &a [*a]\n? {}\n: <<: *a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := readDLSConfig("config.yml", data)
		if err != nil {
			return
		}
		checkConf(t, c.fluentBit("config.yml", checkpoint.DefaultDir))
		if n := strings.Count(c.environment(), "\n"); n != 3 {
			t.Errorf("the environment has %d lines, want 3:\n%s", n, c.environment())
		}
	})
}

// FuzzDLSCheckpoint holds that whatever a checkpoint of Duo Log Sync holds, it leads to an error or to a cursor that can be
// used, and a zone moves it by a day at most.
func FuzzDLSCheckpoint(f *testing.F) {
	for _, seed := range []string{
		`["1771008980351", "340a23e3"]`, `1771008981`, `1771008980352`, `"1772955000001,x"`, "", "null", `[]`, `[[1]]`, `"-9223372036854775808,x"`, `{"a":1}`,
	} {
		f.Add([]byte(seed))
	}
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		f.Fatal(err)
	}
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, data []byte) {
		utc, _, err := parseDLSCheckpoint(data, time.UTC)
		if err != nil {
			return
		}
		at, local, err := parseDLSCheckpoint(data, zone)
		if off := at.Sub(utc).Abs(); err != nil || off > 24*time.Hour || !local && off != 0 {
			t.Errorf("%q: %v in UTC, %v in %v, error %v", data, utc, at, zone, err)
		}
		if c := duo.NewCursor(at, now); c.From < duo.ToMillis(now)-180*24*3600*1000 {
			t.Errorf("%q: a cursor at %v", data, c.From)
		}
	})
}
