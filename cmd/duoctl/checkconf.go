package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"duo_in/checkpoint"
	"duo_in/duo"
	"duo_in/plugin/option"
)

// diskWait is how long a look at folders may take: a volume of the network that is out of reach takes for ever.
const diskWait = 10 * time.Second

// printable keeps a text on its line.
func printable(r rune) rune {
	if !unicode.IsPrint(r) {
		return ' '
	}
	return r
}

// on reports whether a value means yes to Fluent Bit (src/flb_utils.c:flb_utils_bool).
func on(v string) bool {
	return strings.EqualFold(v, "on") || strings.EqualFold(v, "true") || strings.EqualFold(v, "yes")
}

// surroundings looks at what is around the options: keys that nobody knows or that Fluent Bit does not start with.
func (in *checked) surroundings(conf *flbConfig, s *flbSection, inputs int) {
	var keys []string
	for _, p := range s.props {
		keys = append(keys, p.key)
		if p.items > 1 {
			in.warn(stepConfiguration, "%s: of a list of %d Fluent Bit passes on the first only; write them in one value, with commas", p.key, p.items)
		}
		if strings.HasPrefix(p.key, "net.") || p.key == "tls" && on(conf.expand(p.value)) {
			in.fail(stepConfiguration, "%s: Fluent Bit does not start with it in the input of a Go plugin; take it out", p.key)
		}
	}
	for _, key := range option.Unknown(keys) {
		in.warn(stepConfiguration, "%.80q is an option of neither duo_in nor Fluent Bit and has no effect", key)
	}
	for _, name := range sortedKeys(conf.unset) {
		in.warn(stepConfiguration, "the environment variable %.80q is not set here", name)
	}
	for _, note := range conf.notes {
		in.warn(stepConfiguration, "%s", note)
	}
	if on(conf.last(&conf.service, "daemon")) {
		in.fail(stepConfiguration, "[SERVICE] daemon on: Go plugins cannot run in a Fluent Bit that puts itself into the background; let a service manager do it")
	}
	if threaded := conf.last(s, "threaded"); inputs > 1 && threaded != "" && !on(threaded) {
		in.fail(stepConfiguration, "threaded %s: several duo inputs need a thread each; take it out", threaded)
	}
}

func sortedKeys(m map[string]bool) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// owner is an input that reads a log.
type owner struct {
	name, dir, host, account, log string // account: "self", an id, or "all" children
}

// rivals fails where an input before this one reads the same log with the same checkpoints: the second is refused. It returns
// the owners with this one's.
func (in *checked) rivals(v option.Values, owners []owner) []owner {
	accounts := v.Accounts.IDs
	if v.Accounts.All {
		accounts = []string{"all"}
	} else if len(accounts) == 0 {
		accounts = []string{"self"}
	}
	host := v.Credentials.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	var mine []owner
	for _, l := range v.Logs {
		for _, a := range accounts {
			o := owner{in.Input, v.CheckpointDir, host, a, l.Name}
			i := slices.IndexFunc(owners, o.collides)
			if mine = append(mine, o); i >= 0 {
				in.fail(stepConfiguration, "%s is read by %s too, with the same checkpoint_dir: let only one of the two pull this log", l.Name, owners[i].name)
				break
			}
		}
	}
	return append(owners, mine...)
}

func (o owner) collides(p owner) bool {
	same := o.account == p.account || o.account != "self" && p.account != "self" && (o.account == "all" || p.account == "all")
	return same && o.dir == p.dir && o.host == p.host && o.log == p.log
}

// patiently runs what looks at folders, unless that takes too long: then it goes on in vain, until the process ends.
func (in *checked) patiently(ctx context.Context, check string, look func(found *checked)) {
	found := &checked{hidden: in.hidden}
	done := make(chan struct{})
	go func() { defer close(done); look(found) }()
	select {
	case <-done:
		in.Checks = append(in.Checks, found.Checks...)
	case <-ctx.Done():
		in.skip(check, becauseInterrupted)
	case <-time.After(diskWait):
		in.fail(check, "the volume does not answer within %s", diskWait)
	}
}

