package option

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLikelyTypos(t *testing.T) {
	for _, c := range []struct {
		name, set string
		want      map[string]string // from the name that was asked for to the option that was meant
	}{
		{"hyphens", "api-host", map[string]string{"api-host": "api_host"}},
		{"dots", "checkpoint.dir", map[string]string{"checkpoint.dir": "checkpoint_dir"}},
		{"no separator", "secretkeyfile", map[string]string{"secretkeyfile": "secret_key_file"}},
		{"capital letters", "Batch-Size", map[string]string{"batch-size": "batch_size"}},
		{"plural", "poll_intervals", map[string]string{"poll_intervals": "poll_interval"}},
		{"singular", "log", map[string]string{"log": "logs"}},
		{"prefix", "duo_overlap", map[string]string{"duo_overlap": "overlap"}},
		{"letter left out", "integraton_key", map[string]string{"integraton_key": "integration_key"}},
		{"first letter left out", "ettle", map[string]string{"ettle": "settle"}},
		{"last letter left out", "sinc", map[string]string{"sinc": "since"}},
		{"letter doubled", "prroxy", map[string]string{"prroxy": "proxy"}},
		{"last letter doubled", "delayy", map[string]string{"delayy": "delay"}},
		{"letters swapped", "page_szie", map[string]string{"page_szie": "page_size"}},
		{"first letters swapped", "itmeout", map[string]string{"itmeout": "timeout"}},
		{"of an alias", "ksey", map[string]string{"ksey": "skey"}},

		{"an option", "since", map[string]string{}},
		{"an alias", "ikey", map[string]string{}},
		{"an option in capital letters", "FORMAT", map[string]string{}},
		{"something else", "description", map[string]string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, likelyTypos(config(c.set+" x"))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestTyposInOrder asks for the same lines in the same order at every start.
func TestTyposInOrder(t *testing.T) {
	get := config(keys + "api-host x\nlog x\nkey x\nsinces x\nprox x\ntimeouts x\nformats x")
	first, err := Parse(get, today)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Warnings) != 7 {
		t.Errorf("there are %d warnings, want 7: %q", len(first.Warnings), first.Warnings)
	}
	for range 20 {
		again, _ := Parse(get, today)
		if diff := cmp.Diff(first.Warnings, again.Warnings); diff != "" {
			t.Fatalf("(-first +again):\n%s", diff)
		}
	}
}

// TestNoTypoOfFluentBits sets what an [INPUT] of any plugin may hold.
func TestNoTypoOfFluentBits(t *testing.T) {
	get := config(keys + `
		name duo
		tag duo.logs
		alias duo
		host api.example.com
		port 443
		listen 0.0.0.0
		ipv6 off
		log_level debug
		log_suppress_interval 10s
		mem_buf_limit 50M
		storage.type filesystem
		storage.pause_on_chunks_overlimit on
		threaded on
		thread.ring_buffer.capacity 1024
		routable true
		tls on
		tls.verify on
		tls.ca_file ca.pem
		net.connect_timeout 10s
		rate_limit 100
		oauth2.token_url https://example.com
		processors none
		routes none
		db /tmp/x.db
		parser json
	`)
	o, err := Parse(get, today)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Warnings) > 0 {
		t.Errorf("there are warnings: %q", o.Warnings)
	}
}

// TestSlips holds that no key which Fluent Bit has a use for is asked for as a
// slip, and that asking does not take long.
func TestSlips(t *testing.T) {
	asked := map[string]bool{}
	likelyTypos(func(name string) string { asked[name] = true; return "" })
	for name := range asked {
		if isFluentBits(name) {
			t.Errorf("%s is a key of Fluent Bit's", name)
		}
		if name == "" || len(name) < 3 {
			t.Errorf("%q is too short to be taken for an option", name)
		}
		if slices.ContainsFunc(table, func(row Row) bool { return row.Name == name || slices.Contains(row.Aliases, name) }) {
			t.Errorf("%s is an option", name)
		}
	}
	if len(asked) < 100 || len(asked) > 20000 {
		t.Errorf("%d names are asked for", len(asked))
	}
}

// A missing option that is only misspelt is said together with its misspelling.
func TestTyposOfRequiredOptions(t *testing.T) {
	o, err := Parse(config("apihost api-0a1b2c3d.duosecurity.com\nintergration_key DI0000\nsecretkey abc\ninterval_sec 60"), today)
	if err == nil {
		t.Fatal("this was passed")
	}
	want := []string{
		"apihost is not an option of duo_in and has no effect; did you mean api_host?",
		"intergration_key is not an option of duo_in and has no effect; did you mean integration_key?",
		"interval_sec is not an option of duo_in and has no effect; did you mean poll_interval?",
		"secretkey is not an option of duo_in and has no effect; did you mean secret_key?",
	}
	if diff := cmp.Diff(want, o.Warnings); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUnknown(t *testing.T) {
	got := Unknown([]string{"Name", "TAG", "storage.type", "Api_Host", "ikey", "api-host", "sinc", "description", "Parser", "description"})
	if diff := cmp.Diff([]string{"description", "Parser"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
