package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"duo_in/checkpoint"
	"duo_in/duo"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// secret is the secret key in all configurations of testdata.
const secret = "SecretSecretSecretSecretSecretSecretSecr"

// TestMigrateGolden compares what is made of testdata/migrate/*/config.yml with the fluent-bit.conf beside it.
func TestMigrateGolden(t *testing.T) {
	configs, err := filepath.Glob("testdata/migrate/*/config.yml")
	if err != nil || len(configs) == 0 {
		t.Fatal("no configurations", err)
	}
	for _, config := range configs {
		t.Run(filepath.Base(filepath.Dir(config)), func(t *testing.T) {
			data, err := os.ReadFile(config)
			if err != nil {
				t.Fatal(err)
			}
			c, err := readDLSConfig(config, data)
			if err != nil {
				t.Fatal(err)
			}
			got := c.fluentBit(config, checkpoint.DefaultDir)
			checkConf(t, got)
			golden := filepath.Join(filepath.Dir(config), confName)
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", golden, diff)
			}
		})
	}
}

// checkConf holds a configuration to what is true of all of them, read as Fluent Bit reads it: each line is empty, a
// comment, a section that belongs there, or a key with a value; each input's events reach an output, and each output
// gets some; no secret is in it.
func checkConf(t *testing.T, conf string) {
	t.Helper()
	if strings.Contains(conf, secret) {
		t.Error("the secret key is in the configuration")
	}
	var sections []map[string]string
	for i, line := range strings.Split(strings.TrimSuffix(conf, "\n"), "\n") {
		key, value, _ := strings.Cut(strings.TrimPrefix(line, "    "), " ")
		switch value = strings.TrimSpace(value); {
		case line == "", strings.HasPrefix(line, "#"):
		case line == "[SERVICE]", line == "[INPUT]", line == "[OUTPUT]":
			sections = append(sections, map[string]string{"section": line})
		case !strings.HasPrefix(line, "    "), key == "", value == "", strings.HasPrefix(key, "#"), sections == nil:
			t.Errorf("line %d: %q is no key with a value", i+1, line)
		default:
			if strings.Contains(value, "${") && value != "${"+ikeyVar+"}" && value != "${"+skeyVar+"}" {
				t.Errorf("line %d: %q has a variable", i+1, line)
			}
			sections[len(sections)-1][key] = value
		}
	}
	tags, matched := map[string]bool{}, map[string]bool{}
	for _, s := range sections {
		switch s["section"] {
		case "[INPUT]":
			tags[s["tag"]] = true
		case "[OUTPUT]":
			names := []string{s["match"]}
			if regex := s["match_regex"]; regex != "" {
				list := strings.TrimSuffix(strings.TrimPrefix(regex, `^duo\.(`), `)$`)
				names = strings.Split("duo."+strings.ReplaceAll(list, "|", "|duo."), "|")
			}
			for _, n := range names {
				matched[n] = true
			}
			if s["retry_limit"] != "no_limits" {
				t.Errorf("an output without retry_limit: %v", s)
			}
		}
	}
	if diff := cmp.Diff(tags, matched); diff != "" {
		t.Errorf("tags of inputs (-) and outputs (+):\n%s", diff)
	}
}

// good is a configuration that the cases of TestConfigRefused spoil.
const good = `version: '1.0.0'
dls_settings:
  log_format: 'JSON'
  api: {offset: 30, timeout: 120}
  checkpointing: {enabled: True, directory: '/tmp'}
  proxy: {proxy_server: 'proxy.example.com', proxy_port: 8080}
servers:
  - {id: 'siem', hostname: 'siem.example.com', port: 8888, protocol: 'TCPSSL', cert_filepath: '/etc/siem.pem'}
account:
  ikey: 'DIXXXXXXXXXXXXXXXXXX'
  skey: '` + secret + `'
  hostname: 'api-00000000.duosecurity.com'
  endpoint_server_mappings:
    - {endpoints: ['auth'], server: 'siem'}
  is_msp: False
`

