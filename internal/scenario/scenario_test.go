//go:build cgo

package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"duo_in/duo/duotest"
	"duo_in/internal/flbtest"
)

func opt(key, value string) flbtest.Option { return flbtest.Option{Key: key, Value: value} }

// 5,000 records of each log arrive, once, as Duo has them: the time to the
// microsecond, every key in its order, every value.
func TestDelivery(t *testing.T) {
	inBoth(t, duotest.Config{}, func(b *bed) {
		source := b.backlog(5000, duotest.Logs()...)
		p := b.start(b.input("duo", opt("since", "25h")))
		d := b.delivery("duo")
		d.awaitAll(2*time.Minute, duotest.Logs()...)
		b.stop(p)
		if strings.Contains(p.Log(), "counts other numbers") {
			t.Error("the host's count of events is found odd, though nothing changes their number")
		}
		d.update()
		if d.twice() != 0 || len(d.all) != len(source) {
			t.Errorf("%d records arrived, %d of them twice; Duo has %d", len(d.all), d.twice(), len(source))
		}
		for _, r := range d.all {
			if err := sameAsDuo(r, source[r.String(idKeys[r.String("eventtype")])], b.duo.Addr); err != nil {
				b.t.Fatalf("record %d: %v", r.Line, err)
			}
		}
	})
}

// sameAsDuo compares an arrived record with what Duo sent.
func sameAsDuo(r flbtest.Record, raw json.RawMessage, host string) error {
	var sent struct {
		ISO string `json:"isotimestamp"`
		TS  string `json:"ts"`
	}
	if err := json.Unmarshal(raw, &sent); err != nil {
		return err
	}
	at, err := time.Parse("2006-01-02T15:04:05.000000Z07:00", sent.ISO+sent.TS)
	if err != nil {
		return err
	}
	if !r.Time.Equal(at) {
		return fmt.Errorf("time %v, Duo's is %v", r.Time, at)
	}
	log, id := r.String("eventtype"), r.String("event_id")
	want := bytes.TrimSuffix(bytes.TrimSpace(raw), []byte("}"))
	want = fmt.Appendf(want, `,"eventtype":%q,"host":%q,"event_id":%q}`, log, host, id)
	got, err := tokens(r.JSON)
	if err != nil {
		return err
	}
	wanted, err := tokens(want)
	if err != nil {
		return err
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		return fmt.Errorf("record (-Duo's +arrived):\n%s", diff)
	}
	return nil
}

// tokens is JSON without its spelling: names and values in order.
func tokens(b []byte) (out []string, err error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	for {
		t, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, fmt.Sprintf("%T %v", t, t))
	}
}

// quick makes the simulated Duo and the input fast enough for live scenarios:
// events are shown and asked for after a second.
var quick = []flbtest.Option{opt("delay", "1s"), opt("overlap", "30s"), opt("since", "25h"), opt("page_size", "100")}

var quickDuo = duotest.Config{Delay: time.Second}

const gap = 50 * time.Millisecond // between two live events of a log: 60 a second in all

// Stopped and started at random moments under load: nothing is missing, and
// twice comes at most what was handed over in the last half second of each run.
func TestCleanStops(t *testing.T) {
	inBoth(t, quickDuo, func(b *bed) {
		stops, most := *stopsFluentBit, 4*time.Second
		b.spec.Grace = time.Second
		if b.kind == flbtest.CHost {
			stops, most = *stopsCHost, 1500*time.Millisecond
			b.spec.CollectEvery, b.spec.Grace = 100*time.Millisecond, 500*time.Millisecond
		}
		rnd := newRand(b.t)
		in, d := b.input("duo", quick...), b.delivery("duo")
		l := b.startLoad(gap, 10)
		for range stops {
			p := b.start(in)
			b.ready(p)
			d.watch(time.Duration(rnd.Int64N(int64(most))))
			d.end(p, time.Now().Add(-exitLimit), func() { b.stop(p) })
		}
		l.end()
		d.finish(in, fmt.Sprintf("%d clean stops", stops), stops)
	})
}

// perSecond is how many live events happen in a second, in all logs, and
// perCallback what one callback may bring, and so what may come twice after a
// stop within half a second of it: a second may pass between two callbacks, and
// another between two polls.
const (
	perSecond   = 3 * int(time.Second/gap)
	perCallback = 2 * perSecond
)

