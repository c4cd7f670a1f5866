package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"duo_in/duo"
	"duo_in/plugin/option"
)

const checkHelp = `usage: duoctl check [-json] -c fluent-bit.conf
       duoctl check [-json] [flags]

Tells whether duo_in will work, before anything is started: its configuration, the way to Duo, the clock, the keys, the
permission for each log, the checkpoints, and what the rest of the configuration has to do with losing nothing. A line for
each, ok, warn, FAIL or skipped, with what to do. It asks Duo for one record of each log, by the plugin's own way, and makes
and changes nothing. Run it as the user that Fluent Bit runs as, with the same environment.

With -c it checks each [INPUT] of duo_in in a Fluent Bit configuration, in classic mode or, as .yaml or .yml, in YAML.
Without, it takes the settings from the flags and from DUO_API_HOST, DUO_INTEGRATION_KEY and DUO_SECRET_KEY; there is no flag
for a secret, which others could read in the list of processes.

The exit status is 0 if nothing FAILed, 1 if something did, 2 if the command line is wrong. Duo allows about one call a minute
for each log: a check soon after another, or beside a collector that runs, may get a warning that says so.

-json prints an object: ok, failed and warned (counts), inputs, a list of {input, place, checks}; a check is {check, result,
text} with result ok, warn, fail or skipped, and where they apply log, account, http_status, duo_code, skew_seconds, issuer.
The checks are configuration, name, connection, certificate, clock, keys, accounts, log, checkpoints, storage and outputs.

examples:
  duoctl check -c /etc/fluent-bit/fluent-bit.conf
  duoctl check -api-host api-XXXXXXXX.duosecurity.com -integration-key DIXXXXXXXXXXXXXXXXXX -secret-key-file skey
`

// checkFlags are the options that have a flag, each with what its help says, and checkVars those that a variable can set.
var (
	checkFlags = map[string]string{
		"api_host":        "`host` of the Admin API application; else DUO_API_HOST",
		"integration_key": "`key` of the application; else DUO_INTEGRATION_KEY",
		"secret_key_file": "`file` that holds the secret key; else DUO_SECRET_KEY",
		"logs":            "`logs`, separated by commas, or all (default authentication, activity, telephony)",
		"accounts":        "all, or `ids` of a service provider's child accounts; the keys are then the Accounts API's",
		"proxy":           "HTTP proxy, http://`host:port`; else that of HTTPS_PROXY. One with a password belongs there",
		"ca_file":         "PEM `file` of further roots",
		"timeout":         "`time` that one call may take (default 30s)",
		"checkpoint_dir":  "`folder` of the checkpoints; else they are not checked",
	}
	checkVars = map[string]string{"api_host": "DUO_API_HOST", "integration_key": "DUO_INTEGRATION_KEY", "secret_key": "DUO_SECRET_KEY"}
)

