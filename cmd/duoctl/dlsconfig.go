package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"duo_in/duo"

	"go.yaml.in/yaml/v3"
)

// dlsVersion is the one version that Duo Log Sync's configuration has had since that has a version.
const dlsVersion = "1.0.0"

// dlsLog is a log by Duo Log Sync's name and by duo_in's.
type dlsLog struct{ endpoint, log string }

// dlsLogs are what endpoints may name. Versions before 2.4 knew adminaction.
var dlsLogs = []dlsLog{
	{"auth", "authentication"},
	{"activity", "activity"},
	{"telephony", "telephony"},
	{"trustmonitor", "trust_monitor"},
	{"adminaction", "administrator"},
}

// dlsConfig is what a config.yml of Duo Log Sync says, with Duo Log Sync's defaults.
type dlsConfig struct {
	cef           bool          // else JSON
	back          float64       // days that a log without a checkpoint begins in the past
	pause         time.Duration // between two calls
	checkpointDir string
	proxy         string // host:port; "" is none
	servers       []dlsServer
	host          string // API host, maybe with a port
	ikey          string
	skey          duo.Secret
	msp           bool
	routes        map[string][]int // from a log, as duo_in calls it, to indexes of servers, sorted
	notes         []string         // what has no counterpart, or not quite
}

// dlsServer is where logs are sent.
type dlsServer struct {
	id, host string
	port     int
	protocol string // TCP, TCPSSL or UDP
	ca       string // of TCPSSL: the file with the certificates that are trusted
}

// configReader collects all that is wrong with a configuration, and all that has no counterpart.
type configReader struct {
	file     string
	problems []error
	notes    []string
}

// section is a mapping within the configuration. What nobody asked for is an unknown key.
type section struct {
	*configReader
	path   string // "" or with a dot at its end
	values map[string]any
	asked  map[string]bool
}

// readDLSConfig reads a config.yml of version 1.0.0. The error joins all that is wrong, each with the file's name, the key,
// its value, if that is no secret, and what is allowed.
func readDLSConfig(file string, data []byte) (c dlsConfig, err error) {
	var root any
	if err := yaml.Unmarshal(data, &root); err != nil {
		return c, fmt.Errorf("%s: %s: want a configuration of Duo Log Sync, which is YAML", file, strings.Join(strings.Fields(err.Error()), " "))
	}
	r := &configReader{file: file}
	top := r.section("", root)
	if top.text("version", "") != dlsVersion {
		top.wrong("version", show(top.values["version"])+": want '"+dlsVersion+"'; Duo Log Sync's upgrade_config.py brings an older file up to it")
		return c, errors.Join(r.problems...)
	}
	c.readSettings(top.sub("dls_settings"))
	c.readServers(top)
	c.readAccount(top.sub("account"))
	top.unknown()
	c.notes = r.notes
	return c, errors.Join(r.problems...)
}

func (c *dlsConfig) readSettings(s *section) {
	c.cef = s.oneOf("log_format", "JSON", "JSON", "CEF") == "CEF"
	if s.has("log_filepath") {
		s.note("log_filepath: Fluent Bit writes its messages, and duo_in's, to standard error; log_file in [SERVICE] names a file")
	}
	s.asked["log_filepath"] = true

	api := s.sub("api")
	c.back = api.number("offset", 180, 0, 180)
	// Duo Log Sync takes less than 120 s for 120 s.
	c.pause = time.Duration(max(api.number("timeout", 120, 0, 86400), 120) * float64(time.Second))
	api.unknown()

	kept := s.sub("checkpointing")
	if !kept.boolean("enabled", true) {
		s.note("checkpointing.enabled: duo_in always goes on where it was; duoctl checkpoint rewinds it")
	}
	c.checkpointDir = kept.text("directory", "/tmp")
	kept.unknown()

	proxy := s.sub("proxy")
	host, port := proxy.text("proxy_server", ""), int(proxy.number("proxy_port", 0, 0, 65535))
	switch {
	case host == "" || port == 0:
		if host != "" || port != 0 {
			s.note("proxy: without both proxy_server and proxy_port Duo Log Sync uses none, and neither is one set here")
		}
	case !serverName.MatchString(host):
		proxy.wrong("proxy_server", "(not shown): want a host name or an address; give it without http:// and without a password") // so it is not shown
	default:
		c.proxy = net.JoinHostPort(host, strconv.Itoa(port))
	}
	proxy.unknown()
	s.unknown()
}

// serverName is a host name or an IP address, as Fluent Bit's host takes it.
var serverName = regexp.MustCompile(`^[0-9A-Za-z_:]([0-9A-Za-z_.:-]*[0-9A-Za-z.])?$`)

