package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"duo_in/duo/duotest"
	"duo_in/internal/durable"
)

const simHelp = `usage: duoctl sim [flags]

Serves a simulated Duo Admin API over HTTPS: the authentication, activity and telephony logs, and with -logs those of version 1
and the Trust Monitor's too, with Duo's signatures, paging, delay, limits and errors. Each log begins with a backlog, and events
keep coming in. All of them are made up. It prints the [INPUT] section that points duo_in at it, writes the certificate
authority to trust to ca.pem in -dir, and ends with SIGINT, SIGTERM or after -for. Put the section in the place of that of a
copy of fluent-bit.conf.example.

Every start is a new Duo, with a new certificate authority, so Fluent Bit must be restarted too. It goes on from the
checkpoints, which -dir keeps; remove them to begin anew.

Like Duo's, its logs show nothing younger than -delay. duo_in's own option delay, 2m too, decides how young an event it asks
for: for a demonstration in which events appear at once, shorten both, as the printed section does.

With -children it is a managed service provider's Duo: the Accounts API lists that many child accounts, each with logs of its
own, at a host of its own, which here is a port: the n-th listens n ports behind -listen.

With -at, which can be given again and again, something happens that long after the start: a burst of so many events in each
log, spread over ten seconds, or for some time an outage (503), limited (429), rejected (400), denied (403) or missing (404)
calls, a reset of each connection, or a hang, when no call is answered.

The keys are constants that open nothing, and who reaches the server can read all of it, so it listens on the loopback
interface only unless -public is given.

examples:
  duoctl sim -delay 2s                  events appear after two seconds
  duoctl sim -backlog 100000 -rate 0    watch a backlog being caught up with
  duoctl sim -budget 10 -latency 300ms  a Duo that is far away and strict
  duoctl sim -children 20 -churn 1m     a service provider whose customers come and go
  duoctl sim -at '1m burst 5000' -at '2m outage 90s' -at '5m limited 2m'
                                        a bad day, to see what monitoring and alerts make of it
`

// Bounds that keep a slip of the finger from filling the memory: a record takes up to 1.8 KB.
const (
	maxRecords = 1_000_000
	maxRate    = 10_000

	// defaultRecords bounds the backlog of all accounts and logs together, unless -backlog says how large it shall be.
	defaultRecords = 300_000
)

// knownLogs are those that -logs takes.
var knownLogs = duotest.AllLogs()

// simOptions are the flags of sim.
type simOptions struct {
	listen, dir           string
	readyFile, inputFile  string
	public, verbose       bool
	names, logs           []string
	backlog, keep, budget int
	rate                  float64
	delay, latency        time.Duration
	span, limit, churn    time.Duration
	children              int
	seed                  uint64
	quirks                float64
	happenings            []happening
}

func parseSim(args []string, stdout io.Writer) (simOptions, error) {
	var o simOptions
	var names, logs string
	f := flag.NewFlagSet("sim", flag.ContinueOnError)
	f.StringVar(&o.listen, "listen", "127.0.0.1:8443", "`host:port` to listen on; port 0 picks a free one")
	f.BoolVar(&o.public, "public", false, "allow -listen an address beyond the loopback interface")
	f.StringVar(&names, "names", "", "further `hosts` that clients reach the server by, for its certificate, separated by commas;\nthe first stands in what is printed")
	f.StringVar(&o.dir, "dir", "sim", "`folder` for ca.pem, made if it is missing")
	f.StringVar(&o.readyFile, "ready-file", "", "`file` written once the server listens: DUO_API_HOST, DUO_INTEGRATION_KEY, DUO_SECRET_KEY and\nDUO_CA_FILE as KEY=VALUE lines")
	f.StringVar(&o.inputFile, "input-file", "", "`file` that the printed [INPUT] section is written to as well, for a configuration to @INCLUDE")
	f.StringVar(&logs, "logs", strings.Join(duotest.Logs(), ","), "`logs` that have records, separated by commas, or all; there are also\nadministrator, offline_enrollment, telephony_v1, trust_monitor")
	f.IntVar(&o.backlog, "backlog", 1000, "`records` that each log of each account begins with; unless it is given, fewer with many children")
	f.DurationVar(&o.span, "span", 12*time.Hour, "`time` over which the backlog is spread, up to now; at most 4320h (180 days)")
	f.IntVar(&o.keep, "keep", 100_000, "`records` that each log holds beyond its backlog, all accounts together; the oldest go first")
	f.Float64Var(&o.rate, "rate", 2, "`events` that happen in each log of each account per second; 0 for none")
	f.DurationVar(&o.delay, "delay", 2*time.Minute, "`age` from which events are shown; 0 for at once")
	f.DurationVar(&o.latency, "latency", 0, "`time` to wait before each answer")
	f.IntVar(&o.budget, "budget", 0, "`calls` allowed per account, log and minute, beyond which the answer is 429; 0 for any number")
	f.Float64Var(&o.quirks, "quirks", 0, "`share` of records in odd forms that real accounts have shown, from 0 to 1")
	f.Uint64Var(&o.seed, "seed", 0, "`number` from which all records are made; 0 takes one from the clock")
	f.IntVar(&o.children, "children", 0, fmt.Sprintf("child `accounts`, at most %d", maxChildren))
	f.DurationVar(&o.churn, "churn", 0, "`time` after which a child goes and the one that went before comes back; 0 for never")
	f.Func("at", "`what` happens and when, as \"1m outage 30s\"; can be given more than once", func(text string) error {
		h, err := parseHappening(text)
		o.happenings = append(o.happenings, h)
		return err
	})
	f.DurationVar(&o.limit, "for", 0, "`time` after which the server ends; 0 for never")
	f.BoolVar(&o.verbose, "v", false, "print a line for each call")
	if err := parse(f, args, stdout, simHelp); err != nil {
		return o, err
	}
	o.names, o.logs = splitList(names), splitList(logs)
	if logs == "all" {
		o.logs = knownLogs
	}
	if err := o.check(); err != nil {
		return o, usageError{err}
	}
	given := false
	f.Visit(func(flag *flag.Flag) { given = given || flag.Name == "backlog" })
	if !given {
		o.backlog = min(o.backlog, defaultRecords/o.accounts()/len(o.logs))
	}
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano())
	}
	return o, nil
}

