//go:build cgo

package scenario

import (
	"strings"
	"testing"
	"time"

	"duo_in/duo/duotest"
)

// Whatever TZ says: each event has Duo's time, a since that is a date begins
// with that day in UTC, and after a restart nothing is missing or twice.
func TestTimeZones(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		tz     string
		always bool
	}{{"Africa/Casablanca", true}, {"Asia/Kathmandu", false}, {"XYZ-14", false}, {"rubbish", false}, {"", false}} {
		t.Run("TZ="+tt.tz, func(t *testing.T) {
			underPressure(t, tt.always)
			inBoth(t, quickDuo, func(b *bed) {
				now := time.Now().UTC()
				day := now.Truncate(24 * time.Hour).Add(-48 * time.Hour)
				source := map[string][]byte{}
				for seed, at := range []time.Time{day.Add(-time.Second), day, day.Add(5 * time.Hour), day.Add(30 * time.Hour), now.Add(-time.Minute)} {
					raw := duotest.NewRecords(duotest.Activity, uint64(seed), at, at, 1)[0]
					b.server.Add(duotest.Activity, raw)
					if !at.Before(day) {
						source[string(raw)] = raw
					}
				}
				b.spec.Env = []string{"TZ=" + tt.tz}
				in := b.input("duo", append(quick[:2:2], opt("logs", "activity"), opt("since", day.Format(time.DateOnly)))...)
				d := b.delivery("duo")
				p := b.start(in)
				b.waitFor("events", time.Minute, func() bool { return d.update() >= len(source) && strings.Contains(p.Log(), "caught up") })
				if line := "beginning at " + day.Format("2006-01-02T15:04:05.000Z"); !strings.Contains(p.Log(), line) {
					b.t.Errorf("no %q in the log", line)
				}
				pause(600 * time.Millisecond) // else all of it may come again
				b.stop(p)
				p = b.start(in)
				b.waitFor("second start", time.Minute, func() bool { return strings.Contains(p.Log(), "caught up") })
				b.stop(p)
				if d.update(); len(d.all) != len(source) {
					b.t.Fatalf("%d records, want %d", len(d.all), len(source))
				}
				for _, r := range d.all {
					matched := 0
					for _, raw := range source {
						if sameAsDuo(r, raw, b.duo.Addr) == nil {
							matched++
						}
					}
					if matched != 1 {
						b.t.Errorf("record of %v is none of Duo's", r.Time)
					}
				}
			})
		})
	}
}