func TestConfigRefused(t *testing.T) {
	tests := []struct {
		name, old, new string
		want           []string // patterns, one for each line of the error
	}{
		{"no YAML", good, "a: [", []string{`want a configuration of Duo Log Sync, which is YAML`}},
		{"twice", "  is_msp", "  ikey: 'DI'\n  is_msp", []string{`"ikey" already defined`}},
		{"empty", good, "", []string{`version "?\(missing\)"?: want '1\.0\.0'`}},
		{"a list", good, "- 1", []string{`this: want a mapping`, `version`}},
		{"an older version", "1.0.0", "0.0.0", []string{`version "0\.0\.0": want '1\.0\.0'; .*upgrade_config`}},
		{"a version without quotes", "'1.0.0'", "1.0", []string{`version \(not shown\): want text`, `version "1"`}},
		{"log_format", "'JSON'", "'JASON'", []string{`dls_settings\.log_format "JASON": want JSON or CEF`}},
		{"offset", "offset: 30", "offset: 190", []string{`dls_settings\.api\.offset "190": want a number from 0 to 180`}},
		{"NaN", "offset: 30", "offset: .nan", []string{`dls_settings\.api\.offset "NaN"`}},
		{"enabled", "enabled: True", "enabled: maybe", []string{`checkpointing\.enabled "maybe": want True or False`}},
		{"proxy with a password", "'proxy.example.com'", "'http://jdoe:" + secret + "@proxy.example.com'", []string{`proxy\.proxy_server \(not shown\): want a host name`}},
		{"settings are text", "log_format: 'JSON'", "api: 'x'\n  log_format: 'JSON'", []string{`already defined`}},
		{"no servers", "  - {id: 'siem'", "  # - {id: 'siem'", []string{`servers \(not shown\): want a list`, `server "siem": no server has this id`}},
		{"no id", "id: 'siem', ", "", []string{`servers\[0\]\.id \(missing\)`, `endpoint_server_mappings\[0\]\.server "siem": no server`}},
		{"server twice", "account:", "  - {id: 'siem', hostname: 'b', port: 1, protocol: 'TCP'}\naccount:", []string{`servers\[1\]\.id "siem": an earlier server has it`}},
		{"server hostname", "siem.example.com", "siem example", []string{`servers\[0\]\.hostname "siem example"`}},
		{"newline in hostname", "'siem.example.com'", `"a\n[OUTPUT]"`, []string{`servers\[0\]\.hostname "a\\n\[OUTPUT\]"`}},
		{"variable in hostname", "'siem.example.com'", `'${HOME}'`, []string{`servers\[0\]\.hostname`}},
		{"port", "8888", "88889", []string{`servers\[0\]\.port "88889": want a number from 1 to 65535`}},
		{"no port", "port: 8888, ", "", []string{`servers\[0\]\.port \(missing\)`}},
		{"port as text", "8888", "'8888'", []string{`servers\[0\]\.port "8888": want a number`}},
		{"protocol", "'TCPSSL'", "'TLS'", []string{`servers\[0\]\.protocol "TLS": want TCP or TCPSSL or UDP`}},
		{"no protocol", "protocol: 'TCPSSL', ", "", []string{`servers\[0\]\.protocol \(missing\): want TCP`}},
		{"no certificate", ", cert_filepath: '/etc/siem.pem'", "", []string{`servers\[0\]\.cert_filepath \(missing\)`}},
		{"newline in certificate", "'/etc/siem.pem'", `"/etc/a\n    tls.verify off"`, []string{`cert_filepath "/etc/a\\n.*": it holds a control character`}},
		{"variable in certificate", "/etc/siem.pem", "/etc/${A}.pem", []string{`cert_filepath .*: it holds \$\{`}},
		{"comment in certificate", "/etc/siem.pem", "/etc/#1.pem", []string{`cert_filepath .*: it holds #`}},
		{"blank behind certificate", "/etc/siem.pem", "/etc/siem.pem ", []string{`cert_filepath .*: it begins or ends with a blank`}},
		{"no account", "account:", "acount:", []string{`account\.ikey \(missing\)`, `account\.skey`, `account\.hostname`, `endpoint_server_mappings`}},
		{"key", "'DIXXXXXXXXXXXXXXXXXX'", "'DI XX'", []string{`account\.ikey \(not shown\): not a key of Duo's`}},
		{"key as a number", "'DIXXXXXXXXXXXXXXXXXX'", "7", []string{`account\.ikey \(not shown\): want text`}},
		{"newline in secret", "'" + secret + "'", `"` + secret + `\nA=B"`, []string{`account\.skey \(not shown\): not a key of Duo's`}},
		{"empty secret", secret, "", []string{`account\.skey \(missing\)`}},
		{"api host", "api-00000000.duosecurity.com", "http://api", []string{`account\.hostname "http://api": want the API hostname`}},
		{"is_msp", "is_msp: False", "is_msp: 'perhaps'", []string{`account\.is_msp "perhaps"`}},
		{"endpoint", "['auth']", "['telephonya', 1]", []string{`endpoint_server_mappings\[0\]\.endpoints "telephonya": want some of auth, activity`, `endpoints "1"`}},
		{"endpoints not a list", "['auth']", "auth", []string{`endpoints \(not shown\): want a list`}},
		{"mapping not one", "{endpoints: ['auth'], server: 'siem'}", "siem", []string{`endpoint_server_mappings\[0\]: want a mapping`, `server`, `endpoints`}},
		{"server of a mapping", "server: 'siem'", "server: 'other'", []string{`server "other": no server has this id`}},
	}
	if _, err := readDLSConfig("config.yml", []byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Replace(good, test.old, test.new, 1)
			if text == good {
				t.Fatalf("%q is not in the good configuration", test.old)
			}
			_, err := readDLSConfig("config.yml", []byte(text))
			if err == nil {
				t.Fatal("no error")
			}
			if strings.Contains(err.Error(), secret) {
				t.Error("the error shows the secret")
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(test.want) {
				t.Errorf("%d problems, want %d:\n%v", len(lines), len(test.want), err)
				return
			}
			for i, line := range lines {
				match(t, line, test.want[i])
			}
			match(t, lines[0], `^config\.yml: `)
		})
	}
}

