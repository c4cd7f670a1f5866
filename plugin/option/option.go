// Package option is the table of duo_in's options: their names and defaults, what
// the README says of them, and how each is read and checked. It promises that a
// configuration's problems are all named at once, each with the key, the value and
// what is allowed, and that no secret is among what it says.
//
// It reads the files that options name and makes nothing. Where settings come
// from, and what becomes of them, is left to the plugin and to duoctl.
package option

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"duo_in/checkpoint"
	"duo_in/duo"
	"duo_in/plugin/record"
)

// Values are one [INPUT]'s settings, checked.
type Values struct {
	Credentials   duo.Credentials
	SecretKeyFile string
	Logs          []duo.Log
	Since         time.Time
	SinceText     string // as it was written, for the log
	Window        duo.Window
	CheckpointDir string // absolute
	Settle        time.Duration
	Format        record.Format
	Exclude       []string
	BatchSize     int           // bytes
	Timeout       time.Duration // of one API call
	Transport     duo.TransportConfig
	Accounts      Accounts
	Warnings      []string // what is allowed but probably not meant
}

// Accounts says whose logs are pulled: those of the account that the keys belong
// to, or, of a service provider's child accounts, those of all or of some.
type Accounts struct {
	All bool
	IDs []string
}

// Any reports whether it is child accounts.
func (a Accounts) Any() bool { return a.All || len(a.IDs) > 0 }

// Where streams are many, less is held of each.
const (
	seenOfChild = 2500 // what is remembered of the overlap
	pageOfChild = 500  // records per call, at most
)

// Row is one row of the table that everything about options comes from.
type Row struct {
	Name    string
	Aliases []string
	Default string // as a user would write it
	Initial string // what the README shows as the default where there is none
	Help    string // for the README, in Markdown
	set     func(o *Values, value string, now time.Time) error
}

// Table returns the options in the README's order.
func Table() []Row { return slices.Clone(table) }