// splitList takes a list apart; spaces around commas do not count.
func splitList(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

// check returns the first flag that is wrong, with what is allowed.
func (o simOptions) check() error {
	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		return fmt.Errorf("-listen %q: want host:port", o.listen)
	}
	if ip := net.ParseIP(host); !o.public && host != "localhost" && !ip.IsLoopback() {
		return fmt.Errorf("-listen %q: not on the loopback interface; whoever reaches the server can use it, so this takes -public", o.listen)
	}
	for _, name := range o.logs {
		if !slices.Contains(knownLogs, name) {
			return fmt.Errorf("-logs %q: want some of %s", name, strings.Join(knownLogs, ", "))
		}
	}
	if err := o.checkChildren(); err != nil {
		return err
	}
	records, rate := maxRecords/o.accounts(), maxRate/o.accounts()
	ranges := []struct {
		name  string
		value any
		ok    bool
		want  string
	}{
		{"-logs", "", len(o.logs) > 0, "some of " + strings.Join(knownLogs, ", ")},
		{"-dir", o.dir, o.dir != "", "a folder"},
		{"-backlog", o.backlog, o.backlog >= 0 && o.backlog <= records, fmt.Sprintf("0 to %d", records)},
		{"-keep", o.keep, o.keep >= 1 && o.keep <= maxRecords, fmt.Sprintf("1 to %d", maxRecords)},
		{"-rate", o.rate, o.rate >= 0 && o.rate <= float64(rate), fmt.Sprintf("0 to %d", rate)},
		{"-span", o.span, o.span > 0 && o.span <= duotest.Retention, "more than 0, at most 4320h"},
		{"-delay", o.delay, o.delay >= 0, "0 or more"},
		{"-latency", o.latency, o.latency >= 0, "0 or more"},
		{"-budget", o.budget, o.budget >= 0, "0 or more"},
		{"-quirks", o.quirks, o.quirks >= 0 && o.quirks <= 1, "0 to 1"},
		{"-for", o.limit, o.limit >= 0, "0 or more"},
	}
	for _, h := range o.happenings {
		if most := rate * int(burstLength.Seconds()); h.events > most {
			return fmt.Errorf("-at %q: want a burst of at most %d events", h.text, most)
		}
	}
	for _, r := range ranges {
		if !r.ok {
			return fmt.Errorf("%s %q: want %s", r.name, fmt.Sprint(r.value), r.want)
		}
	}
	return nil
}

// runSim serves until a signal comes or its time is up.
func runSim(args []string, stdout, stderr io.Writer) error {
	o, err := parseSim(args, stdout)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	sim, err := o.start(stdout, stderr)
	if err != nil {
		return err
	}
	defer sim.running.Close()
	access, err := o.publish(sim.running)
	if err != nil {
		return err
	}
	fmt.Fprint(stdout, o.greeting(access, sim.children()))

	if o.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.limit)
		defer cancel()
	}
	begin := time.Now()
	o.plan(sim.server, begin)
	var work sync.WaitGroup
	for i, a := range sim.accounts {
		for log, g := range sim.generators[i] {
			work.Go(func() { o.trickle(ctx, sim.current(a.ID), log, g) })
		}
	}
	work.Go(func() { o.rotate(ctx, sim, stdout, stderr) })
	work.Go(func() { o.announce(ctx, begin, stdout) })
	<-ctx.Done()
	sim.running.Close()
	work.Wait()
	fmt.Fprintln(stdout, summary(sim.server, time.Since(begin)))
	return nil
}

