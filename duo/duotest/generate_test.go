package duotest

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// TestRecords holds generated records to what their users count on.
func TestRecords(t *testing.T) {
	from, to := epoch.Add(-time.Hour), epoch
	type between [2]int
	want := map[string]struct{ id, size, ties between }{ // characters; bytes, on average; records of the millisecond of the one before
		Authentication:    {id: between{36, 36}, size: between{1500, 1900}, ties: between{150, 600}},
		Activity:          {id: between{36, 36}, size: between{1000, 1700}, ties: between{150, 600}},
		Telephony:         {id: between{36, 36}, size: between{200, 300}, ties: between{150, 600}},
		Administrator:     {size: between{200, 350}, ties: between{400, 800}}, // times are whole seconds
		OfflineEnrollment: {size: between{250, 400}, ties: between{400, 800}},
		TelephonyV1:       {size: between{120, 200}, ties: between{400, 800}},
		TrustMonitor:      {id: between{20, 20}, size: between{700, 1700}, ties: between{150, 600}},
	}
	within := func(n int, b between) bool { return n >= b[0] && n <= b[1] }
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			records := NewRecords(k.name, 1, from, to, 3000)
			ids, size, ties := map[string]bool{}, 0, 0
			var last cursor
			for _, raw := range records {
				if !json.Valid(raw) || !utf8.Valid(raw) || strings.ContainsAny(string(raw), "\n\x7f") {
					t.Fatalf("not JSON in one line: %q", raw)
				}
				e := k.read(raw, time.Time{})
				unique := e.id
				if k.id == "" {
					unique = string(raw)
				}
				if ids[unique] || !within(len(e.id), want[k.name].id) {
					t.Fatalf("id %q, want one of %v characters; or there is another like this: %s", e.id, want[k.name].id, raw)
				}
				ids[unique] = true
				if e.ms < last.ms || e.ms < from.UnixMilli() || e.ms > to.UnixMilli() {
					t.Fatalf("time %d after %d: want order, within %d and %d", e.ms, last.ms, from.UnixMilli(), to.UnixMilli())
				}
				if e.ms == last.ms {
					ties++
				}
				last, size = e.cursor, size+len(raw)
			}
			if mean := size / len(records); !within(mean, want[k.name].size) {
				t.Errorf("%d bytes a record, want %v", mean, want[k.name].size)
			}
			if !within(ties, want[k.name].ties) {
				t.Errorf("%d of 3000 records share a millisecond with the one before, want %v", ties, want[k.name].ties)
			}
			if !slices.EqualFunc(records, NewRecords(k.name, 1, from, to, 3000), slices.Equal) {
				t.Error("the same seed made other records")
			}
			if slices.EqualFunc(records, NewRecords(k.name, 2, from, to, 3000), slices.Equal) {
				t.Error("another seed made the same records")
			}
		})
	}
}

// TestKeysStandInDuosOrder reads the keys of the first level.
func TestKeysStandInDuosOrder(t *testing.T) {
	want := map[string]string{
		Authentication: "access_device adaptive_trust_assessments alias application auth_device email event_type factor isotimestamp " +
			"ood_software reason result timestamp trusted_endpoint_status txid user",
		Activity:  "access_device action activity_id actor akey application old_target outcome target ts",
		Telephony: "context credits phone telephony_id ts txid type",

		Administrator:     "action description isotimestamp object timestamp username",
		OfflineEnrollment: "action description isotimestamp object timestamp username",
		TelephonyV1:       "context credits isotimestamp phone timestamp type",
		TrustMonitor: "explanations from_common_netblock from_new_user low_risk_ip priority_event priority_reasons sekey state " +
			"state_updated_timestamp surfaced_auth surfaced_timestamp triage_event_uri triaged_as_interesting type",
	}
	for _, log := range AllLogs() {
		var keys []string
		eachMember(NewGenerator(log, 1, Options{}).At(epoch), func(key, _ []byte) { keys = append(keys, string(key)) })
		if got := strings.Join(keys, " "); got != want[log] {
			t.Errorf("%s: keys %s, want %s", log, got, want[log])
		}
	}
}

// TestSmall asserts that small records have the ids and times that whole ones of the same seed have, and that what has no id
// or a quirk stays whole.
func TestSmall(t *testing.T) {
	for _, k := range kinds {
		whole, small := NewGenerator(k.name, 1, Options{}), NewGenerator(k.name, 1, Options{Small: true})
		for range 20 {
			want, got := whole.At(epoch), small.At(epoch)
			if k.id == "" && !slices.Equal(want, got) {
				t.Errorf("%s: without an id: %s, want %s", k.name, got, want)
			}
			if k.id != "" && len(got) > 150 {
				t.Errorf("%s: %d bytes: %s", k.name, len(got), got)
			}
			if w, g := k.read(want, time.Time{}), k.read(got, time.Time{}); w.cursor != g.cursor {
				t.Errorf("%s: %s is read as %v, want %v", k.name, got, g.cursor, w.cursor)
			}
		}
		whole, small = NewGenerator(k.name, 1, Options{Quirks: 1}), NewGenerator(k.name, 1, Options{Quirks: 1, Small: true})
		if want, got := whole.Spread(epoch, epoch, 20), small.Spread(epoch, epoch, 20); !slices.EqualFunc(want, got, slices.Equal) {
			t.Errorf("%s: records with quirks are not whole", k.name)
		}
	}
}