func (c *dlsConfig) readServers(top *section) {
	list := top.list("servers")
	ids := map[string]bool{}
	for i, v := range list {
		s := top.section(fmt.Sprintf("servers[%d].", i), v)
		server := dlsServer{
			id:       s.required("id"),
			host:     s.required("hostname"),
			port:     int(s.number("port", 0, 1, 65535)),
			protocol: s.oneOf("protocol", "", "TCP", "TCPSSL", "UDP"),
		}
		if server.host != "" && !serverName.MatchString(server.host) {
			s.wrong("hostname", show(server.host)+": want a host name or an IP address")
		}
		if server.id != "" && ids[server.id] {
			s.wrong("id", show(server.id)+": an earlier server has it; give each its own")
		}
		ids[server.id] = true
		server.readCA(s)
		s.unknown()
		c.servers = append(c.servers, server)
	}
}

func (server *dlsServer) readCA(s *section) {
	ca := s.text("cert_filepath", "")
	if server.protocol != "TCPSSL" {
		return // Duo Log Sync does not look at it either
	}
	switch reason := unfit(ca); {
	case ca == "":
		s.wrong("cert_filepath", "(missing): TCPSSL needs the file with the certificates to trust")
	case reason != "":
		s.wrong("cert_filepath", fmt.Sprintf("%s: %s, which a Fluent Bit configuration cannot hold; give the file another name", show(ca), reason))
	case !filepath.IsAbs(ca):
		s.note(fmt.Sprintf("%scert_filepath %q: relative to the folder in which Fluent Bit is started", s.path, ca))
	}
	server.ca = ca
}

var (
	// apiHostName is an API host, maybe with a port (a gateway, a test server).
	apiHostName = regexp.MustCompile(`^[0-9a-z]([0-9a-z.-]*[0-9a-z])?(:[0-9]{1,5})?$`)
	// key is what stands for itself in a shell, in systemd's EnvironmentFile and in Docker's --env-file.
	key = regexp.MustCompile(`^[0-9A-Za-z._+/=@%-]+$`)
)

func (c *dlsConfig) readAccount(s *section) {
	c.ikey = s.required("ikey")
	secret := s.required("skey")
	c.skey = duo.NewSecret(secret)
	for name, v := range map[string]string{"ikey": c.ikey, "skey": secret} {
		if v != "" && !key.MatchString(v) {
			s.wrong(name, "(not shown): not a key of Duo's; paste it without blanks and quotes within it")
		}
	}
	host := s.required("hostname")
	c.host = strings.TrimRight(strings.TrimPrefix(strings.ToLower(host), "https://"), "/")
	if host != "" && !apiHostName.MatchString(c.host) {
		s.wrong("hostname", show(host)+": want the API hostname, such as api-XXXXXXXX.duosecurity.com")
	}
	c.msp = s.boolean("is_msp", false)
	if blocked, _ := s.get("block_list").([]any); len(blocked) > 0 {
		s.note("account.block_list: Duo Log Sync does not use it, and neither is it here: accounts takes the ids of the wanted accounts in place of all")
	}
	c.readMappings(s)
	s.unknown()
	c.noteRoutes(s.configReader)
}

// noteRoutes names the logs that end, and the servers that get none.
func (c *dlsConfig) noteRoutes(r *configReader) {
	if len(c.routes["administrator"]) > 0 {
		r.note("endpoint adminaction: Duo ended this log on 2026-09-30; its events are in the endpoint activity")
	}
	if len(c.routes["trust_monitor"]) > 0 {
		r.note("endpoint trustmonitor: Duo ends this log on 2027-01-31")
	}
	for i, server := range c.servers {
		used := false
		for _, to := range c.routes {
			used = used || slices.Contains(to, i)
		}
		if !used {
			r.note(fmt.Sprintf("server %s: no endpoint is mapped to it; it is left out", show(server.id)))
		}
	}
}

// readMappings fills in the routes.
func (c *dlsConfig) readMappings(account *section) {
	c.routes = map[string][]int{}
	for i, v := range account.list("endpoint_server_mappings") {
		s := account.section(fmt.Sprintf("%sendpoint_server_mappings[%d].", account.path, i), v)
		id := s.required("server")
		server := slices.IndexFunc(c.servers, func(d dlsServer) bool { return d.id == id })
		if id != "" && server < 0 {
			s.wrong("server", show(id)+": no server has this id")
		}
		for _, v := range s.list("endpoints") {
			at := slices.IndexFunc(dlsLogs, func(l dlsLog) bool { return l.endpoint == v })
			if at < 0 {
				s.wrong("endpoints", show(v)+": want some of "+endpointNames())
			} else if log := dlsLogs[at].log; server >= 0 && !slices.Contains(c.routes[log], server) {
				c.routes[log] = append(c.routes[log], server)
				slices.Sort(c.routes[log])
			}
		}
		s.unknown()
	}
}

