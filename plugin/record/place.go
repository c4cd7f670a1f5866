package record

import "strings"

// place is where a path leads within a record, the empty path to the record itself. A path goes through lists: it leads to
// every element.
type place struct {
	field int               // what the caller calls the path that ends here, 0 where none does
	whole bool              // the field is an object or a list too, not only what lies below
	names map[string]*place // of the fields on the way to others
}

// at returns the place where a path leads, and adds it if needed.
func (p *place) at(path string) *place {
	if path == "" {
		return p
	}
	name, rest, _ := strings.Cut(path, ".")
	if p.names[name] == nil {
		if p.names == nil {
			p.names = map[string]*place{}
		}
		p.names[name] = &place{}
	}
	return p.names[name].at(rest)
}