func TestParseDLSCheckpoint(t *testing.T) {
	ms := func(text string) time.Time {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	tests := []struct {
		name, file, zone string
		want             time.Time
		local            bool
		err              string
	}{
		{"authentication", `["1771008980351", "340a23e3-23f3-23c1-87dc-1491a23dfdbb"]` + "\n", "America/New_York", ms("2026-02-13T18:56:20.351Z"), false, ""},
		{"authentication, a number", `[1771008980351, "340a23e3"]`, "UTC", ms("2026-02-13T18:56:20.351Z"), false, ""},
		{"authentication without txid", `1771008981`, "Asia/Tokyo", ms("2026-02-13T18:56:20Z"), false, ""},
		{"trust monitor", `1771008980352`, "Asia/Tokyo", ms("2026-02-13T18:56:20.351Z"), false, ""},
		{"administrator", `1771008981`, "UTC", ms("2026-02-13T18:56:20Z"), false, ""},
		{"activity in UTC", `"1771008980352,5bf1a860-fe39-49e3-be29-217659663a74"`, "UTC", ms("2026-02-13T18:56:20.351Z"), true, ""},
		{"activity without id", `"1771008980352,None"`, "UTC", ms("2026-02-13T18:56:20.351Z"), true, ""},

		// What Python's datetime.timestamp makes of these times, plus one.
		{"Tokyo", `"1777604400001,x"`, "Asia/Tokyo", ms("2026-05-01T12:00:00Z"), true, ""},
		{"New York, skipped hour or the next: the earlier", `"1772955000001,x"`, "America/New_York", ms("2026-03-08T02:30:00Z"), true, ""},
		{"New York, last before the skipped hour", `"1772953200000,x"`, "America/New_York", ms("2026-03-08T01:59:59.999Z"), true, ""},
		{"New York, an hour behind the skipped one", `"1772956800001,x"`, "America/New_York", ms("2026-03-08T04:00:00Z"), true, ""},
		{"New York, the hour that comes twice", `"1793511000001,x"`, "America/New_York", ms("2026-11-01T01:30:00Z"), true, ""},
		{"New York, behind it", `"1793516400001,x"`, "America/New_York", ms("2026-11-01T02:00:00Z"), true, ""},
		{"Lord Howe skips half an hour", `"1791042000001,x"`, "Australia/Lord_Howe", ms("2026-10-04T02:10:00Z"), true, ""},

		{"empty", "", "UTC", time.Time{}, false, `empty or torn`},
		{"torn", `["17710089`, "UTC", time.Time{}, false, `empty or torn`},
		{"null", "null\n", "UTC", time.Time{}, false, `"null", which is no place`},
		{"true", "true", "UTC", time.Time{}, false, `no place`},
		{"object", `{"a":1}`, "UTC", time.Time{}, false, `no place`},
		{"empty list", `[]`, "UTC", time.Time{}, false, `its list is empty`},
		{"list of a list", `[[1771008980351]]`, "UTC", time.Time{}, false, `no time`},
		{"two values", `1771008980352 1771008980352`, "UTC", time.Time{}, false, `more behind`},
		{"text", `"yesterday"`, "UTC", time.Time{}, true, `"yesterday", which is no time`},
		{"a fraction", `1771008980.352`, "UTC", time.Time{}, false, `no time`},
		{"huge", `1e400`, "UTC", time.Time{}, false, `no time`},
		{"too far", `9223372036854775807`, "UTC", time.Time{}, false, `no time`},
		{"too early", `["0","x"]`, "UTC", time.Time{}, false, `no time`},
		{"negative", `"-9223372036854775808,x"`, "UTC", time.Time{}, true, `no time`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			zone, err := time.LoadLocation(test.zone)
			if err != nil {
				t.Fatal(err)
			}
			at, local, err := parseDLSCheckpoint([]byte(test.file), zone)
			if test.err != "" {
				match(t, fmt.Sprint(err), test.err)
				return
			}
			if err != nil || !at.Equal(test.want) || local != test.local {
				t.Errorf("%v, local %v, error %v; want %v, %v", at.UTC(), local, err, test.want, test.local)
			}
		})
	}
}