// table is what Table returns. A set function sees the default where the option
// is not set, and is not called where there is none.
var table = []Row{
	{
		Name: "api_host", Initial: "required",
		Help: "The API hostname of the application: `api-XXXXXXXX.duosecurity.com` or `.duofederal.com`. A port may follow (a gateway, a test server).",
		set:  setHost,
	},
	{
		Name: "integration_key", Aliases: []string{"ikey"}, Initial: "required",
		Help: "The integration key of the Admin API application. `${ENV}` works, as everywhere in Fluent Bit.",
		set: func(o *Values, v string, _ time.Time) error {
			o.Credentials.IntegrationKey = v
			return keyShape(v)
		},
	},
	{
		Name: "secret_key", Aliases: []string{"skey"}, Initial: "required",
		Help: "Its secret key. Better kept out of the file: `${DUO_SECRET_KEY}`, or `secret_key_file`.",
		set: func(o *Values, v string, _ time.Time) error {
			o.Credentials.SecretKey = duo.NewSecret(v)
			return keyShape(v)
		},
	},
	{
		Name: "secret_key_file", Initial: "-",
		Help: "Read the secret key from this file instead (a Docker or Kubernetes secret, a systemd credential). Exactly one of the two.",
		set:  setSecretFile,
	},
	{
		Name: "logs", Default: "authentication, activity, telephony",
		Help: "Which [logs](#logs), separated by commas, or `all`, which leaves out those that Duo retires. One value, also in YAML: of several, Fluent Bit passes on only the first.",
		set:  setLogs,
	},
	{
		Name: "since", Default: "24h",
		Help: "How far back the very first run begins: a duration (`90m`, `30d`), a date (its first moment in UTC, whatever TZ says), an RFC 3339 time, or `now`; at most 180 days. Ignored once there is a checkpoint, which the first start makes.",
		set:  setSince,
	},
	durationOption("poll_interval", "60s", time.Second, 24*time.Hour,
		"Time from one poll of a log to its next, once caught up. Duo asks for no more than one call a minute.",
		func(o *Values) *time.Duration { return &o.Window.PollInterval }),
	durationOption("delay", "2m", 0, 24*time.Hour,
		"Do not ask for events younger than this: Duo needs it to be consistent.",
		func(o *Values) *time.Duration { return &o.Window.Delay }),
	durationOption("overlap", "5m", 0, 24*time.Hour,
		"Read this much again and drop what was delivered: events that Duo files late are not lost.",
		func(o *Values) *time.Duration { return &o.Window.Overlap }),
	{
		Name: "checkpoint_dir", Default: checkpoint.DefaultDir,
		Help: "Where the cursors live, on storage that outlasts the process. Files are made 0600 in folders 0700. On Windows the default is `%ProgramData%\\duo_in`.",
		set: func(o *Values, v string, _ time.Time) (err error) {
			o.CheckpointDir, err = filepath.Abs(v)
			return err
		},
	},
	durationOption("settle", "2s", 500*time.Millisecond, time.Minute,
		"How long Fluent Bit must have had the events, unpaused, before their cursor is saved.",
		func(o *Values) *time.Duration { return &o.Settle }),
	{
		Name: "format", Default: "json",
		Help: "[Shape of a record](#a-record). `json`: Duo's own object as it came, with `eventtype`, `host` and `event_id` added at the end. `flat`: the same on one level. `raw`: the same as one line of JSON in `message`. `cef`: ArcSight's Common Event Format in `message`.",
		set: func(o *Values, v string, _ time.Time) (err error) {
			o.Format, err = record.ParseFormat(v)
			return err
		},
	},
	{
		Name: "exclude", Initial: "-",
		Help: "Fields to leave out, as paths in Duo's record, whatever the format: `access_device.epkey, user.groups`. At most 100.",
		set: func(o *Values, v string, _ time.Time) (err error) {
			o.Exclude, err = record.ParseExclude(v)
			return err
		},
	},
	{
		Name: "page_size", Default: "1000",
		Help: "Records per call, 1 to 1000.",
		set: func(o *Values, v string, _ time.Time) error {
			n, err := strconv.Atoi(v)
			if err != nil || n < 1 || n > 1000 {
				return errors.New("give a whole number from 1 to 1000")
			}
			o.Window.PageSize = n
			return nil
		},
	},
	{
		Name: "batch_size", Default: "2M",
		Help: "Most bytes handed over at once, that is per second; 64K to 64M.",
		set: func(o *Values, v string, _ time.Time) (err error) {
			o.BatchSize, err = parseSize(v, 64<<10, 64<<20)
			return err
		},
	},
	durationOption("timeout", "30s", time.Second, 10*time.Minute,
		"How long one API call may take.",
		func(o *Values) *time.Duration { return &o.Timeout }),
	{
		Name: "proxy", Initial: "environment",
		Help: "HTTP proxy (CONNECT) as `http://[user:password@]host:port`; by default the one in `HTTPS_PROXY`, if any.",
		set:  setProxy,
	},
	{
		Name: "ca_file", Initial: "system",
		Help: "PEM file of further root certificates: an inspecting proxy's, a test server's. Verification cannot be switched off.",
		set: func(o *Values, v string, _ time.Time) error {
			o.Transport.CAFile = v
			_, err := duo.NewTransport(o.Transport)
			return err
		},
	},
	{
		Name: "accounts", Initial: "-",
		Help: "For managed service providers: pull the logs of child accounts, `all` or those of these account ids, separated by commas. The keys and `api_host` are then the parent's Accounts API application's. Duo is asked for the list of children every ten minutes: new ones are picked up. A record's `host` is its child's, and `account_id` is added. A call asks for at most 500 records. With ids, several inputs can share the work, and each log of each of them takes a file descriptor.",
		set:  setAccounts,
	},
}

// Getter returns an option's value as the configuration has it, "" where it is
// not set.
type Getter func(name string) string

// Parse reads and checks all options. The error joins every problem
// there is, each naming the key, the value and what is allowed.
func Parse(get Getter, now time.Time) (Values, error) {
	var o Values
	var problems []error
	for _, row := range table {
		key, value := lookup(get, row)
		if value == "" {
			value = row.Default
		}
		if value == "" {
			continue
		}
		if err := row.set(&o, value, now); err != nil {
			problems = append(problems, redacted(fmt.Errorf("%s %s: %w", key, quoteValue(row, value), err)))
		}
	}
	problems = append(problems, required(get)...)
	if len(problems) == 0 {
		o.warn()
	}
	o.warnTypos(get)
	return o, errors.Join(problems...)
}