// simulation is a server that listens, with the accounts that it began with.
type simulation struct {
	server     *duotest.Server
	running    *duotest.Running
	accounts   []*duotest.Account              // the parent's own is the first
	generators []map[string]*duotest.Generator // of each account's logs
}

// children returns the accounts that are not the parent's own.
func (s *simulation) children() []*duotest.Account { return s.accounts[1:] }

// current returns a function that finds an account as it is at the time: nil, if it is a child that has gone.
func (s *simulation) current(id string) func() *duotest.Account {
	if id == "" {
		return func() *duotest.Account { return s.server.Account }
	}
	return func() *duotest.Account { return s.server.Child(id) }
}

// start makes the accounts and their backlogs, and serves them.
func (o simOptions) start(stdout, stderr io.Writer) (*simulation, error) {
	server := duotest.New(o.config(stdout, stderr))
	// Who read a log before its backlog is there would go on from behind it.
	server.Fault(duotest.Fault{Kind: duotest.FaultStatus, Status: http.StatusServiceUnavailable, N: -1})
	running, err := server.Listen(o.listen)
	if err != nil {
		return nil, fmt.Errorf("%w; -listen takes another host:port, port 0 any free one", err)
	}
	children, err := o.addChildren(running)
	if err != nil {
		running.Close()
		return nil, err
	}
	s := &simulation{server: server, running: running, accounts: append([]*duotest.Account{server.Account}, children...)}
	now := time.Now()
	for i, a := range s.accounts {
		s.generators = append(s.generators, o.fill(a, o.seed+uint64(i), now))
	}
	server.ClearFaults()
	return s, nil
}

func (o simOptions) config(stdout, stderr io.Writer) duotest.Config {
	c := duotest.Config{
		Names:    o.names,
		Delay:    o.delay,
		Latency:  o.latency,
		Budget:   o.budget,
		Keep:     o.backlog + max(1, o.keep/o.accounts()),
		ErrorLog: log.New(stderr, "duoctl sim: ", log.LstdFlags),
	}
	if o.delay == 0 {
		c.Delay = -1
	}
	if o.verbose {
		lines := log.New(stdout, "", log.LstdFlags) // a Logger keeps the lines of concurrent calls apart
		c.OnCall = func(call duotest.Call) {
			lines.Printf("%d %d records %s?%s %s", call.Status, call.Records, call.Path, call.Query, call.UserAgent)
		}
	}
	return c
}

// fill adds the backlog of each log and returns the generators that made it, to go on with.
func (o simOptions) fill(account *duotest.Account, seed uint64, now time.Time) map[string]*duotest.Generator {
	generators := map[string]*duotest.Generator{}
	for _, log := range o.logs {
		g := duotest.NewGenerator(log, seed, duotest.Options{Quirks: o.quirks})
		account.Add(log, g.Spread(now.Add(-o.span), now, o.backlog)...)
		generators[log] = g
	}
	return generators
}

// trickle adds events of the present, bursts too, to an account, while it is there, until the context ends. What a late tick
// has missed it makes up for.
func (o simOptions) trickle(ctx context.Context, account func() *duotest.Account, log string, g *duotest.Generator) {
	rate := o.rate
	if len(o.happenings) > 0 {
		rate = max(rate, 1) // a burst does not wait for a slow rate
	}
	if rate == 0 {
		return
	}
	begin, made := time.Now(), 0
	ticks := time.NewTicker(max(time.Duration(float64(time.Second)/rate), 20*time.Millisecond))
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticks.C:
			due := o.due(now.Sub(begin), made)
			records := make([]json.RawMessage, due)
			for i := range records {
				records[i] = g.At(now)
			}
			if a := account(); a != nil {
				a.Add(log, records...)
			}
			made += due
		}
	}
}

// due returns how many events are to be made after this time, of which so many are. On a machine under load a tick can bear
// an earlier time than the one before: then none.
func (o simOptions) due(passed time.Duration, made int) int {
	return max(0, int(passed.Seconds()*o.rate)+o.bursts(passed)-made)
}

// access is what a client needs to know.
type access struct{ host, caFile string }

// checkpoints is the folder that duo_in keeps them in.
func (a access) checkpoints() string { return filepath.Join(filepath.Dir(a.caFile), "checkpoints") }