// runCheck checks a configuration, or the settings of the command line.
func runCheck(args []string, stdout, _ io.Writer) error {
	f := flag.NewFlagSet("check", flag.ContinueOnError)
	conf := f.String("c", "", "`file` that is Fluent Bit's configuration")
	asJSON := f.Bool("json", false, "print an object in JSON")
	given := map[string]*string{} // by option
	for _, row := range option.Table() {
		if help := checkFlags[row.Name]; help != "" {
			given[row.Name] = f.String(flagName(row.Name), "", help)
		}
	}
	if err := parse(f, args, stdout, checkHelp); err != nil {
		return err
	}
	for name, value := range given {
		if *conf != "" && *value != "" {
			return usageError{fmt.Errorf("-%s %q: with -c the settings are those of the file", flagName(name), *value)}
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second one ends the process
	c := checker{ctx: ctx}
	if *conf != "" {
		c.checkFile(*conf)
	} else {
		c.checkSettings(given)
	}
	return c.report(stdout, *asJSON)
}

func flagName(option string) string { return strings.ReplaceAll(option, "_", "-") }

// checker collects what was found out about each input.
type checker struct {
	ctx    context.Context
	inputs []*checked
}

// begin adds an input.
func (c *checker) begin(name, place string) *checked {
	in := &checked{Input: name, Place: place, Checks: []finding{}}
	in.hide(os.Getenv("DUO_SECRET_KEY"))
	c.inputs = append(c.inputs, in)
	return in
}

// checkSettings checks what flags and environment say.
func (c *checker) checkSettings(given map[string]*string) {
	in := c.begin("", "flags and environment")
	get := func(name string) string {
		value := ""
		if v := given[name]; v != nil {
			value = *v
		}
		if secretFile := given["secret_key_file"]; name == "secret_key" && *secretFile != "" {
			return "" // what is said explicitly counts
		}
		return cmp.Or(value, os.Getenv(checkVars[name]))
	}
	v, ok := in.configuration(get, time.Now())
	in.network(c.ctx, v, ok)
	if ok && *given["checkpoint_dir"] != "" {
		in.checkpoints(c.ctx, v)
	}
}

// checkFile checks each input of duo_in in a configuration.
func (c *checker) checkFile(path string) {
	conf, err := readConfig(path)
	if err != nil {
		c.begin("", path).fail(stepConfiguration, "%v", err)
		return
	}
	ours := conf.ours()
	if len(ours) == 0 {
		c.begin("", path).fail(stepConfiguration, "no [INPUT] in it has name duo")
	}
	var owners []owner
	for i, s := range ours {
		in := c.begin(fmt.Sprintf("duo.%d", i), s.place)
		in.hide(conf.first(s, "secret_key"))
		in.hide(conf.first(s, "skey"))
		v, ok := in.configuration(conf.getter(s), time.Now())
		in.surroundings(conf, s, len(ours))
		if ok {
			owners = in.rivals(v, owners)
		}
		in.network(c.ctx, v, ok)
		if ok {
			in.checkpoints(c.ctx, v)
			in.storage(c.ctx, conf, s, v)
		}
		in.outputs(conf, s)
	}
}

// configuration checks the options, and says all that is wrong with them.
func (in *checked) configuration(get option.Getter, now time.Time) (v option.Values, ok bool) {
	v, err := option.Parse(get, now)
	in.hide(v.Credentials.SecretKey.Reveal())
	if v.Transport.Proxy != nil {
		password, _ := v.Transport.Proxy.User.Password()
		in.hide(password)
	}
	for _, problem := range joined(err) {
		in.fail(stepConfiguration, "%v", problem)
	}
	if err == nil {
		in.pass(stepConfiguration, "%s of %s", names(v.Logs), v.Credentials.Host)
	}
	for _, w := range v.Warnings {
		in.warn(stepConfiguration, "%s", w)
	}
	return v, err == nil
}

func names(logs []duo.Log) string {
	var all []string
	for _, l := range logs {
		all = append(all, l.Name)
	}
	return strings.Join(all, ", ")
}

// joined takes joined errors apart.
func joined(err error) []error {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		return several.Unwrap()
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// verdict is how a check went.
type verdict string

const (
	resultOK      verdict = "ok"
	resultWarn    verdict = "warn"
	resultFail    verdict = "fail"
	resultSkipped verdict = "skipped"
)

// The checks, in their order.
const (
	stepConfiguration = "configuration"
	stepName          = "name"
	stepConnection    = "connection"
	stepCertificate   = "certificate"
	stepClock         = "clock"
	stepKeys          = "keys"
	stepAccounts      = "accounts"
	stepLog           = "log"
	stepCheckpoints   = "checkpoints"
	stepStorage       = "storage"
	stepOutputs       = "outputs"
)

// finding is one line of the report.
type finding struct {
	Check   string   `json:"check"`
	Log     string   `json:"log,omitempty"`
	Account string   `json:"account,omitempty"`
	Result  verdict  `json:"result"`
	Text    string   `json:"text"`
	Status  int      `json:"http_status,omitempty"`
	Code    int      `json:"duo_code,omitempty"`
	Skew    *float64 `json:"skew_seconds,omitempty"` // more than 0: this machine's clock is ahead
	Issuer  string   `json:"issuer,omitempty"`
}

// subject is what a line is about.
func (f finding) subject() string {
	switch {
	case f.Log != "" && f.Account != "":
		return f.Log + " of " + f.Account
	case f.Log != "":
		return f.Log
	}
	return f.Check
}

// checked is what was found out about one input.
type checked struct {
	Input  string       `json:"input"` // as the plugin's log calls it; "" if it is none of a file
	Place  string       `json:"place"`
	Checks []finding    `json:"checks"`
	hidden []duo.Secret // which appear nowhere
}

// hide keeps a secret out of all that is said from now on.
func (in *checked) hide(secret string) {
	if secret != "" {
		in.hidden = append(in.hidden, duo.NewSecret(secret))
	}
}

// add notes a finding. What comes from a server or a file can neither show a secret nor steer a terminal.
func (in *checked) add(f finding) {
	f.Text, f.Issuer = in.clean(f.Text), in.clean(f.Issuer)
	in.Checks = append(in.Checks, f)
}

func (in *checked) pass(check, format string, args ...any) { in.say(check, resultOK, format, args) }
func (in *checked) warn(check, format string, args ...any) { in.say(check, resultWarn, format, args) }
func (in *checked) fail(check, format string, args ...any) { in.say(check, resultFail, format, args) }
func (in *checked) skip(check, format string, args ...any) {
	in.say(check, resultSkipped, format, args)
}

func (in *checked) say(check string, r verdict, format string, args []any) {
	in.add(finding{Check: check, Result: r, Text: fmt.Sprintf(format, args...)})
}

// clean makes one printable line of a text, without secrets.
func (in *checked) clean(text string) string {
	const most = 2000 // bytes
	for _, secret := range in.hidden {
		text = strings.ReplaceAll(text, secret.Reveal(), secret.String())
	}
	text = strings.Map(printable, strings.ToValidUTF8(text, "\uFFFD"))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + " ..."
	}
	return text
}

// count returns how many findings of all inputs went so.
func (c *checker) count(r verdict) (n int) {
	for _, in := range c.inputs {
		for _, f := range in.Checks {
			if f.Result == r {
				n++
			}
		}
	}
	return n
}

// report prints what was found out. Its error says how much is wrong.
func (c *checker) report(w io.Writer, asJSON bool) error {
	failed := c.count(resultFail)
	interrupted := c.ctx.Err() != nil
	var err error
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		err = enc.Encode(struct {
			OK     bool       `json:"ok"`
			Failed int        `json:"failed"`
			Warned int        `json:"warned"`
			Inputs []*checked `json:"inputs"`
		}{failed == 0 && !interrupted, failed, c.count(resultWarn), c.inputs})
	} else {
		_, err = io.WriteString(w, c.text())
	}
	switch {
	case err != nil:
		return err
	case interrupted:
		return errors.New("interrupted")
	case failed > 0:
		return fmt.Errorf("checks that FAILed: %d", failed)
	}
	return nil
}

// text is the report for people: a line for each finding.
func (c *checker) text() string {
	var b strings.Builder
	for i, in := range c.inputs {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintln(&b, strings.TrimPrefix(in.Input+": "+in.clean(in.Place), ": "))
		width := 0
		for _, f := range in.Checks {
			width = max(width, len(f.subject()))
		}
		for _, f := range in.Checks {
			mark := string(f.Result)
			if f.Result == resultFail {
				mark = "FAIL"
			}
			fmt.Fprintf(&b, "  %-7s  %-*s  %s\n", mark, width, f.subject(), f.Text)
		}
	}
	return b.String()
}