// TestVariety asserts that what a pipeline may want to tell apart is there.
func TestVariety(t *testing.T) {
	want := map[string][]string{
		Authentication: {
			`"result": "success"`, `"result": "denied"`, `"result": "failure"`, `"result": "fraud"`, `"factor": "duo_push"`,
			`"factor": "sms_passcode"`, `"event_type": "enrollment"`, `"ip": "2001:db8:`, `"ip": "192.0.2.`, `"name": "jdoe"`,
			`"hostname": null`, `"groups": []`, `S\u00e3o Paulo`, `"UNIX Application"`,
		},
		Activity:  {`"name": "admin_login"`, `"name": "o2fa_user_provisioned"`, `"target": null`, `"result": "FAILURE"`, `"details": "{\"created\": \"`},
		Telephony: {`"type": "sms"`, `"type": "phone"`, `"context": "enrollment"`},

		Administrator:     {`"action": "admin_login"`, `"description": "{\"notes\": \"request `, `"username": "API"`, `+00:00", "object": "user-`},
		OfflineEnrollment: {`"action": "o2fa_user_provisioned"`, `"action": "o2fa_user_reenrolled"`, `\"factor\": \"security_key\"`},
		TelephonyV1:       {`"type": "sms"`, `"type": "phone"`, `"context": "administrator login"`},
		TrustMonitor: {
			`"type": "auth"}`, `"type": "bypass_status"}`, `"type": "device_registration"}`, `"priority_event": true`, `"low_risk_ip": false`,
			`"enabled_for": {"key": "DU`, `{"bypass_status_enabled": 1773`, `"surfaced_timestamp": 1773`,
		},
	}
	for log, parts := range want {
		var all strings.Builder
		for _, raw := range NewRecords(log, 1, epoch.Add(-time.Hour), epoch, 1000) {
			all.Write(raw)
		}
		for _, part := range parts {
			if !strings.Contains(all.String(), part) {
				t.Errorf("%s: no record has %s", log, part)
			}
		}
	}
}

// TestQuirks asserts that quirks stay JSON, stay in their millisecond or second, and come about as often as asked.
func TestQuirks(t *testing.T) {
	for _, k := range kinds {
		for i, quirk := range k.quirks {
			g := NewGenerator(k.name, uint64(i), Options{})
			g.At(epoch)
			for range 8 { // some quirks have several forms
				g.previousID, g.previous = g.lastID, g.last
				o := k.record(g, epoch.Add(-time.Second/2))
				plain := o.text()
				quirk(g, o)
				raw := []byte(o.text())
				if !json.Valid(raw) {
					t.Errorf("%s, quirk %d: not JSON: %s", k.name, i, raw)
				}
				if string(raw) == plain && !strings.Contains(plain, `"groups": []`) {
					t.Errorf("%s, quirk %d changes nothing", k.name, i)
				}
				if at := time.UnixMilli(k.read(raw, time.Time{}).ms); epoch.Sub(at) > time.Second || at.After(epoch) {
					t.Errorf("%s, quirk %d: the time is %v, want about %v: %s", k.name, i, at, epoch, raw)
				}
			}
		}
		share := func(quirks float64) (odd int) {
			g := NewGenerator(k.name, 7, Options{Quirks: quirks})
			count := func(*Generator, object) { odd++ }
			g.kind.quirks = []func(*Generator, object){count}
			g.Spread(epoch, epoch, 1000)
			return odd
		}
		if none, some, all := share(0), share(0.1), share(1); none != 0 || some < 70 || some > 130 || all != 1000 {
			t.Errorf("%s: of 1000 records %d, %d, %d have a quirk; want 0, about 100, 1000", k.name, none, some, all)
		}
	}
}

func TestAppendJSON(t *testing.T) {
	o := object{
		{"b", "quote \" backslash \\ line\nend"}, {"a", list{nil, true, 7, "é", "東", "😀", "\x01"}}, {"gone", absent{}}, {"o", object{}}, {"l", list{}},
	}
	want := `{"b": "quote \" backslash \\ line\nend", "a": [null, true, 7, "\u00e9", "\u6771", "\ud83d\ude00", "\u0001"], "o": {}, "l": []}`
	if diff := cmp.Diff(want, o.text()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	if !json.Valid([]byte(want)) {
		t.Error("that is not JSON")
	}
}

// FuzzEachMember compares the scanner with encoding/json on objects of strings.
func FuzzEachMember(f *testing.F) {
	f.Add(`{"a": "b", "c": {"d": ["e"]}, "f": 1.5e3 , "g":null}`)
	f.Add(`{ }`)
	f.Add(`{"a\`)
	f.Add(`{"a\"}": "\\", "b" : [ ] }`)
	f.Fuzz(func(t *testing.T, text string) {
		var want map[string]json.RawMessage
		valid := json.Unmarshal([]byte(text), &want) == nil && want != nil
		got := map[string]json.RawMessage{}
		ok := eachMember([]byte(text), func(key, value []byte) {
			var name string
			json.Unmarshal(slices.Concat([]byte{'"'}, key, []byte{'"'}), &name)
			got[name] = value
		})
		if !valid {
			return // the scanner accepts more than JSON
		}
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			t.Errorf("%q: ok %t, members (-want +got):\n%s", text, ok, diff)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	g := NewGenerator(Authentication, 1, Options{})
	for b.Loop() {
		g.At(epoch)
	}
}
