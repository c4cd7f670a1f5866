package record

import (
	"fmt"
	"strings"
	"unicode"

	"duo_in/internal/scan"
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
	e.kept = e.appendKept(e.kept[:0], e.exclude)
	return e.kept, e.in.End()
}

// appendKept appends the JSON text of the value that comes next, which lies at p, without what is excluded. Where p is nil,
// that is nothing.
func (e *Encoder) appendKept(dst []byte, p *place) []byte {
	kind := e.in.Kind()
	if p == nil || !isContainer(kind) {
		return append(dst, e.in.Value()...)
	}
	dst = append(dst, byte(kind))
	begin := len(dst)
	for more := e.in.Enter(); more; more = e.in.Next(kind) {
		below := p
		if kind == scan.Object {
			literal, name := e.readName()
			if below = p.names[string(name)]; below != nil && below.field != 0 {
				e.in.Value()
				continue
			}
			dst = append(append(dst, literal...), ':')
		}
		dst = append(e.appendKept(dst, below), ',')
	}
	return append(trimComma(dst, begin), scan.Closing(kind))
}
