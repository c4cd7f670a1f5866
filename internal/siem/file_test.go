//go:build cgo

package siem

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file is never away; but it may be given another name, as logrotate does.
func TestExampleFile(t *testing.T) {
	b := newBed(t)
	dir := filepath.Join(b.dir, "log") // is not there yet
	config := b.configure("file.conf", edit{old: "/var/log/duo_in\n", new: dir + "\n"})
	got := func() (lines []string) {
		for _, name := range []string{"duo.json.1", "duo.json"} {
			text, _ := os.ReadFile(filepath.Join(dir, name))
			for line := range strings.Lines(string(text)) {
				lines = append(lines, line)
			}
		}
		return lines
	}
	complete := func() bool { return len(got()) >= len(b.events()) }
	b.file(30)
	b.fileText(hostileText)
	b.start("file.conf", config)
	b.waitFor("events", complete)
	if err := os.Rename(filepath.Join(dir, "duo.json"), filepath.Join(dir, "duo.json.1")); err != nil {
		t.Fatal(err)
	}
	b.file(30)
	b.waitFor("events in a new file", complete)
	b.stop()
	b.equal("file.conf", formatOf("file.conf", config), got())
}