// written is what Duo Log Sync, on a machine in zone, writes for an activity of this time: by the rule of Python's
// datetime.timestamp for a local time, of two instants the first, and in a gap as if the clock had not been put forward.
func written(at time.Time, zone *time.Location) string {
	offsetAt := func(t time.Time) time.Duration {
		_, s := t.In(zone).Zone()
		return time.Duration(s) * time.Second
	}
	day := 24 * time.Hour
	before, after := offsetAt(at.Add(-day)), offsetAt(at.Add(day))
	instant := at.Add(-before)
	if offsetAt(instant) != before && offsetAt(at.Add(-after)) == after {
		instant = at.Add(-after)
	}
	return fmt.Sprintf(`"%d,id"`, instant.UnixMilli()+1)
}

// TestFromLocal goes through two days around each change of clocks: what is read is never later than what was written,
// and earlier, by the time that was skipped, only behind the skipped time.
func TestFromLocal(t *testing.T) {
	for _, name := range []string{"UTC", "America/New_York", "America/St_Johns", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Auckland"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		earlier := 0
		for at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC); at.Year() == 2026; at = at.Add(10 * time.Minute) {
			got, _, err := parseDLSCheckpoint([]byte(written(at, zone)), zone)
			if err != nil {
				t.Fatal(err)
			}
			switch off := at.Sub(got); {
			case off == time.Hour || off == 30*time.Minute:
				earlier++
			case off != 0:
				t.Errorf("%s: %v is read as %v", name, at, got)
			}
		}
		if earlier > 6 {
			t.Errorf("%s: %d times are read as earlier ones, want at most the 6 of the hour behind the skipped one", name, earlier)
		}
	}
}

