package main

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The files that migrate writes, and the variables that carry the keys from one to the other.
const (
	confName = "fluent-bit.conf"
	envName  = "duo_in.env"
	ikeyVar  = "DUO_INTEGRATION_KEY"
	skeyVar  = "DUO_SECRET_KEY"
)

// route is a group of logs that go to the same servers: an [INPUT] with a tag of its own.
type route struct {
	tag     string
	logs    []string
	servers []int
}

// routing returns the groups, in the order of the logs.
func (c dlsConfig) routing() (routes []route) {
	for _, l := range dlsLogs {
		to := c.routes[l.log]
		if len(to) == 0 {
			continue
		}
		i := slices.IndexFunc(routes, func(r route) bool { return slices.Equal(r.servers, to) })
		if i < 0 {
			routes = append(routes, route{servers: to})
			i = len(routes) - 1
		}
		routes[i].logs = append(routes[i].logs, l.log)
	}
	for i := range routes {
		routes[i].tag = "duo." + strings.Join(routes[i].logs, "-")
	}
	if len(routes) == 1 {
		routes[0].tag = "duo"
	}
	return routes
}

// confFile is a Fluent Bit configuration in classic mode as it grows.
type confFile struct{ strings.Builder }

// comment writes lines; what comes from elsewhere is quoted by the caller, so that it cannot end one.
func (f *confFile) comment(lines ...string) {
	for _, line := range lines {
		f.WriteString(strings.TrimRight("# "+line, " ") + "\n")
	}
}

// section writes a section of keys and values in turn; a key whose value is empty is left out.
func (f *confFile) section(name string, pairs ...string) {
	fmt.Fprintf(f, "[%s]\n", name)
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(f, "    %-20s %s\n", pairs[i], pairs[i+1])
		}
	}
}

// fluentBit returns the configuration that does what c does. Keys are not in it.
func (c dlsConfig) fluentBit(source, checkpointDir string) string {
	var f confFile
	f.comment(
		fmt.Sprintf("Made by duoctl migrate from %q of Duo Log Sync.", filepath.Base(source)),
		"",
		"The keys are in "+envName+", for its owner only. Fluent Bit gets them from its environment:",
		"    set -a; . ./"+envName+"; set +a",
		"    fluent-bit -e /usr/local/lib/duo_in.so -c "+confName,
		"or by EnvironmentFile= of a systemd unit, or by --env-file of Docker.",
	)
	if len(c.notes) > 0 {
		f.comment("", "What is different:")
		for _, n := range c.notes {
			f.comment("  - " + n)
		}
	}
	f.WriteString("\n")
	f.section("SERVICE",
		"flush", "1",
		"storage.path", filepath.Join(checkpointDir, "storage"),
		"storage.checksum", "off",
		"scheduler.cap", "60")
	routes := c.routing()
	for i, r := range routes {
		f.WriteString("\n")
		if i == 1 {
			f.comment("More than one [INPUT] of duo_in takes Fluent Bit 4.1 or newer.")
		}
		c.input(&f, r, checkpointDir)
	}
	for i, server := range c.servers {
		var tags []string
		for _, r := range routes {
			if slices.Contains(r.servers, i) {
				tags = append(tags, strings.TrimPrefix(r.tag, "duo."))
			}
		}
		if len(tags) > 0 {
			c.output(&f, server, tags)
		}
	}
	return f.String()
}

func (c dlsConfig) input(f *confFile, r route, checkpointDir string) {
	poll, proxy, accounts, format := "", "", "", ""
	if c.pause > 120*time.Second { // the least that Duo Log Sync can do; duo_in's 60 s are as gentle as Duo asks for
		poll = fmt.Sprintf("%gs", c.pause.Seconds())
	}
	if c.proxy != "" {
		proxy = "http://" + c.proxy
	}
	if c.msp {
		accounts = "all"
	}
	if c.cef {
		format = "cef"
	}
	f.section("INPUT",
		"name", "duo",
		"tag", r.tag,
		"storage.type", "filesystem",
		"api_host", c.host,
		"integration_key", "${"+ikeyVar+"}",
		"secret_key", "${"+skeyVar+"}",
		"accounts", accounts,
		"logs", strings.Join(r.logs, ", "),
		"since", c.since(),
		"poll_interval", poll,
		"checkpoint_dir", checkpointDir,
		"format", format,
		"proxy", proxy)
}

// since is what a log begins with that has no checkpoint.
func (c dlsConfig) since() string {
	if c.back == 0 {
		return "now"
	}
	return fmt.Sprintf("%gd", c.back)
}

// output writes the [OUTPUT] of a server. tags are those that go there, without their common beginning.
func (c dlsConfig) output(f *confFile, server dlsServer, tags []string) {
	f.WriteString("\n")
	f.comment("Server " + show(server.id) + ", " + server.protocol + ".")
	plugin, match, pattern := "tcp", "", ""
	tls := map[bool]string{true: "on"}[server.protocol == "TCPSSL"]
	switch {
	case tags[0] == "duo":
		match = "duo"
	case len(tags) == 1:
		match = "duo." + tags[0]
	default:
		pattern = `^duo\.(` + strings.Join(tags, "|") + `)$`
	}
	if server.protocol == "UDP" {
		plugin = "udp"
		f.comment("A datagram an event, as from Duo Log Sync: what the receiver or the network drops is lost. One of more",
			"than 65,507 bytes cannot be sent: Fluent Bit tries again and again, and each time sends those that came",
			"with it before it once more, and those behind it not at all. The name is looked up when Fluent Bit starts,",
			"which fails without an answer. Better have the server take TCP.")
	}
	format, dateKey, message := "json_lines", "false", ""
	if c.cef {
		format, dateKey, message = "", "", "$message"
		f.comment("A line begins with CEF:0, without Duo Log Sync's time and host name before it. If the receiver needs a",
			"syslog header, use the output syslog with syslog_message_key message, syslog_maxsize 65536 and",
			"syslog_hostname_key host.")
	}
	verifyName := tls
	switch isIP := net.ParseIP(server.host) != nil; {
	case tls != "" && isIP:
		verifyName = ""
		f.comment("The certificate must be of an authority in tls.ca_file. That it is for this address is checked only with",
			"tls.verify_hostname on, which works with an address from Fluent Bit 5.0.6 on.")
	case tls != "":
		f.comment("tls.verify_hostname: as Duo Log Sync does. It takes Fluent Bit 3.1 or newer.")
	}
	f.section("OUTPUT",
		"name", plugin,
		"match", match,
		"match_regex", pattern,
		"host", server.host,
		"port", fmt.Sprint(server.port),
		"tls", tls,
		"tls.verify", tls,
		"tls.verify_hostname", verifyName,
		"tls.ca_file", server.ca,
		"format", format,
		"json_date_key", dateKey,
		"raw_message_key", message,
		"retry_limit", "no_limits")
}

// environment returns the file with the keys.
func (c dlsConfig) environment() string {
	return fmt.Sprintf("# The keys of duo_in, for Fluent Bit's environment. Keep this file to its owner.\n%s=%s\n%s=%s\n",
		ikeyVar, c.ikey, skeyVar, c.skey.Reveal())
}