// checkpoints looks at checkpoint_dir, and at who has what is in it.
func (in *checked) checkpoints(ctx context.Context, v option.Values) {
	in.patiently(ctx, stepCheckpoints, func(found *checked) {
		missing, unsafe, err := checkpoint.Inspect(v.CheckpointDir)
		switch {
		case err != nil:
			found.fail(stepCheckpoints, "%v", err)
			return
		case missing:
			found.pass(stepCheckpoints, "%s is to be made, and can be; each log begins at since, %s", v.CheckpointDir, v.SinceText)
			return
		}
		for _, w := range unsafe {
			found.warn(stepCheckpoints, "%s", w)
		}
		found.cursors(v)
		for _, l := range v.Logs {
			if held := holders(v, l); held != nil {
				found.add(finding{Check: stepCheckpoints, Log: l.Name, Result: resultWarn, Text: fmt.Sprintf(
					"its checkpoint is held by %s, pid %d: fine if that is the Fluent Bit that this configuration is of, else it would be refused",
					cmp.Or(held.Owner, "another process"), held.PID)})
			}
		}
	})
}

// holders returns who has a log's checkpoint.
func holders(v option.Values, l duo.Log) *checkpoint.LockedError {
	st := checkpoint.Stream{Host: v.Credentials.Host, Log: l.Name}
	if !v.Accounts.Any() {
		return checkpoint.Holder(v.CheckpointDir, st)
	}
	held := checkpoint.FamilyHolder(v.CheckpointDir, st, v.Accounts.All)
	for _, id := range v.Accounts.IDs {
		if st.Account = id; held == nil {
			held = checkpoint.Holder(v.CheckpointDir, st)
		}
	}
	return held
}

// cursors says which checkpoints of this input there are, and whether they can be used.
func (in *checked) cursors(v option.Values) {
	entries, err := checkpoint.List(v.CheckpointDir)
	if err != nil {
		in.fail(stepCheckpoints, "%v: run this as the user that Fluent Bit runs as", err)
		return
	}
	host := v.Credentials.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	n := 0
	for _, e := range entries {
		mine := strings.EqualFold(e.Stream.Host, host) && slices.ContainsFunc(v.Logs, func(l duo.Log) bool { return l.Name == e.Stream.Log }) &&
			(e.Stream.Account == "self") != v.Accounts.Any() && (len(v.Accounts.IDs) == 0 || slices.Contains(v.Accounts.IDs, e.Stream.Account))
		if !mine {
			continue
		}
		n++
		s := look(e, time.Now())
		switch usable := s.Previous != nil && s.Previous.Error == ""; {
		case s.Current.Error != "" && usable:
			in.warn(stepCheckpoints, "%s: %s; the one before it is used", s.File, s.Current.Error)
		case s.Current.Error != "":
			in.fail(stepCheckpoints, "%s: %s: that log is not pulled; restore the file from a backup, or remove it to begin again from since", s.File, s.Current.Error)
		}
	}
	begin := fmt.Sprintf("there is no checkpoint in it yet, so each log begins at since, %s", v.SinceText)
	if n > 0 {
		begin = fmt.Sprintf("logs that go on from their checkpoints in it: %d; any other begins at since, %s", n, v.SinceText)
	}
	in.pass(stepCheckpoints, "%s is there and can be written to; %s", v.CheckpointDir, begin)
}

// storage looks at where Fluent Bit keeps what is not delivered yet.
func (in *checked) storage(ctx context.Context, conf *flbConfig, s *flbSection, v option.Values) {
	path := conf.last(&conf.service, "storage.path")
	switch kind := conf.last(s, "storage.type"); {
	case !strings.EqualFold(kind, "filesystem"):
		in.warn(stepStorage, "storage.type is not filesystem: what is not delivered when Fluent Bit ends is lost; set it in this [INPUT], and storage.path in [SERVICE]")
		return
	case path == "":
		in.fail(stepStorage, "storage.type filesystem needs storage.path in [SERVICE], or Fluent Bit does not start")
		return
	}
	fine := true
	if on(conf.last(&conf.service, "storage.checksum")) {
		in.warn(stepStorage, "storage.checksum on: a kill loses what was written last; take it out")
		fine = false
	}
	in.patiently(ctx, stepStorage, func(found *checked) {
		if same, known := sameVolume(path, v.CheckpointDir); known && !same {
			found.warn(stepStorage, "storage.path %s is not on the volume of checkpoint_dir %s: where one is lost or restored without the other, events are missing", path, v.CheckpointDir)
		} else if fine {
			found.pass(stepStorage, "on disk in %s, without a checksum", path)
		}
	})
}

