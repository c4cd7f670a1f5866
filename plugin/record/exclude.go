package record

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

// maxExclude is the most paths that an exclude list may have.
const maxExclude = 100

// ParseExclude reads a list such as "access_device.epkey, user.groups" for Options.Exclude: paths of names, which are
// case-sensitive, separated by commas. An empty text is an empty list. Errors name the path and what to write instead.
func ParseExclude(text string) ([]string, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	paths := strings.Split(text, ",")
	if len(paths) > maxExclude {
		return nil, fmt.Errorf("%d paths are too many; use at most %d, whole objects instead of their fields",
			len(paths), maxExclude)
	}
	for i, path := range paths {
		paths[i] = strings.TrimSpace(path)
		if remedy := checkPath(paths[i]); remedy != "" {
			return nil, fmt.Errorf("path %d, %q: %s", i+1, paths[i], remedy)
		}
	}
	return paths, nil
}

// checkPath returns what is wrong with a path and what to do about it, or nothing.
func checkPath(path string) string {
	switch {
	case path == "":
		return "is empty; remove the comma too many"
	case strings.ContainsAny(path, "\"'`"):
		return "has quotes; write the names without"
	case strings.ContainsAny(path, "[]*$"):
		return "is no plain path; write user.groups: a list needs no index, since a path applies to each of its elements"
	case strings.ContainsFunc(path, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
		return "has blanks in it; separate paths by commas"
	case strings.Contains("."+path+".", ".."):
		return "has an empty name; write names with one dot between"
	default:
		return ""
	}
}

// excludePaths has the encoder leave out what the paths lead to.
func (e *Encoder) excludePaths(paths []string) {
	for _, path := range paths {
		if e.exclude == nil {
			e.exclude = &place{}
		}
		e.exclude.at(path).field = 1
		e.hidden.noteName([]byte(path))
	}
}

// keep returns the record without what is excluded, or reports that it cannot be read.
func (e *Encoder) keep() (_ []byte, ok bool) {
	kept, err := e.appendKept(e.kept[:0], e.exclude)
	if err != nil || e.readEnd() != nil {
		return nil, false
	}
	e.kept = kept
	return kept, true
}

// appendKept appends the JSON text of the value that comes next, which lies at p, without what is excluded. Where p is nil,
// that is nothing.
func (e *Encoder) appendKept(dst []byte, p *place) ([]byte, error) {
	kind := e.in.PeekKind()
	if p == nil || kind != jsontext.KindBeginObject && kind != jsontext.KindBeginArray {
		text, err := e.in.ReadValue()
		return append(dst, text...), err
	}
	if _, err := e.in.ReadToken(); err != nil {
		return nil, err
	}
	dst = append(dst, byte(kind))
	for comma := false; ; {
		if end := e.in.PeekKind(); end == jsontext.KindEndObject || end == jsontext.KindEndArray {
			_, err := e.in.ReadToken()
			return append(dst, byte(end)), err
		}
		start, below := len(dst), p
		if comma {
			dst = append(dst, ',')
		}
		if kind == jsontext.KindBeginObject {
			literal, name, err := e.readName()
			if err != nil {
				return nil, err
			}
			below = p.names[string(name)]
			dst = append(append(dst, literal...), ':')
		}
		if below != nil && below.field != 0 {
			dst = dst[:start]
			if err := e.in.SkipValue(); err != nil {
				return nil, err
			}
			continue
		}
		var err error
		if dst, err = e.appendKept(dst, below); err != nil {
			return nil, err
		}
		comma = true
	}
}
