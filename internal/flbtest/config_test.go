package flbtest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseConfig(t *testing.T) {
	const classic = `# a comment
[SERVICE]
    flush             1
    #storage.sync     full

[INPUT]
    name  duo
    logs  authentication, activity
[OUTPUT]
    Name   http
    Header X-One 1
    Header X-Two 2
`
	const yaml = `# a comment
service:
  flush: 1
  #storage.sync: full

pipeline:
  inputs:
    - name: duo
      logs: "authentication, activity"
  outputs:
    - Name: http
      Header: X-One 1
      Header: X-Two 2
`
	want := []Section{
		{"SERVICE", []Option{{"flush", "1"}}},
		{"INPUT", []Option{{"name", "duo"}, {"logs", "authentication, activity"}}},
		{"OUTPUT", []Option{{"Name", "http"}, {"Header", "X-One 1"}, {"Header", "X-Two 2"}}},
	}
	for name, text := range map[string]string{"a.conf": classic, "a.yaml": yaml} {
		got := ParseConfig(name, text)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
			continue
		}
		if got[2].Get("name") != "http" || got[2].Get("header") != "X-One 1" || got[2].Get("port") != "" {
			t.Errorf("%s: name %q, header %q, port %q", name, got[2].Get("name"), got[2].Get("header"), got[2].Get("port"))
		}
	}
}
