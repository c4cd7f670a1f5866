package main

import (
	"slices"
	"strings"
)

// likelyTypos looks for settings that were probably meant to be options: Fluent
// Bit passes unknown keys without a word and offers no list of them, but each
// can be asked for. So every name at one slip's distance from an option is.
func likelyTypos(get getter) map[string]string {
	var known []string
	for _, row := range optionTable {
		known = append(append(known, row.name), row.aliases...)
	}
	found := map[string]string{}
	for _, name := range known {
		for _, slip := range slips(name) {
			if found[slip] == "" && !slices.Contains(known, slip) && get(slip) != "" {
				found[slip] = name
			}
		}
	}
	return found
}

// slips are the usual misspellings of a name: other separators, a letter left
// out, doubled or swapped with its neighbour, a plural s too many.
func slips(name string) []string {
	out := []string{
		strings.ReplaceAll(name, "_", "-"), strings.ReplaceAll(name, "_", "."), strings.ReplaceAll(name, "_", ""),
		name + "s", "duo_" + name,
	}
	for i := range name {
		out = append(out, name[:i]+name[i+1:], name[:i+1]+name[i:])
		if i > 0 {
			out = append(out, name[:i-1]+name[i:i+1]+name[i-1:i]+name[i+1:])
		}
	}
	return out
}
