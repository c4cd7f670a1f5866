package record

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFlat(t *testing.T) {
	long := strings.Repeat("x", 257)
	tests := []struct {
		name, json, account string
		want                object
	}{
		{"one level", `{"a":1,"b":null,"c":"d"}`, "", append(object{"a", uint64(1), "b", nil, "c", "d"}, addedBy...)},
		{"levels", `{"a":{"b":{"c":1},"d":2},"e":3}`, "", append(object{"a_b_c", uint64(1), "a_d", uint64(2), "e", uint64(3)}, addedBy...)},
		{"list of scalars", `{"a":{"b":[1,"[{",null]},"c":[]}`, "", append(object{"a_b", []any{uint64(1), "[{", nil}, "c", []any{}}, addedBy...)},
		{"list of lists", `{"a" : [ 1, [ ] ]}`, "", append(object{"a", `[1,[]]`}, addedBy...)},
		{"list of objects", `{"a":[{"b": 1.50, "c":"\u00fc\ud83d"}]}`, "", append(object{"a", `[{"b":1.50,"c":"\u00fc` + "\uFFFD" + `"}]`}, addedBy...)},
		{"empty objects", `{"a":{},"b":{"c":{ }}}`, "", append(object{"a", "{}", "b_c", "{}"}, addedBy...)},
		{"empty names", `{"":1,"a":{"":2}}`, "", append(object{"", uint64(1), "a_", uint64(2)}, addedBy...)},
		{"collisions", `{"a":{"b":1},"a_b":2,"a_b_2":3,"a":{"b":4}}`, "", append(object{"a_b", uint64(1), "a_b_2", uint64(2), "a_b_2_2", uint64(3), "a_b_3", uint64(4)}, addedBy...)},
		{"Duo's eventtype wins", `{"eventtype":"x"}`, "", append(object{"eventtype", "x"}, addedBy[2:]...)},
		{"and only its own", `{"event":{"id":1},"event_id":2,"event_id":3}`, "", append(object{"event_id_2", uint64(1), "event_id", uint64(2), "event_id_3", uint64(3)}, addedBy[:4]...)},
		{"an added key's name", `{"event":{"id":1}}`, "", append(object{"event_id_2", uint64(1)}, addedBy...)},
		{"that of none", `{"account":{"id":1},"account_id":2}`, "", append(object{"account_id", uint64(1), "account_id_2", uint64(2)}, addedBy...)},
		{"that of an account", `{"account":{"id":1}}`, "DA01", append(append(object{"account_id_2", uint64(1)}, addedBy...), "account_id", "DA01")},
		{"long names", `{"` + long + `":{"a":{"b":1}}}`, "", append(object{long, `{"a":{"b":1}}`}, addedBy...)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ev := event(tt.json)
			ev.AccountID = tt.account
			if diff := cmp.Diff(tt.want, bodyAs(t, Options{Format: Flat}, ev)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFlatNesting(t *testing.T) {
	for _, n := range []int{15, 16, 17, 100, 10_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			got := bodyAs(t, Options{Format: Flat}, event(strings.Repeat(`{"a":`, n)+"1"+strings.Repeat("}", n)))
			want := object{strings.TrimSuffix(strings.Repeat("a_", min(n, 16)), "_"), uint64(1)}
			if n > 16 {
				want[1] = strings.Repeat(`{"a":`, n-16) + "1" + strings.Repeat("}", n-16)
			}
			if diff := cmp.Diff(append(want, addedBy...), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestFlatEventIsBounded shows that a name before very many does not make an event many times larger than its record.
func TestFlatEventIsBounded(t *testing.T) {
	tests := []struct {
		name   string
		fields int
		apart  bool
	}{
		{"many", 200, true},
		{"very many", 30_000, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			name, inner := strings.Repeat("x", 250), "{"+strings.TrimSuffix(strings.Repeat(`"":1,`, tt.fields), ",")+"}"
			raw := fmt.Sprintf(`{"a":1,%q:%s,"b":{"c":[2]},"d":{}}`, name, inner)
			o := Options{Format: Flat, Exclude: []string{"a"}}
			e := NewEncoder(o)
			out := e.Append(nil, event(raw))
			_, body, err := parseEvent(out)
			if err != nil {
				t.Fatal(err)
			}
			want := append(object{name, inner, "b", `{"c":[2]}`, "d", "{}"}, addedBy...)
			if apart := body[0] != name; apart != tt.apart || !apart && !cmp.Equal(want, body) {
				t.Errorf("begins with %.300q", body[:4])
			}
			if limit := 3*len(raw) + maxFlatJoined; len(out) > limit {
				t.Errorf("%d bytes of a record of %d, want at most %d", len(out), len(raw), limit)
			}
			checkAs(t, e, o, event(`{"b":{"c":[2]}}`))
		})
	}
}

// TestFlatNamesAreBounded shows that names which come once do not pile up, and that forgetting them changes nothing.
func TestFlatNamesAreBounded(t *testing.T) {
	e := NewEncoder(Options{Format: Flat})
	for n := range 10_000 {
		e.Append(nil, event(fmt.Sprintf(`{"name %d":1,"a":{"b":1},"a_b":2}`, n)))
		if e.flat.size > maxKept || len(e.flat.used) > maxKept {
			t.Fatalf("%d names of %d bytes after %d records", len(e.flat.used), e.flat.size, n)
		}
	}
	checkAs(t, e, Options{Format: Flat}, event(`{"a":{"b":1},"a_b":2}`))
}
