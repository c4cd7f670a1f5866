package option

import (
	"slices"
	"strings"
)

// likelyTypos looks for settings that were probably meant to be options: Fluent
// Bit passes unknown keys without a word and offers no list of them, but each
// can be asked for. So every name at one slip's distance from an option is.
func likelyTypos(get Getter) map[string]string {
	var known []string
	for _, row := range table {
		known = append(append(known, row.Name), row.Aliases...)
	}
	found := map[string]string{}
	for other, name := range otherNames {
		if get(other) != "" {
			found[other] = name
		}
	}
	for _, name := range known {
		for _, slip := range slips(name) {
			if found[slip] == "" && !slices.Contains(known, slip) && get(slip) != "" {
				found[slip] = name
			}
		}
	}
	return found
}

// otherNames are what other collectors, or people from memory, call an option.
var otherNames = map[string]string{
	"hostname": "api_host", "api_hostname": "api_host", "api_url": "api_host", "url": "api_host",
	"secret": "secret_key", "endpoints": "logs", "log_types": "logs", "interval": "poll_interval", "interval_sec": "poll_interval",
	"start": "since", "start_time": "since", "lookback": "since", "state_dir": "checkpoint_dir", "checkpoint_path": "checkpoint_dir",
	"limit": "page_size", "http_proxy": "proxy", "https_proxy": "proxy", "ca_cert": "ca_file", "insecure": "ca_file",
}

// slips are the usual misspellings of a name: other separators, a letter left
// out, doubled, swapped with its neighbour, wrong or too many.
func slips(name string) []string {
	out := []string{
		strings.ReplaceAll(name, "_", "-"), strings.ReplaceAll(name, "_", "."), strings.ReplaceAll(name, "_", ""),
		name + "s", "duo_" + name,
	}
	for i := range name {
		out = append(out, name[:i]+name[i+1:])
		for letter := 'a'; letter <= 'z'; letter++ {
			out = append(out, name[:i]+string(letter)+name[i:], name[:i]+string(letter)+name[i+1:])
		}
		if i > 0 {
			out = append(out, name[:i-1]+name[i:i+1]+name[i-1:i]+name[i+1:])
		}
	}
	return out
}

// fluentBits are the keys that Fluent Bit takes for itself and no plugin ever
// sees; a * stands for any ending (src/flb_input.c:flb_input_set_property).
var fluentBits = []string{
	"tag", "log_level", "log_suppress_interval", "routable", "alias", "mem_buf_limit", "listen", "host", "port", "ipv6",
	"net.*", "oauth2*", "tls", "tls.*", "storage.*", "threaded", "thread.*", "rate_*", "name", "routes", "processors",
}

func isFluentBits(name string) bool {
	return slices.ContainsFunc(fluentBits, func(key string) bool {
		prefix, open := strings.CutSuffix(key, "*")
		return name == key || open && strings.HasPrefix(name, prefix)
	})
}

// Unknown returns those of an [INPUT]'s keys that are options of neither duo_in nor
// Fluent Bit, but for the likely slips, which Parse warns of. Only who reads the
// configuration itself can know them all.
func Unknown(keys []string) (unknown []string) {
	known := map[string]bool{}
	for _, row := range table {
		for _, name := range append([]string{row.Name}, row.Aliases...) {
			known[name] = true
		}
	}
	slips := likelyTypos(func(name string) string {
		if slices.ContainsFunc(keys, func(key string) bool { return strings.EqualFold(key, name) }) {
			return name
		}
		return ""
	})
	for _, key := range keys {
		name := strings.ToLower(key)
		if !known[name] && slips[name] == "" && !isFluentBits(name) && !slices.Contains(unknown, key) {
			unknown = append(unknown, key)
		}
	}
	return unknown
}