// Killed at random instants: nothing is missing, and twice comes at most what
// was handed over in the last settle seconds, and in two more, for what comes late.
func TestKills(t *testing.T) {
	t.Parallel()
	inBoth(t, quickDuo, func(b *bed) {
		kills, most := *killsFluentBit, 6*time.Second
		options := quick
		settle := 2 * time.Second
		if b.kind == flbtest.CHost {
			kills, most, settle = *killsCHost, 3*time.Second, 500*time.Millisecond
			b.spec.CollectEvery = 100 * time.Millisecond
			options = append([]flbtest.Option{opt("settle", "500ms")}, quick...)
		}
		rnd := newRand(b.t)
		in, d := b.input("duo", options...), b.delivery("duo")
		l := b.startLoad(gap, 20)
		for range kills {
			p := b.start(in)
			d.watch(time.Duration(rnd.Int64N(int64(most))))
			d.end(p, time.Now().Add(-settle-2*time.Second), func() { b.kill(p) })
		}
		l.end()
		d.finish(in, fmt.Sprintf("%d kills", kills), kills)
	})
}

// ready waits until the plugin runs.
func (b *bed) ready(p *flbtest.Process) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := p.WaitLog(ctx, regexp.MustCompile(`duo_in \d`)); err != nil {
		b.t.Fatalf("%v\n%s", err, p.Log())
	}
}

// finish lets a last run deliver the rest and compares.
func (b *bed) finish(in flbtest.Input, what string, mayTwice int) {
	b.t.Helper()
	b.spec.CollectEvery = 0
	p := b.start(in)
	d := b.delivery("duo")
	d.awaitAll(time.Minute, duotest.Logs()...)
	b.stop(p)
	d.update()
	b.t.Logf("%s: %d events, %d records, 0 missing, %d twice (at most %d may)", what, len(d.count), len(d.all), d.twice(), mayTwice)
	if d.twice() > mayTwice {
		b.t.Errorf("%d records came twice, more than %d", d.twice(), mayTwice)
	}
}

// Two inputs with logs and tags of their own deliver each to its own output.
func TestTwoInputs(t *testing.T) {
	inBoth(t, duotest.Config{}, func(b *bed) {
		b.backlog(300, duotest.Logs()...)
		p := b.start(
			b.input("duo.auth", opt("logs", "authentication")),
			b.input("duo.admin", opt("logs", "activity, telephony")))
		auth, admin := b.delivery("duo.auth"), b.delivery("duo.admin")
		auth.awaitAll(time.Minute, duotest.Authentication)
		admin.awaitAll(time.Minute, duotest.Activity, duotest.Telephony)
		b.stop(p)
		for d, want := range map[*delivery]int{auth: 300, admin: 600} {
			if d.update(); len(d.all) != want {
				b.t.Errorf("%d records under a tag, want %d", len(d.all), want)
			}
		}
	})
}

// The same stream in two inputs is refused: the message names the file, the
// process and the other input.
func TestSameStreamTwice(t *testing.T) {
	inBoth(t, duotest.Config{}, func(b *bed) {
		p := b.start(b.input("one", opt("logs", "activity")), b.input("two", opt("logs", "activity,telephony")))
		b.refused(p, fmt.Sprintf(`activity: .*activity\.lock is held by \[INPUT\] duo\.0, pid %d: let only one`, p.Pid()))
	})
}

// A second process is refused as well, after it waited for a restart.
func TestSameStreamInTwoProcesses(t *testing.T) {
	b := newBed(t, flbtest.CHost, duotest.Config{})
	first := b.start(b.input("duo"))
	b.ready(first)
	second := b.start(b.input("duo"))
	b.refused(second, fmt.Sprintf(`authentication\.lock is held by \[INPUT\] duo\.0, pid %d: `, first.Pid()))
	b.stop(first)
}

// refused waits for the host to end with an error and looks for its reasons.
func (b *bed) refused(p *flbtest.Process, reasons ...string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	exit, err := p.Wait(ctx)
	if err != nil || exit == 0 {
		b.t.Errorf("exit status %d (%v), want another than 0", exit, err)
	}
	for _, r := range reasons {
		if !regexp.MustCompile(`\[error\] \[input:duo:duo\.\d\] ` + ".*" + r).MatchString(p.Log()) {
			b.t.Errorf("no line with %s in:\n%s", r, p.Log())
		}
	}
}