// outputs looks at whether each output that gets the events tries until it has delivered them.
func (in *checked) outputs(conf *flbConfig, s *flbSection) {
	tag := cmp.Or(conf.last(s, "tag"), fmt.Sprintf("duo.%d", slices.Index(conf.inputs, s)))
	retagged := slices.ContainsFunc(conf.filters, func(f *flbSection) bool { return strings.EqualFold(conf.first(f, "name"), "rewrite_tag") })
	n, limited := 0, 0
	for _, o := range conf.outputs {
		if !retagged && !conf.gets(o, tag) {
			continue
		}
		n++
		for _, v := range conf.unsetIn(o) {
			in.warn(stepOutputs, "%s (%s): the environment variable %.80q is not set here", conf.first(o, "name"), o.place, v)
		}
		if name := conf.first(o, "name"); !patient(name, conf.last(o, "retry_limit")) {
			limited++
			in.warn(stepOutputs, "%s (%s): %s", name, o.place, impatience(name, conf.last(o, "retry_limit")))
		}
	}
	switch {
	case n == 0:
		in.warn(stepOutputs, "no [OUTPUT] matches the tag %.80q, so that the events go nowhere", tag)
	case limited == 0:
		in.pass(stepOutputs, "outputs that get the events: %d; each tries until it has delivered them", n)
	}
}

// unsetIn returns the variables that a section asks for and that are not there.
func (c *flbConfig) unsetIn(s *flbSection) []string {
	probe := flbConfig{vars: c.vars, unset: map[string]bool{}}
	for _, p := range s.props {
		probe.expand(p.value)
	}
	return sortedKeys(probe.unset)
}

// patient reports whether an output with this retry_limit tries until it has delivered. To s3 no_limits is 5
// (plugins/out_s3/s3.c:cb_s3_init): it takes a number that it never comes to.
func patient(output, limit string) bool {
	if strings.EqualFold(output, "s3") {
		n, err := strconv.ParseInt(limit, 10, 32)
		return err == nil && n >= 1_000_000
	}
	return slices.Contains([]string{"no_limits", "false", "off"}, strings.ToLower(limit))
}

// impatience says what comes of an output that is not patient.
func impatience(output, limit string) string {
	limit = cmp.Or(limit, "1, Fluent Bit's default")
	if strings.EqualFold(output, "s3") {
		return "retry_limit is " + limit + ": after so many tries, which is five with no_limits, what it cannot deliver stays in store_dir; set 1000000000"
	}
	return "retry_limit is " + limit + ": what it cannot deliver in so many tries is thrown away; set no_limits"
}

// gets reports whether an output gets what has a tag. A pattern that Go does not read is taken to match.
func (c *flbConfig) gets(o *flbSection, tag string) bool {
	match, pattern := c.last(o, "match"), c.last(o, "match_regex")
	if match == "" && pattern == "" {
		return len(c.inputs) == 1 && len(c.outputs) == 1 // src/flb_router.c:flb_router_io_set
	}
	if pattern != "" {
		re, err := regexp.Compile(`^(?:` + pattern + `)`)
		if err != nil || re.FindString(tag) != "" {
			return true
		}
	}
	parts := strings.Split(match, "*")
	for i, part := range parts {
		parts[i] = regexp.QuoteMeta(part)
	}
	whole, err := regexp.Compile("^(?s:" + strings.Join(parts, ".*") + ")$")
	return match != "" && err == nil && whole.MatchString(tag)
}