// lookup returns the name under which an option is set, its own before its
// aliases, and the value.
func lookup(get Getter, row Row) (key, value string) {
	for _, name := range append([]string{row.Name}, row.Aliases...) {
		if v := strings.TrimSpace(get(name)); v != "" {
			return name, v
		}
	}
	return row.Name, ""
}

// quoteValue shows a value in an error, unless it is or may hold a secret.
func quoteValue(row Row, value string) string {
	secret := row.Name == "secret_key" || secretShape.MatchString(strings.Trim(value, "\"'` "))
	if secret || row.Name == "proxy" && !safeProxy.MatchString(value) {
		return duo.Secret{}.String()
	}
	return strconv.Quote(value)
}

// redacted leaves out of an error what looks like a secret key: a cause can quote
// the value, or a part of it.
func redacted(err error) error {
	if text := err.Error(); secretWord.MatchString(text) {
		return errors.New(secretWord.ReplaceAllString(text, duo.Secret{}.String()))
	}
	return err
}

// required names what is missing, or there twice.
func required(get Getter) (problems []error) {
	missing := map[string]bool{}
	for _, row := range table {
		_, v := lookup(get, row)
		missing[row.Name] = v == ""
	}
	const hint = "; if it comes from an environment variable, that variable is not set"
	if missing["api_host"] {
		problems = append(problems, errors.New("api_host is missing: set it to the API hostname of the Admin API application, api-XXXXXXXX.duosecurity.com"+hint))
	}
	if missing["integration_key"] {
		problems = append(problems, errors.New("integration_key is missing: set it to that of the Admin API application"+hint))
	}
	switch {
	case missing["secret_key"] && missing["secret_key_file"]:
		problems = append(problems, errors.New("secret_key is missing: set it, or secret_key_file, to that of the Admin API application"+hint))
	case !missing["secret_key"] && !missing["secret_key_file"]:
		problems = append(problems, errors.New("secret_key and secret_key_file are both set: keep one of them"))
	}
	return problems
}

// warnTypos collects what may have been meant for an option; a missing one may
// be among it.
func (o *Values) warnTypos(get Getter) {
	typos := likelyTypos(get)
	for _, typo := range slices.Sorted(maps.Keys(typos)) {
		o.Warnings = append(o.Warnings, fmt.Sprintf("%s is not an option of duo_in and has no effect; did you mean %s?", typo, typos[typo]))
	}
}

// warn collects what is allowed but probably not meant.
func (o *Values) warn() {
	add := func(format string, args ...any) { o.Warnings = append(o.Warnings, fmt.Sprintf(format, args...)) }
	if o.Window.PollInterval < 10*time.Second {
		add("poll_interval %s: Duo asks for no more than one call a minute and log, and limits those who make more", o.Window.PollInterval)
	}
	if o.Window.Delay < 2*time.Minute {
		add("delay %s: Duo's logs are consistent only after 2m; events filed later than delay and overlap together can be missed", o.Window.Delay)
	}
	for _, l := range o.Logs {
		if l.Successor != "" && o.reads(l.Successor) {
			add("logs: %s beside %s brings its events twice, in two forms; Duo retires %s", l.Name, l.Successor, l.Name)
		}
	}
	if h := o.Credentials.Host; h != "" && !duo.IsOwnHost(h) {
		add("api_host %q is not one of Duo's own; that is right only for a gateway or a test server", h)
	}
	if v := os.Getenv("HTTPS_PROXY"); v != "" && o.Transport.Proxy == nil {
		if _, err := url.Parse(v); err != nil {
			add("the environment's HTTPS_PROXY cannot be read and is ignored; write special characters of a password as %%XX, or set proxy")
		}
	}
	if f := o.SecretKeyFile; f != "" && readByOthers(f) {
		add("secret_key_file %s can be read by others (mode %04o); make it 0600, or 0640 with a group of duo_in's own", f, permissions(f))
	}
	if f := o.Transport.CAFile; f != "" && permissions(f)&0o002 != 0 {
		add("ca_file %s can be written to by every user (mode %04o), who could have another server taken for Duo; chmod o-w it", f, permissions(f))
	}
}