// Wrong configurations are refused at the start, all problems at once, each
// with the key, the value and the remedy.
func TestWrongConfigurations(t *testing.T) {
	inBoth(t, duotest.Config{}, func(b *bed) {
		secretFile := filepath.Join(b.dir, "secret")
		if err := os.WriteFile(secretFile, []byte(duotest.SecretKey), 0o600); err != nil {
			b.t.Fatal(err)
		}
		for name, tc := range map[string]struct {
			options []flbtest.Option
			want    []string
		}{
			"host of the admin panel": {[]flbtest.Option{opt("api_host", "admin-1234.duosecurity.com")}, []string{`api_host "admin-1234.duosecurity.com": .*api-XXXXXXXX`}},
			"host over http":          {[]flbtest.Option{opt("api_host", "http://api-1.duosecurity.com")}, []string{`api_host "http://.*only https`}},
			"host from nowhere":       {[]flbtest.Option{opt("api_host", "${NOT_SET_ANYWHERE}")}, []string{`api_host is missing: .*environment variable`}},
			"no integration key":      {[]flbtest.Option{opt("integration_key", "${NOT_SET_ANYWHERE}")}, []string{`integration_key is missing`}},
			"two secrets":             {[]flbtest.Option{opt("secret_key_file", secretFile)}, []string{`secret_key and secret_key_file are both set: keep one`}},
			"unknown log":             {[]flbtest.Option{opt("logs", "authentication, sso")}, []string{`logs "authentication, sso": there is no log "sso"; the logs are authentication, activity, telephony`}},
			"since too far":           {[]flbtest.Option{opt("since", "181d")}, []string{`since "181d": .*at most 180d`}},
			"interval without unit":   {[]flbtest.Option{opt("poll_interval", "60")}, []string{`poll_interval "60": give a number with its unit .*such as 60s`}},
			"format unknown":          {[]flbtest.Option{opt("format", "xml")}, []string{`format "xml": .*json`}},
			"pages too large":         {[]flbtest.Option{opt("page_size", "5000")}, []string{`page_size "5000": give a whole number from 1 to 1000`}},
			"batch too small":         {[]flbtest.Option{opt("batch_size", "1K")}, []string{`batch_size "1K": give a size from 64K to 64M`}},
			"roots that are none":     {[]flbtest.Option{opt("ca_file", secretFile)}, []string{`ca_file ".*": .*holds no certificate in PEM form`}},
			"folder not to be made":   {[]flbtest.Option{opt("checkpoint_dir", secretFile+"/checkpoints")}, []string{`checkpoint folder ".*secret/checkpoints": .*set checkpoint_dir to a folder`}},
			"all at once": {
				[]flbtest.Option{opt("since", "soon"), opt("delay", "2"), opt("proxy", "socks5://user:"+duotest.SecretKey+"@proxy"), opt("settle", "1h")},
				[]string{`since "soon": `, `delay "2": `, `proxy .*: give it as http://host:port`, `settle "1h": `},
			},
		} {
			p := b.start(b.input("duo", tc.options...))
			b.refused(p, tc.want...)
			if b.t.Failed() {
				b.t.Fatal(name)
			}
		}
	})
}

// What only the operator can mend is one line, and the process stays up.
func TestOperatorErrors(t *testing.T) {
	inBoth(t, duotest.Config{}, func(b *bed) {
		b.server.SetPermission(duotest.Activity, false)
		b.backlog(20, duotest.Logs()...)
		p := b.start(b.input("duo"))
		d := b.delivery("duo")
		d.awaitAll(time.Minute, duotest.Authentication, duotest.Telephony)
		b.waitFor("line about the permission", time.Minute, func() bool { return strings.Contains(p.Log(), "Grant read log") })
		b.server.SetKeys(duotest.IntegrationKey, "another")
		b.waitFor("line about the secret", time.Minute, func() bool { return strings.Count(p.Log(), "check secret_key") == 2 })
		b.stop(p)
		if n := strings.Count(p.Log(), "Grant read log"); n != 1 {
			b.t.Errorf("the missing permission is said %d times", n)
		}
	})
}

