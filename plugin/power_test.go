package main

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"duo_in/duo/duotest"
)

var bootMember = regexp.MustCompile(`"boot": "[^"]*"`)

var machineSeeds = flag.Uint64("machine.seeds", 1, "how many random trials TestMachineGoesDown makes")

// The machine goes down again and again, each time with what Fluent Bit had
// taken in the last 65 seconds and more, while the checkpoints are as new as the
// last save: nothing is missing, and what comes again are minutes.
func TestMachineGoesDown(t *testing.T) {
	if _, err := os.Stat("/proc/sys/kernel/random/boot_id"); err != nil {
		t.Skip("this system does not tell one run of the machine from another")
	}
	const perSecond, crashes = 2, 5
	for seed := range *machineSeeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 1))
				upTo := func(d time.Duration) time.Duration { return time.Duration(rnd.Int64N(int64(d))) }
				w := newWorld(t, duotest.Config{})
				w.set["poll_interval"] = "10s"
				stop := w.trickle("activity", time.Second/perSecond)
				twice := 0
				for range crashes {
					var durable []map[string]int // what the disk held, every 5 seconds
					live := func(tick int) {
						if tick%20 == 0 {
							durable = append(durable, maps.Clone(w.events))
						}
					}
					in := w.start()
					for range rnd.IntN(3) { // the process ends and begins, the machine stays
						w.run(in, upTo(4*time.Minute), live)
						if rnd.IntN(2) == 0 {
							w.stop(in)
						} else {
							w.kill(in, upTo(500*time.Millisecond))
						}
						in = w.start()
					}
					w.run(in, upTo(6*time.Minute), live)
					w.kill(in, upTo(500*time.Millisecond))
					before := len(w.events)
					w.events = durable[max(0, len(durable)-1-65/5)]
					twice += (200 + 60) * perSecond
					t.Logf("%d of %d events are gone", before-len(w.events), before)
					w.reboot()
				}
				stop()
				in := w.start()
				w.run(in, 10*time.Minute, nil)
				w.stop(in)
				w.check("activity", twice)
			})
		})
	}
}

// Where the machine's end has also torn the checkpoint that was saved last, that is said, with the way on.
func TestMachineGoesDownAndTears(t *testing.T) {
	if _, err := os.Stat("/proc/sys/kernel/random/boot_id"); err != nil {
		t.Skip("this system does not tell one run of the machine from another")
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, duotest.Config{})
		w.backlog("activity", 10*time.Minute, 10)
		in := w.start()
		w.run(in, 10*time.Second, nil)
		w.stop(in)
		w.reboot()
		torn, err := filepath.Glob(filepath.Join(w.set["checkpoint_dir"], "*/*/activity.json"))
		if err == nil {
			err = os.Truncate(torn[0], 20)
		}
		if err != nil {
			t.Fatal(err)
		}
		w.stop(w.start())
		for _, want := range []string{"activity: the checkpoint saved last cannot be used (torn", "activity: the machine has been started anew"} {
			if strings.Count(w.stderr.String(), want) != 1 {
				t.Errorf("%q is not said once:\n%s", want, w.stderr)
			}
		}
	})
}

// reboot makes the checkpoints look like those of another run of the machine.
func (w *world) reboot() {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.set["checkpoint_dir"], "*/*/*.json*"))
	if err != nil || len(files) == 0 {
		w.t.Fatalf("no checkpoints (%v)", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(file, bootMember.ReplaceAll(text, []byte(`"boot": "another"`)), 0o600)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
}
