package record

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseExclude(t *testing.T) {
	many := strings.Repeat("a,", 100) + "a"
	tests := []struct {
		name, text string
		want       []string
		err        string
	}{
		{"nothing", "", nil, ""},
		{"blanks", " \t", nil, ""},
		{"one", "host", []string{"host"}, ""},
		{"several", " access_device.epkey ,user.groups\t, Host", []string{"access_device.epkey", "user.groups", "Host"}, ""},
		{"other letters", "gerät.größe", []string{"gerät.größe"}, ""},
		{"a hundred", many[2:], slices.Repeat([]string{"a"}, 100), ""},
		{"too many", many, nil, `101 paths are too many; use at most 100, whole objects instead of their fields`},
		{"comma at the end", "a,", nil, `path 2, "": is empty; remove the comma too many`},
		{"comma twice", "a, ,b", nil, `path 2, "": is empty; remove the comma too many`},
		{"quotes", `"user.groups"`, nil, `path 1, "\"user.groups\"": has quotes; write the names without`},
		{"single quotes", `host,'user'`, nil, `path 2, "'user'": has quotes; write the names without`},
		{"blank within", "user groups", nil, `path 1, "user groups": has blanks in it; separate paths by commas`},
		{"index", "user.groups[0]", nil, `path 1, "user.groups[0]": is no plain path; write user.groups: a list needs no index, since a path applies to each of its elements`},
		{"wildcard", "user.*", nil, `path 1, "user.*": is no plain path; write user.groups: a list needs no index, since a path applies to each of its elements`},
		{"empty name", "user..groups", nil, `path 1, "user..groups": has an empty name; write names with one dot between`},
		{"dot before", ".user", nil, `path 1, ".user": has an empty name; write names with one dot between`},
		{"dot after", "user.", nil, `path 1, "user.": has an empty name; write names with one dot between`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseExclude(tt.text)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			message := ""
			if err != nil {
				message = err.Error()
			}
			if diff := cmp.Diff(tt.err, message); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestExclude(t *testing.T) {
	tests := []struct {
		name, json, exclude string
		want                object
	}{
		{"a field", `{"a":1,"b":2,"c":3}`, "b", append(object{"a", uint64(1), "c", uint64(3)}, addedBy...)},
		{"the first", `{"a":1,"b":2}`, "a", append(object{"b", uint64(2)}, addedBy...)},
		{"all of them", `{"a":1,"b":2}`, "a,b", addedBy},
		{"twice in the record", `{"a":1,"a":{"b":2}}`, "a", addedBy},
		{"twice in the list", `{"a":1}`, "a,a", addedBy},
		{"not there", `{"a":1}`, "b.c", append(object{"a", uint64(1)}, addedBy...)},
		{"case-sensitive", `{"A":1}`, "a", append(object{"A", uint64(1)}, addedBy...)},
		{"written with an escape", `{"\u0061":1}`, "a", addedBy},
		{"below", `{"a":{"b":1,"c":2}}`, "a.b", append(object{"a", object{"c", uint64(2)}}, addedBy...)},
		{"an object and a field of it", `{"a":{"b":1,"c":2}}`, "a.b,a", addedBy},
		{"all of an object's fields", `{"a":{"b":1}}`, "a.b", append(object{"a", object{}}, addedBy...)},
		{"of no object", `{"a":"b"}`, "a.b", append(object{"a", "b"}, addedBy...)},
		{"through lists", `{"a":[{"b":1},[{"b":2,"c":3}],"b",null]}`, "a.b",
			append(object{"a", []any{object{}, []any{object{"c", uint64(3)}}, "b", nil}}, addedBy...)},
		{"an added key", `{"a":1}`, "host,account_id", append(object{"a", uint64(1), "eventtype", "authentication"}, addedBy[4:]...)},
		{"an added key that Duo sent", `{"host":1,"h":{"host":2}}`, "host", append(object{"h", object{"host", uint64(2)}, "eventtype", "authentication"}, addedBy[4:]...)},
		{"below an added key", `{"host":{"a":1}}`, "host.a", append(object{"host", object{}, "eventtype", "authentication"}, addedBy[4:]...)},
		{"broken", `{"a":1`, "a,host", append(object{"message", `{"a":1`, "eventtype", "authentication"}, addedBy[4:]...)},
		{"trailing data", `{"a":1} x`, "a", append(object{"message", `{"a":1} x`}, addedBy...)},
		{"broken within what is excluded", `{"a":[1}`, "a", append(object{"message", `{"a":[1}`}, addedBy...)},
		{"no object", `[{"a":1}]`, "a", append(object{"message", `[{"a":1}]`}, addedBy...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			paths, err := ParseExclude(tt.exclude)
			if err != nil {
				t.Fatal(err)
			}
			got := bodyAs(t, Options{Exclude: paths}, event(tt.json))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for f := range formats {
				bodyAs(t, Options{Format: Format(f), Exclude: paths}, event(tt.json))
			}
		})
	}
}

// TestExcludeKeepsMessage shows that the formats' own key stays, also where Duo has one of that name.
func TestExcludeKeepsMessage(t *testing.T) {
	tests := []struct {
		format Format
		want   string
	}{
		{Raw, `{"a":1,"event_id":"340a23e3-0123456789abcdef"}`},
		{CEF, `CEF:0|Duo Security|duo_in|0|event|event|5|rt=1771008980351 externalId=340a23e3-0123456789abcdef ` +
			`cs5=340a23e3-0123456789abcdef cs5Label=event_id msg={"a":1}`},
	}
	for _, tt := range tests {
		t.Run(tt.format.String(), func(t *testing.T) {
			ev := event(`{"message":"x","a":1}`)
			ev.EventType = "radius"
			got := bodyAs(t, Options{Format: tt.format, Exclude: []string{"message", "eventtype", "host"}}, ev)
			want := append(object{"message", tt.want}, addedBy[4:]...)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
