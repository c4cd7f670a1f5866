//go:build cgo && linux

package scenario

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

// volume is a file system of its own, in a file: what that holds at an instant
// is what a disk holds when the power fails then.
type volume struct {
	t           *testing.T
	image, path string
}

func newVolume(t *testing.T, size string) *volume {
	t.Helper()
	v := &volume{t: t, image: filepath.Join(t.TempDir(), "image"), path: filepath.Join(t.TempDir(), "volume")}
	if err := os.Mkdir(v.path, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"truncate", "-s", size, v.image}, {"mkfs.ext4", "-q", "-F", v.image}, {"mount", "-o", "loop", v.image, v.path}} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Skipf("NO VOLUME: %s was not run: it takes root and mkfs.ext4: %q: %v %s", t.Name(), command, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", v.path).CombinedOutput(); err != nil {
			t.Errorf("%s stays mounted: %v %s", v.path, err, out)
		}
	})
	return v
}

func (v *volume) run(command string, args ...string) {
	v.t.Helper()
	if out, err := exec.Command(command, args...).CombinedOutput(); err != nil {
		v.t.Fatalf("%s %q: %v %s", command, args, err, out)
	}
}

// cut returns what the disk holds now.
func (v *volume) cut() (image string) {
	v.t.Helper()
	image = filepath.Join(v.t.TempDir(), "image")
	v.run("cp", "--sparse=always", v.image, image)
	return image
}

// back puts a copy of a disk into the volume's place.
func (v *volume) back(image string) {
	v.t.Helper()
	v.run("umount", v.path)
	v.run("cp", "--sparse=always", image, v.image)
	v.run("mount", "-o", "loop", v.image, v.path)
}

var bootMember = regexp.MustCompile(`"boot": "[^"]*"`)

// boot makes the checkpoints look like those of another run of the machine.
func (v *volume) boot() {
	v.t.Helper()
	files, err := filepath.Glob(filepath.Join(v.path, "checkpoints/*/*/*.json*"))
	if err != nil || len(files) == 0 {
		v.t.Fatalf("no checkpoints survived the power cut (%v)", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(file, bootMember.ReplaceAll(text, []byte(`"boot": "another"`)), 0o600)
		}
		if err != nil {
			v.t.Fatal(err)
		}
	}
}

// The power fails while an output is down: of what Fluent Bit had taken its
// buffer holds only what had reached the disk, though the checkpoints, which are
// there, are past it. After the boot all of it is read again.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	for _, sync := range []string{"normal", "full"} {
		t.Run("storage.sync "+sync, func(t *testing.T) {
			outage := underPressure(t, sync == "normal")
			b := newBed(t, flbtest.FluentBit, quickDuo)
			v := newVolume(t, "128M")
			in := b.input("duo", append(quick, opt("storage.type", "filesystem"), opt("checkpoint_dir", filepath.Join(v.path, "checkpoints")))...)
			service := []flbtest.Option{opt("storage.sync", sync), opt("storage.path", filepath.Join(v.path, "storage"))}
			start := func(siem *flbtest.Receiver) *flbtest.Process {
				return b.startSpec(b.pipeline(service, map[string]*flbtest.Receiver{"duo": siem}, in))
			}
			l := b.startLoad(gap, 60)
			p := start(down(t))
			b.ready(p)
			pause(outage + 3*time.Second)
			filed := l.end() * len(duotest.Logs())
			pause(time.Second)
			disk := v.cut()
			if err := p.Kill(); err != nil {
				t.Fatal(err)
			}

			arrived := func(siem *flbtest.Receiver) int {
				got, _ := byLog(t, siem.Lines())
				return got[duotest.Authentication] + got[duotest.Activity] + got[duotest.Telephony]
			}
			v.back(disk)
			siem := receiver(t, "tcp")
			p = start(siem)
			same := b.still("arrivals", func() int { return arrived(siem) })
			if err := p.Kill(); err != nil {
				t.Fatal(err)
			}

			v.back(disk)
			v.boot()
			siem = receiver(t, "tcp")
			p = start(siem)
			b.waitFor("all events", time.Minute, func() bool { return arrived(siem) == filed })
			b.stop(p)
			if !strings.Contains(p.Log(), "the machine has been started anew") {
				t.Error("the log does not say why events come again")
			}
			t.Logf("of %d events %d were missing if the checkpoints were believed, 0 after a boot", filed, filed-same)
			switch {
			case sync == "full" && same < filed:
				t.Errorf("with storage.sync full %d of %d events arrived as if there had been no boot: it does not do what it did", same, filed)
			case sync == "normal" && same == filed:
				t.Log("something had all disks synced, so that this run shows nothing")
			}
		})
	}
}