func endpointNames() string {
	var names []string
	for _, l := range dlsLogs {
		names = append(names, l.endpoint)
	}
	return strings.Join(names, ", ")
}

// unfit says why a value cannot stand in a Fluent Bit configuration in classic mode, where there is no quoting (src/
// config_format/flb_cf_fluentbit.c); "" if it can.
func unfit(value string) string {
	switch {
	case !utf8.ValidString(value):
		return "it is not UTF-8"
	case strings.ContainsFunc(value, unicode.IsControl):
		return "it holds a control character"
	case strings.Contains(value, "${"):
		return "it holds ${, which stands for a variable"
	case strings.Contains(value, "#"):
		return "it holds #, which begins a comment"
	case value != strings.TrimSpace(value):
		return "it begins or ends with a blank"
	}
	return ""
}

// show writes a value for a message: one line, of bounded length.
func show(v any) string {
	if v == nil {
		return "(missing)"
	}
	text := fmt.Sprint(v)
	if len(text) > 60 {
		text = strings.ToValidUTF8(text[:57], "") + "…"
	}
	return strconv.Quote(text)
}

func (r *configReader) section(path string, v any) *section {
	values, ok := v.(map[string]any)
	if !ok && v != nil {
		name := strings.TrimSuffix(path, ".")
		r.problems = append(r.problems, fmt.Errorf("%s: %s: want a mapping of names to values", r.file, cmp.Or(name, "this")))
	}
	return &section{r, path, values, map[string]bool{}}
}

func (r *configReader) note(text string) { r.notes = append(r.notes, text) }

// wrong notes a problem with a key. The text begins with the value, where that may be shown.
func (s *section) wrong(name, text string) {
	s.problems = append(s.problems, fmt.Errorf("%s: %s%s %s", s.file, s.path, name, text))
}

// get returns a value; nil if it is missing.
func (s *section) get(name string) any {
	s.asked[name] = true
	return s.values[name]
}

func (s *section) has(name string) bool { return s.values[name] != nil }

func (s *section) sub(name string) *section { return s.section(s.path+name+".", s.get(name)) }

func (s *section) text(name, def string) string {
	switch v := s.get(name).(type) {
	case nil:
		return def
	case string:
		return v
	}
	s.wrong(name, "(not shown): want text; put it between single quotes")
	return def
}

func (s *section) required(name string) string {
	v := s.text(name, "")
	if v == "" && s.values[name] == nil || s.values[name] == "" {
		s.wrong(name, "(missing): it is required")
	}
	return v
}

func (s *section) oneOf(name, def string, allowed ...string) string {
	v := s.text(name, def)
	if !slices.Contains(allowed, v) {
		s.wrong(name, show(s.values[name])+": want "+strings.Join(allowed, " or "))
	}
	return v
}

// number returns a number from least to most; 0 of def is allowed anyway where the key is missing.
func (s *section) number(name string, def, least, most float64) float64 {
	n := def
	switch v := s.get(name).(type) {
	case nil:
		if def < least {
			s.wrong(name, "(missing): it is required")
		}
		return def
	case int:
		n = float64(v)
	case float64:
		n = v
	default:
		n = -1 // of no allowed range
	}
	if !(n >= least && n <= most) { // NaN is neither
		s.wrong(name, fmt.Sprintf("%s: want a number from %v to %v", show(s.values[name]), least, most))
		return def
	}
	return n
}

// boolean also takes the words that were booleans in YAML 1.1, as they are to Duo Log Sync.
func (s *section) boolean(name string, def bool) bool {
	switch v := s.get(name).(type) {
	case nil:
		return def
	case bool:
		return v
	case string:
		switch strings.ToLower(v) {
		case "yes", "on":
			return true
		case "no", "off":
			return false
		}
	}
	s.wrong(name, show(s.values[name])+": want True or False")
	return def
}

// list returns a list that must not be empty.
func (s *section) list(name string) []any {
	v, ok := s.get(name).([]any)
	if !ok || len(v) == 0 {
		s.wrong(name, "(not shown): want a list with at least one item, each behind a dash")
	}
	return v
}

// unknown notes the keys that nobody asked for.
func (s *section) unknown() {
	for _, name := range slices.Sorted(maps.Keys(s.values)) {
		if !s.asked[name] {
			s.note(fmt.Sprintf("%s%s: not a key of version %s; it is left out", s.path, strings.Trim(show(name), `"`), dlsVersion))
		}
	}
}