// TestMigrateConverts holds that each log begins where Duo Log Sync's checkpoint has it, less the overlap.
func TestMigrateConverts(t *testing.T) {
	now := time.Now().Truncate(time.Millisecond)
	at := now.Add(-3 * time.Hour)
	auth := fmt.Sprintf(`["%d", "txid"]`, at.UnixMilli())
	tests := []struct {
		name, config string
		args         []string
		files        map[string]string
		status       int
		want         map[string]time.Duration // from the stream without its host to what its cursor is behind at
		stderr       []string
	}{
		{"one of each", "several", []string{"-timezone", "Asia/Tokyo"},
			map[string]string{
				"auth": auth, "trustmonitor": fmt.Sprint(at.UnixMilli() + 1),
				"telephony": written(at, mustZone(t, "Asia/Tokyo")), "activity": written(at.Add(-time.Hour), mustZone(t, "Asia/Tokyo")),
				"adminaction": "1771008981", // not pulled
			}, 0,
			map[string]time.Duration{
				"self/authentication": 5 * time.Minute, "self/trust_monitor": 5 * time.Minute, "self/telephony": 5 * time.Minute,
				"self/activity": time.Hour + 5*time.Minute,
			}, nil},
		{"no overlap", "udp", []string{"-overlap", "0"}, map[string]string{"auth": auth}, 0, map[string]time.Duration{"self/authentication": 0}, nil},
		{"seconds", "old", []string{"-overlap", "1m"}, map[string]string{"adminaction": fmt.Sprint(at.Unix() + 1), "auth": auth}, 0,
			map[string]time.Duration{"self/administrator": time.Minute + at.Sub(at.Truncate(time.Second)), "self/authentication": time.Minute},
			[]string{`endpoint adminaction: Duo ended this log`, `dls_settings\.polling: not a key of version 1\.0\.0`}},
		{"accounts", "msp", nil,
			map[string]string{
				"auth":                      auth, // of a time without accounts
				"auth_DA00000000000000EX01": auth, "auth_DA00000000000000EX02": auth, "activity_DA00000000000000EX01": `"1771008980352,x"`,
				"auth_../../x": auth,
			}, 0,
			map[string]time.Duration{"DA00000000000000EX01/authentication": 5 * time.Minute, "DA00000000000000EX02/authentication": 5 * time.Minute},
			[]string{`activity of account DA00000000000000EX01: Duo Log Sync never read it, .*: it begins at since, 180d`}},
		{"older than Duo keeps", "udp", nil, map[string]string{"auth": fmt.Sprintf(`["%d", "x"]`, now.Add(-300*24*time.Hour).UnixMilli())}, 0,
			map[string]time.Duration{"self/authentication": at.Sub(now.Add(-180*24*time.Hour + 15*time.Minute))}, nil},
		{"none", "udp", nil, nil, 0, nil, []string{`authentication: no checkpoint auth_checkpoint_data\.txt in \S+: it begins at since, 180d`}},
		{"one is torn", "tcp", nil, map[string]string{"auth": auth, "telephony": `"17710`, "activity": ""}, 1,
			map[string]time.Duration{"self/authentication": 5 * time.Minute},
			[]string{`2 checkpoints of Duo Log Sync cannot be used`, `telephony_checkpoint_data\.txt: empty or torn`, `activity_checkpoint_data\.txt: empty or torn`}},
		{"not by its clock", "udp", nil, map[string]string{"auth": fmt.Sprintf(`["%d", "x"]`, now.Add(time.Hour).UnixMilli())}, 1, nil,
			[]string{`it leads to .* after it was written`}},
		{"too large", "udp", nil, map[string]string{"auth": strings.Repeat(" ", 5000) + auth}, 1, nil, []string{`not a regular file of at most 4096 bytes`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			old, out, dir := t.TempDir(), t.TempDir(), t.TempDir()
			writeDLS(t, old, test.files)
			args := append([]string{"migrate", "-out", out, "-checkpoint-dir", dir, "-from-checkpoints", old}, test.args...)
			stdout, stderr := duoctl(t, test.status, append(args, "testdata/migrate/"+test.config+"/config.yml")...)
			match(t, stderr, test.stderr...)
			if strings.Contains(stdout+stderr, secret) {
				t.Error("the secret is shown")
			}
			checkKeys(t, out)
			got := map[string]time.Duration{}
			entries, _ := checkpoint.List(dir)
			for _, e := range entries {
				var c duo.Cursor
				if _, err := e.Read(checkpoint.Current, &c); err != nil {
					t.Error(err)
				}
				if e.Stream.Host != apiHost {
					t.Errorf("a checkpoint of host %s", e.Stream.Host)
				}
				got[e.Stream.Account+"/"+e.Stream.Log] = at.Sub(c.From.Time())
			}
			// What Duo keeps is counted back from when it was run, which is later than now; and a file may have whole seconds.
			most := time.Since(now) + time.Second
			near := cmp.Comparer(func(a, b time.Duration) bool { return (a - b).Abs() <= most })
			if diff := cmp.Diff(test.want, got, near, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("behind the checkpoint (-want +got):\n%s", diff)
			}
		})
	}
}