// When the operator has mended it, it goes on without a restart: in virtual
// time this is tested in package duo, here in minutes.
func TestOperatorErrorsEnd(t *testing.T) {
	if !*patient {
		t.Skip("takes 6 minutes; run with -patient -parallel 6 -timeout 20m")
	}
	for _, tc := range []struct {
		name        string
		break_, end func(*bed, *clock)
		line        string
	}{
		{
			name:   "wrong secret",
			break_: func(b *bed, _ *clock) { b.server.SetKeys(duotest.IntegrationKey, "another") },
			end:    func(b *bed, _ *clock) { b.server.SetKeys(duotest.IntegrationKey, duotest.SecretKey) },
			line:   "check secret_key",
		},
		{
			name:   "missing permission",
			break_: func(b *bed, _ *clock) { b.server.SetPermission(duotest.Activity, false) },
			end:    func(b *bed, _ *clock) { b.server.SetPermission(duotest.Activity, true) },
			line:   "Grant read log",
		},
		{
			name:   "skewed clock",
			break_: func(_ *bed, c *clock) { c.off.Store(int64(-time.Hour)) },
			end:    func(_ *bed, c *clock) { c.off.Store(0) },
			line:   "ahead of Duo's; set it right, for instance with NTP",
		},
	} {
		for _, kind := range []flbtest.Kind{flbtest.CHost, flbtest.FluentBit} {
			t.Run(tc.name+"/"+kind.String(), func(t *testing.T) {
				t.Parallel()
				c := &clock{}
				b := newBed(t, kind, duotest.Config{Now: c.now})
				b.backlog(20, duotest.Activity)
				tc.break_(b, c)
				p := b.start(b.input("duo", opt("logs", "activity")))
				b.waitFor("line", time.Minute, func() bool { return strings.Contains(p.Log(), tc.line) })
				tc.end(b, c)
				b.delivery("duo").awaitAll(8*time.Minute, duotest.Activity)
				b.stop(p)
				if n := strings.Count(p.Log(), tc.line); n != 1 || !strings.Contains(p.Log(), "Duo answers again") {
					t.Errorf("the line stands %d times; log:\n%s", n, p.Log())
				}
				for line := range strings.Lines(p.Log()) {
					if strings.Contains(line, "activity: ") {
						t.Log(strings.TrimSpace(line))
					}
				}
			})
		}
	}
}

// clock is a Duo's whose time is off from ours.
type clock struct{ off atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.off.Load())) }

// A host before 4.1 has another layout and one input.
func TestOldHost(t *testing.T) {
	b := newBed(t, flbtest.CHost, duotest.Config{})
	b.spec.OldLayout = true
	b.backlog(500, duotest.Logs()...)
	p := b.start(b.input("duo"))
	d := b.delivery("duo")
	d.awaitAll(time.Minute, duotest.Logs()...)
	b.stop(p)
	p = b.start(b.input("one", opt("logs", "activity")), b.input("two", opt("logs", "telephony")))
	b.refused(p, `older than 4\.1 and can have one duo input only`)
}

// An append that the host drops comes again, also twice in a row. Events are
// filed when the host knows what to drop, or all of them could be through before.
func TestDroppedAppends(t *testing.T) {
	b := newBed(t, flbtest.CHost, duotest.Config{})
	b.spec.CollectEvery = 100 * time.Millisecond
	p := b.start(b.input("duo", opt("batch_size", "256K")))
	b.ready(p)
	d, now := b.delivery("duo"), time.Now()
	for i, ago := range []time.Duration{20 * time.Hour, 10 * time.Hour} {
		b.command(p, "drop duo 2")
		for k, log := range duotest.Logs() {
			b.server.Add(log, duotest.NewRecords(log, uint64(10*i+k+1), now.Add(-ago), now.Add(-ago+time.Hour), 1000)...)
		}
		d.awaitAll(time.Minute, duotest.Logs()...)
	}
	b.stop(p)
	if n := strings.Count(p.Log(), "took too long over a batch"); n < 4 {
		t.Errorf("%d drops were noticed, 4 were made", n)
	}
	if d.update(); d.twice() != 0 {
		t.Errorf("%d records came twice", d.twice())
	}
}

func (b *bed) command(p *flbtest.Process, line string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := p.Command(ctx, line); err != nil {
		b.t.Fatalf("%v\n%s", err, p.Log())
	}
}

// A pause stops the wrong instance's collector in the host; neither input
// loses anything by it.
func TestPauseOfOneOfTwo(t *testing.T) {
	b := newBed(t, flbtest.CHost, quickDuo)
	b.spec.CollectEvery = 100 * time.Millisecond
	one := b.input("one", append(quick, opt("logs", "authentication"))...)
	two := b.input("two", append(quick, opt("logs", "activity,telephony"))...)
	l := b.startLoad(gap, 30)
	p := b.start(one, two)
	b.ready(p)
	for range 5 {
		b.command(p, "pause one")
		pause(400 * time.Millisecond)
		b.command(p, "resume one")
		pause(200 * time.Millisecond)
	}
	l.end()
	d1, d2 := b.delivery("one"), b.delivery("two")
	d1.awaitAll(time.Minute, duotest.Authentication)
	d2.awaitAll(time.Minute, duotest.Activity, duotest.Telephony)
	b.stop(p)
	if d1.twice()+d2.twice() != 0 {
		t.Errorf("%d and %d records came twice", d1.twice(), d2.twice())
	}
}
