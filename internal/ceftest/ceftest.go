// Package ceftest reads lines of ArcSight's Common Event Format as a receiver does, to tell what one gets of them.
//
// It promises to know nothing of the code that writes such lines: it is made from the rules of the format, and refuses what
// they do not allow, and keys that duo_in is not to use. What the fields must hold is the tests' to say.
package ceftest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

func BreaksLine(r rune) bool {
	return r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029
}

// cefKeys are keys of CEF's dictionary.
var cefKeys = strings.Fields(`act c6a2 c6a2Label cs1 cs1Label cs2 cs2Label cs3 cs3Label cs5 cs5Label cs6 cs6Label dhost duser dvchost externalId
	msg outcome reason rt shost spt src suser`)

// Parse takes a line apart by the rules of the format alone: a header of seven fields after which come the extensions,
// a key being what stands between a space and an unescaped =. It returns them by their keys, those of the header as
// version, signature, name and severity; vendor, product and format version are checked.
func Parse(line string) (map[string]string, error) {
	if !utf8.ValidString(line) || strings.ContainsFunc(line, BreaksLine) {
		return nil, errors.New("not one line of text")
	}
	rest, ok := strings.CutPrefix(line, "CEF:")
	if !ok {
		return nil, errors.New("no CEF")
	}
	fields := map[string]string{}
	for i, name := range []string{"format", "vendor", "product", "version", "signature", "name", "severity"} {
		end := unescapedIndex(rest, '|')
		if end < 0 {
			return nil, fmt.Errorf("header of %d fields", i)
		}
		value, err := unescape(rest[:end], map[byte]string{'\\': `\`, '|': "|"})
		if err != nil {
			return nil, fmt.Errorf("%s: %v", name, err)
		}
		if value == "" {
			return nil, fmt.Errorf("no %s", name)
		}
		fields[name], rest = value, rest[end+1:]
	}
	for name, want := range map[string]string{"format": "0", "vendor": "Duo Security", "product": "duo_in"} {
		if fields[name] != want {
			return nil, fmt.Errorf("%s %q, want %q", name, fields[name], want)
		}
		delete(fields, name)
	}
	return fields, parseExtensions(rest, fields)
}

// parseExtensions adds the extensions of text to fields.
func parseExtensions(text string, fields map[string]string) error {
	key, text, ok := strings.Cut(text, "=")
	for ok {
		if _, twice := fields[key]; twice || !slices.Contains(cefKeys, key) {
			return fmt.Errorf("key %q: unknown or there twice", key)
		}
		value, next := text, ""
		if end := unescapedIndex(text, '='); end >= 0 {
			space := strings.LastIndexByte(text[:end], ' ')
			if space < 0 {
				return fmt.Errorf("unescaped = in %s", key)
			}
			value, next, text = text[:space], text[space+1:end], text[end+1:]
		} else {
			ok = false
		}
		plain, err := unescape(value, map[byte]string{'\\': `\`, '=': "=", 'n': "\n", 'r': "\r"})
		if err != nil {
			return fmt.Errorf("%s: %v", key, err)
		}
		if plain == "" || strings.Trim(value, " ") != value {
			return fmt.Errorf("%s: %q is empty or has spaces around it", key, value)
		}
		fields[key], key = plain, next
	}
	return nil
}

// unescapedIndex is where c first stands without a backslash before it, or -1.
func unescapedIndex(s string, c byte) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case c:
			return i
		}
	}
	return -1
}

func unescape(s string, escapes map[byte]string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) || escapes[s[i]] == "" {
			return "", fmt.Errorf("%q has an escape that CEF does not know", s)
		}
		b.WriteString(escapes[s[i]])
	}
	return b.String(), nil
}