func mustZone(t *testing.T, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// writeDLS writes checkpoints as Duo Log Sync does. A key is an endpoint, and behind a low line an account's id.
func writeDLS(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for key, text := range files {
		endpoint, account, child := strings.Cut(key, "_")
		name := endpoint + "_checkpoint_data.txt"
		if child {
			name = endpoint + "_checkpoint_data_" + strings.ReplaceAll(account, "/", "-") + ".txt"
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// checkKeys holds that the keys are in the file for the environment, for its owner only, and not in the configuration.
func checkKeys(t *testing.T, out string) {
	t.Helper()
	conf, err := os.ReadFile(filepath.Join(out, confName))
	if err != nil {
		t.Fatal(err)
	}
	checkConf(t, string(conf))
	env, err := os.ReadFile(filepath.Join(out, envName))
	if err != nil {
		t.Fatal(err)
	}
	match(t, string(env), `(?m)^DUO_INTEGRATION_KEY=DIXXXXXXXXXXXXXXXXXX$`, `(?m)^DUO_SECRET_KEY=`+secret+`$`)
	info, err := os.Stat(filepath.Join(out, envName))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%s has mode %v, error %v; want 0600", envName, info.Mode(), err)
	}
}

// TestMigrateZone holds that a zone which cannot be right is refused: hours of events would be missed.
func TestMigrateZone(t *testing.T) {
	old, out, dir := t.TempDir(), filepath.Join(t.TempDir(), "new"), filepath.Join(t.TempDir(), "new")
	writeDLS(t, old, map[string]string{"activity": written(time.Now().Add(-time.Minute), mustZone(t, "America/New_York"))})
	args := []string{"migrate", "-out", out, "-checkpoint-dir", dir, "-from-checkpoints", old, "-timezone", "UTC", "testdata/migrate/tcp/config.yml"}
	_, stderr := duoctl(t, 1, args...)
	match(t, stderr, `activity_checkpoint_data.txt: in the time zone UTC it leads to .*, which is after it was written, .*: give -timezone`)
	for _, made := range []string{out, dir} {
		if _, err := os.Lstat(made); err == nil {
			t.Errorf("%s was made", made)
		}
	}
	args[slices.Index(args, "UTC")] = "America/New_York"
	stdout, _ := duoctl(t, 0, args...)
	match(t, stdout, `self/activity: begins at .*; Duo Log Sync came to .*, if its machine's time zone was America/New_York`)
}

// TestMigrateReplaces holds that nothing is replaced unless that is wanted.
func TestMigrateReplaces(t *testing.T) {
	now := time.Now()
	old, out, dir := t.TempDir(), t.TempDir(), t.TempDir()
	writeDLS(t, old, map[string]string{"auth": fmt.Sprintf(`["%d", "x"]`, now.Add(-time.Hour).UnixMilli())})
	auth := checkpoint.Stream{Host: apiHost, Log: "authentication"}
	save(t, dir, auth, duo.NewCursor(now.Add(-time.Minute), now))
	before := files(t, dir)
	args := []string{"migrate", "-out", out, "-checkpoint-dir", dir, "-from-checkpoints", old, "testdata/migrate/udp/config.yml"}

	_, stderr := duoctl(t, 1, args...)
	match(t, stderr, `duo_in has a checkpoint of `+apiHost+`/self/authentication already, saved .*: -force replaces it; nothing was changed`)
	if diff := cmp.Diff(map[string]string{}, files(t, out)); diff != "" {
		t.Errorf("files in -out:\n%s", diff)
	}

	file := filepath.Join(out, envName)
	if err := os.WriteFile(file, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, stderr = duoctl(t, 1, args...)
	match(t, stderr, `duo_in\.env is there already: give another folder with -out, or -force`)
	if diff := cmp.Diff(map[string]string{file: "mine"}, files(t, out)); diff != "" {
		t.Errorf("files in -out:\n%s", diff)
	}
	if diff := cmp.Diff(before, files(t, dir)); diff != "" {
		t.Errorf("checkpoints (-before +after):\n%s", diff)
	}

	duoctl(t, 0, append([]string{"migrate", "-force"}, args[1:]...)...)
	checkKeys(t, out)
	if c := load(t, dir, auth); now.Sub(c.From.Time()) < time.Hour {
		t.Errorf("the checkpoint begins at %v, want what Duo Log Sync had", c.From)
	}
}

// TestMigrateOutInTheWay holds that where the files cannot be written no checkpoint is: the next try, with another -out,
// would be refused because of it.
func TestMigrateOutInTheWay(t *testing.T) {
	old, dir := t.TempDir(), t.TempDir()
	writeDLS(t, old, map[string]string{"auth": fmt.Sprintf(`["%d", "x"]`, time.Now().Add(-time.Hour).UnixMilli())})
	file, folder, dead := filepath.Join(t.TempDir(), "file"), t.TempDir(), filepath.Join(t.TempDir(), "link")
	if err := errors.Join(os.WriteFile(file, nil, 0o644), os.Mkdir(filepath.Join(folder, envName), 0o755), os.Symlink("nowhere", dead)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, out, want string }{
		{"a file", file, `-out: lstat .*: not a directory; nothing was changed`},
		{"in a dead end", filepath.Join(dead, "new"), `make -out: .*; nothing was changed`},
		{"a folder of the file's name", folder, `duo_in\.env is a folder: give another one with -out; nothing was changed`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, stderr := duoctl(t, 1, "migrate", "-force", "-out", tt.out, "-checkpoint-dir", dir, "-from-checkpoints", old, "testdata/migrate/udp/config.yml")
			match(t, stderr, tt.want)
			if diff := cmp.Diff(map[string]string{}, files(t, dir)); diff != "" {
				t.Errorf("checkpoints:\n%s", diff)
			}
		})
	}
}
