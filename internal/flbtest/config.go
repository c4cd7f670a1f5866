package flbtest

import "strings"

// Section is one [NAME] of Fluent Bit's classic configuration, or of its YAML
// one item of a list, or the service. Name is in capitals: SERVICE, INPUT,
// FILTER, OUTPUT.
type Section struct {
	Name    string
	Options []Option
}

// Get returns the value of the first option of that name, in any case, and ""
// if there is none.
func (s Section) Get(key string) string {
	for _, o := range s.Options {
		if strings.EqualFold(o.Key, key) {
			return o.Value
		}
	}
	return ""
}

// ParseConfig reads a configuration as far as tests ask for it. Name is its
// file's, which tells the form. Of YAML it knows what examples are written in:
// blocks of one key a line, and values without quotes of more than one line.
func ParseConfig(name, text string) (sections []Section) {
	form := classicLine
	if strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") {
		form = yamlLine
	}
	list := "" // of YAML, the list that the items belong to
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \n")
		if trimmed := strings.TrimSpace(line); trimmed != "" && trimmed[0] != '#' {
			form(line, &list, &sections)
		}
	}
	return sections
}

func classicLine(line string, _ *string, sections *[]Section) {
	line = strings.TrimSpace(line)
	if line[0] == '[' {
		*sections = append(*sections, Section{Name: strings.Trim(line, "[]")})
		return
	}
	key, value, _ := strings.Cut(line, " ")
	addOption(*sections, key, value)
}

func yamlLine(line string, list *string, sections *[]Section) {
	trimmed := strings.TrimSpace(line)
	item, isItem := strings.CutPrefix(trimmed, "- ")
	key, value, _ := strings.Cut(item, ":")
	switch {
	case value == "" && (key == "service" || key == "pipeline"):
		*list = ""
		if key == "service" {
			*sections = append(*sections, Section{Name: "SERVICE"})
		}
		return
	case value == "" && (key == "inputs" || key == "filters" || key == "outputs"):
		*list = strings.ToUpper(strings.TrimSuffix(key, "s"))
		return
	case isItem && *list != "" && strings.EqualFold(strings.TrimSpace(key), "name"):
		*sections = append(*sections, Section{Name: *list})
	}
	addOption(*sections, key, value)
}

// addOption adds to the last section, if there is one.
func addOption(sections []Section, key, value string) {
	if n := len(sections); n > 0 {
		o := Option{strings.TrimSpace(key), strings.Trim(strings.TrimSpace(value), `"'`)}
		sections[n-1].Options = append(sections[n-1].Options, o)
	}
}