var (
	// safeProxy is a proxy's address that has no place for a password.
	safeProxy = regexp.MustCompile(`^([a-z0-9]+://)?[A-Za-z0-9.-]+(:[0-9]+)?/?$`)
	// secretShape is that of a secret key, as no path is likely to be.
	secretShape = regexp.MustCompile(`^[0-9A-Za-z]{40}$`)
	secretWord  = regexp.MustCompile(`\b[0-9A-Za-z]{40}\b`)
)

func setHost(o *Values, v string, _ time.Time) (err error) {
	if o.Credentials.Host, err = duo.ParseHost(v); err != nil {
		return fmt.Errorf("%w; give the API hostname alone, such as api-XXXXXXXX.duosecurity.com (the Admin Panel shows it with the keys)", err)
	}
	return nil
}

// keyShape refuses what cannot be a key: pasted blanks and quotes.
func keyShape(v string) error {
	if strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\'' || r == ':' }) {
		return errors.New("a key consists of letters and digits; paste it without blanks and quotes")
	}
	return nil
}

// setSecretFile reads the secret at once, so that a later change of the file
// needs a restart, as a change of the configuration does.
func setSecretFile(o *Values, v string, _ time.Time) error {
	const most = 4 << 10
	info, err := os.Stat(v)
	switch {
	case err != nil && secretShape.MatchString(v):
		return errors.New("this looks like the secret key itself; give it as secret_key, or the path of a file that holds it")
	case err != nil:
		return unreadable(err)
	case !info.Mode().IsRegular() || info.Size() > most:
		// A pipe could hold up the start for ever.
		return fmt.Errorf("not a file of at most %d bytes; it must hold the secret key alone", most)
	}
	b, err := os.ReadFile(v)
	if err != nil {
		return unreadable(err)
	}
	secret := strings.TrimSpace(string(b))
	if secret == "" {
		return errors.New("the file is empty; it must hold the secret key alone")
	}
	o.Credentials.SecretKey, o.SecretKeyFile = duo.NewSecret(secret), v
	return keyShape(secret)
}

// unreadable says why the file of a secret cannot be read; that of a container's is often another user's.
func unreadable(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("cannot be read: %w; the user that runs Fluent Bit must be able to read it", err)
	}
	return fmt.Errorf("cannot be read: %w", err)
}

func setLogs(o *Values, v string, _ time.Time) error {
	var unknown []string
	for name := range strings.SplitSeq(v, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		found, err := namedLogs(name)
		if err != nil {
			unknown = append(unknown, err.Error())
		}
		for _, l := range found {
			if !o.reads(l.Name) {
				o.Logs = append(o.Logs, l)
			}
		}
	}
	if len(o.Logs) == 0 && len(unknown) == 0 {
		return errors.New("no log is named")
	}
	if len(unknown) > 0 && len(strings.Fields(v)) > 1 && !strings.Contains(v, ",") {
		unknown = append(unknown, "separate several by commas")
	}
	if len(unknown) > 0 {
		return errors.New(strings.Join(unknown, "; "))
	}
	return nil
}

// namedLogs returns the log of a name; for "all" those that Duo has not
// retired, since the events of the others are in them too.
func namedLogs(name string) ([]duo.Log, error) {
	if strings.EqualFold(name, "all") {
		return slices.DeleteFunc(duo.Logs(), func(l duo.Log) bool { return l.Successor != "" }), nil
	}
	l, err := duo.LookupLog(name)
	if err != nil {
		return nil, err
	}
	return []duo.Log{l}, nil
}

// reads reports whether a log is one of those that are pulled.
func (o *Values) reads(log string) bool {
	return slices.ContainsFunc(o.Logs, func(l duo.Log) bool { return l.Name == log })
}

