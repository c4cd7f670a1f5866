package monitor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDashboards holds what is deployed to the table.
func TestDashboards(t *testing.T) {
	tests := map[string]func() (string, error){
		"deploy/grafana/duo_in.json": func() (string, error) {
			b, err := grafana()
			return string(b), err
		},
		"deploy/prometheus/consoles/duo_in.html": func() (string, error) {
			return console(read(t, "deploy/prometheus/consoles/duo_in.html"))
		},
	}
	for name, made := range tests {
		t.Run(filepath.Base(name), func(t *testing.T) {
			want, err := made()
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(filepath.Join(root, name), []byte(want), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(want, read(t, name)); diff != "" {
				t.Errorf("%s is not what the table makes of it; run go test ./internal/monitor -update (-want +got):\n%s", name, diff)
			}
		})
	}
}