// publish writes ca.pem, the [INPUT] section and, when the others are there, the ready file, and returns what a client needs to know.
func (o simOptions) publish(running *duotest.Running) (access, error) {
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return access{}, fmt.Errorf("-dir %q: %w", o.dir, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return access{}, fmt.Errorf("make -dir: %w", err)
	}
	a := access{host: o.apiHost(running.Addr), caFile: filepath.Join(dir, "ca.pem")}
	// Readable for all, whatever the umask: Fluent Bit often runs as another user, or in a container.
	if err := durable.WriteFile(a.caFile, running.CAPEM, 0o644); err != nil {
		return access{}, fmt.Errorf("write CA certificate: %w", err)
	}
	if o.inputFile != "" {
		if err := durable.WriteFile(o.inputFile, []byte(o.input(a)), 0o644); err != nil {
			return access{}, fmt.Errorf("write -input-file: %w", err)
		}
	}
	if o.readyFile == "" {
		return a, nil
	}
	var b bytes.Buffer
	for _, line := range [][2]string{
		{"DUO_API_HOST", a.host},
		{"DUO_INTEGRATION_KEY", duotest.IntegrationKey},
		{"DUO_SECRET_KEY", duotest.SecretKey},
		{"DUO_CA_FILE", a.caFile},
	} {
		fmt.Fprintf(&b, "%s=%s\n", line[0], line[1])
	}
	if err := durable.WriteFile(o.readyFile, b.Bytes(), 0o644); err != nil {
		return access{}, fmt.Errorf("write -ready-file: %w", err)
	}
	return a, nil
}

// apiHost is the host and port by which clients reach the server.
func (o simOptions) apiHost(address string) string {
	host, port, err := net.SplitHostPort(address)
	switch {
	case err != nil: // not of a TCP address
		return address
	case len(o.names) > 0:
		host = o.names[0]
	case net.ParseIP(host).IsUnspecified():
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// greeting is what is printed once the server listens.
func (o simOptions) greeting(a access, children []*duotest.Account) string {
	var b strings.Builder
	fmt.Fprintf(&b, "duoctl sim: serving a simulated Duo Admin API at https://%s (seed %d)\n", a.host, o.seed)
	fmt.Fprintf(&b, "Each of %s has %d records of the last %v", strings.Join(o.logs, ", "), o.backlog, o.span)
	fmt.Fprintf(&b, " and gets %g more a second, shown after %v.\n", o.rate, o.delay)
	if n := len(children); n > 0 {
		fmt.Fprintf(&b, "So has each of %d child accounts, from %s at %s to %s at %s.\n", n, children[0].ID, children[0].Host, children[n-1].ID, children[n-1].Host)
	}
	b.WriteString("\n# storage.type filesystem needs a storage.path in [SERVICE]; fluent-bit.conf.example has one.\n" + o.input(a))
	b.WriteString("\nEvery start is a new Duo with a new CA: restart Fluent Bit too. It goes on from its checkpoints.\n")
	fmt.Fprintf(&b, "To begin anew, stop Fluent Bit and rm -r %s\n\n", a.checkpoints())
	return b.String()
}

// input is the [INPUT] section that points duo_in at the server.
func (o simOptions) input(a access) string {
	settings := [][2]string{
		{"name", "duo"},
		{"tag", "duo"},
		{"storage.type", "filesystem"},
		{"api_host", a.host},
		{"integration_key", duotest.IntegrationKey},
		{"secret_key", duotest.SecretKey},
		{"ca_file", a.caFile},
		{"checkpoint_dir", a.checkpoints()},
		{"logs", strings.Join(o.logs, ", ")},
		{"delay", o.delay.String()},
	}
	if o.children > 0 {
		settings = append(settings, [2]string{"accounts", "all"})
	}
	if o.span > 23*time.Hour { // duo_in begins 24 hours back by default
		settings = append(settings, [2]string{"since", min(o.span+time.Hour, duotest.Retention).String()})
	}
	if o.delay < 10*time.Second {
		settings = append(settings, [2]string{"poll_interval", "2s"})
	}
	var b strings.Builder
	b.WriteString("[INPUT]\n")
	for _, s := range settings {
		fmt.Fprintf(&b, "    %-16s %s\n", s[0], s[1])
	}
	return b.String()
}

// summary is the line that is printed at the end.
func summary(server *duotest.Server, served time.Duration) string {
	calls, records, refused := 0, 0, 0
	for _, log := range append(slices.Clone(knownLogs), "") {
		n := server.Count(log)
		calls, records, refused = calls+n.Calls, records+n.Records, refused+n.Calls-n.Status[200]
	}
	return fmt.Sprintf("duoctl sim: ended after %v: %d calls, %d of them refused, %d records served",
		served.Round(time.Millisecond), calls, refused, records)
}