func setAccounts(o *Values, v string, _ time.Time) error {
	for id := range strings.SplitSeq(v, ",") {
		switch id = strings.TrimSpace(id); {
		case id == "":
		case strings.EqualFold(id, "all"):
			o.Accounts.All = true
		case !duo.AccountID.MatchString(id), strings.EqualFold(id, "self"):
			return errors.New("an account id is made of at most 32 letters and digits, such as DAXXXXXXXXXXXXXXXXXX; separate several by commas")
		case !slices.Contains(o.Accounts.IDs, id):
			o.Accounts.IDs = append(o.Accounts.IDs, id)
		}
	}
	if o.Accounts.All == (len(o.Accounts.IDs) > 0) {
		return errors.New("give all, or the ids of child accounts, separated by commas")
	}
	o.Window.MaxSeen, o.Window.PageSize = seenOfChild, min(o.Window.PageSize, pageOfChild)
	return nil
}

func setSince(o *Values, v string, now time.Time) error {
	const max = 180 * 24 * time.Hour
	t, err := parseSince(v, now)
	switch {
	case err != nil:
		return err
	case t.After(now):
		return errors.New("this is in the future")
	case now.Sub(t) > max:
		return errors.New("further back than the 180 days that Duo keeps; give at most 180d")
	}
	o.Since, o.SinceText = t, v
	return nil
}

func parseSince(v string, now time.Time) (time.Time, error) {
	if strings.EqualFold(v, "now") {
		return now, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, v); err == nil {
			return t, nil
		}
	}
	d, err := parseDuration(v)
	if err != nil {
		return time.Time{}, errors.New("give a duration (90m, 30d), a date (2006-01-02), an RFC 3339 time, or now")
	}
	return now.Add(-d), nil
}

func setProxy(o *Values, v string, _ time.Time) error {
	u, err := url.Parse(v)
	if err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") || strings.Trim(u.Path, "/")+u.RawQuery+u.Fragment != "" {
		// The cause is left out: it repeats the value, which may hold a password.
		return errors.New("give it as http://host:port")
	}
	o.Transport.Proxy = u
	return nil
}

// durationOption is a row whose value is a duration within bounds.
func durationOption(name, def string, min, max time.Duration, help string, field func(*Values) *time.Duration) Row {
	return Row{Name: name, Default: def, Help: help, set: func(o *Values, v string, _ time.Time) error {
		d, err := parseDuration(v)
		if err != nil {
			return fmt.Errorf("give a number with its unit (s, m, h, d), such as %s", def)
		}
		if d < min || d > max {
			return fmt.Errorf("give a duration from %s to %s", shortDuration(min), shortDuration(max))
		}
		*field(o) = d
		return nil
	}}
}

// parseDuration reads Go's durations, and days.
func parseDuration(v string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(v, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || !(n >= 0 && n <= 1e5) { // NaN is neither
			return 0, errors.New("not a number of days")
		}
		return time.Duration(n * 24 * float64(time.Hour)), nil
	}
	d, err := time.ParseDuration(v)
	if err == nil && d < 0 {
		return 0, errors.New("negative")
	}
	return d, err
}

// shortDuration writes 24h0m0s as 24h.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// parseSize reads bytes with Fluent Bit's units K, M and G, here powers of
// 1024.
func parseSize(v string, min, max int) (int, error) {
	digits := strings.TrimSuffix(strings.ToUpper(v), "B")
	unit := 1
	for i, suffix := range []string{"K", "M", "G"} {
		if d, ok := strings.CutSuffix(digits, suffix); ok {
			digits, unit = d, 1<<(10*(i+1))
			break
		}
	}
	n, err := strconv.Atoi(strings.TrimSpace(digits))
	if err != nil || n < 0 || n > max {
		return 0, fmt.Errorf("give a number of bytes such as 512K or 2M, from %s to %s", sizeText(min), sizeText(max))
	}
	if n *= unit; n < min || n > max {
		return 0, fmt.Errorf("give a size from %s to %s", sizeText(min), sizeText(max))
	}
	return n, nil
}

func sizeText(n int) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%dM", n>>20)
	}
	return fmt.Sprintf("%dK", n>>10)
}
