package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// readYAML reads a file in YAML (src/config_format/flb_cf_yaml.c). What it includes is YAML too, and lies beside it.
func (c *flbConfig) readYAML(path string) error {
	text, err := c.open(path)
	if err != nil {
		return err
	}
	r := yamlReader{config: c, path: path}
	for documents := yaml.NewDecoder(bytes.NewReader(text)); ; { // Fluent Bit reads all of them
		var doc yaml.Node
		switch err := documents.Decode(&doc); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%s: not YAML%s", path, yamlLine(err))
		case len(doc.Content) == 0:
			continue
		}
		if err := r.top(doc.Content[0]); err != nil {
			return err
		}
	}
}

var lineNumber = regexp.MustCompile(`line [0-9]+`)

// yamlLine is where an error of the YAML parser is; the rest of its text may hold a value.
func yamlLine(err error) string {
	if at := lineNumber.FindString(err.Error()); at != "" {
		return ": see " + at
	}
	return ""
}

// yamlReader is where a file in YAML is being read.
type yamlReader struct {
	config *flbConfig
	path   string
}

func (r yamlReader) place(n *yaml.Node) string { return fmt.Sprintf("%s:%d", r.path, n.Line) }

// members calls do for each member of an object.
func (r yamlReader) members(n *yaml.Node, do func(key string, value *yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("%s: an object is expected, of keys and values", r.place(n))
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i+1].Kind == yaml.AliasNode {
			return fmt.Errorf("%s: Fluent Bit knows no aliases: write the value out", r.place(n.Content[i+1]))
		}
		if err := do(n.Content[i].Value, n.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func (r yamlReader) top(n *yaml.Node) error {
	return r.members(n, func(key string, value *yaml.Node) error {
		switch strings.ToLower(key) {
		case "env":
			return r.members(value, func(name string, v *yaml.Node) error {
				if v.Kind != yaml.ScalarNode {
					return fmt.Errorf("%s: env: a value is expected", r.place(v))
				}
				if err := r.config.set(strings.TrimSpace(name), strings.TrimSpace(v.Value)); err != nil {
					return fmt.Errorf("%s: env: %w", r.place(v), err)
				}
				return nil
			})
		case "service":
			if first := r.config.service.place; first != "" {
				return fmt.Errorf("%s: service is at %s already: Fluent Bit takes one", r.place(value), first)
			}
			return r.plugin(value, r.config.section("service", r.place(value)))
		case "includes":
			return r.includes(value)
		case "pipeline":
			return r.pipeline(value)
		}
		return nil
	})
}

func (r yamlReader) includes(list *yaml.Node) error {
	if list.Kind != yaml.SequenceNode {
		return fmt.Errorf("%s: includes is a list of files", r.place(list))
	}
	for _, item := range list.Content {
		path := item.Value
		if item.Kind != yaml.ScalarNode || path == "" {
			return fmt.Errorf("%s: the path of a file is expected", r.place(item))
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(r.path), path)
		}
		read := r.config.readYAML
		err := error(nil)
		if strings.Contains(path, "*") {
			err = glob(path, read)
		} else {
			err = read(path)
		}
		if err != nil {
			return fmt.Errorf("%s: includes: %w", r.place(item), err)
		}
	}
	return nil
}

func (r yamlReader) pipeline(n *yaml.Node) error {
	return r.members(n, func(key string, value *yaml.Node) error {
		kind := strings.TrimSuffix(strings.ToLower(key), "s")
		if kind+"s" != strings.ToLower(key) || kind != "input" && kind != "filter" && kind != "output" {
			return fmt.Errorf("%s: a pipeline has inputs, filters and outputs, and nothing else", r.place(value))
		}
		if value.Kind != yaml.SequenceNode {
			return fmt.Errorf("%s: %s is a list", r.place(value), key)
		}
		for _, item := range value.Content {
			if err := r.plugin(item, r.config.section(kind, r.place(item))); err != nil {
				return err
			}
		}
		return nil
	})
}

// plugin reads a plugin's keys, or those of the service. Objects among them, such as processors, are left out.
func (r yamlReader) plugin(n *yaml.Node, s *flbSection) error {
	if s == nil {
		return errors.New("no such section")
	}
	return r.members(n, func(key string, value *yaml.Node) error {
		p := flbProp{key: snakeCase(key), value: strings.TrimSpace(value.Value)}
		switch value.Kind {
		case yaml.MappingNode:
			return nil
		case yaml.SequenceNode:
			if len(value.Content) == 0 || value.Content[0].Kind != yaml.ScalarNode {
				return nil
			}
			p.value, p.items = strings.TrimSpace(value.Content[0].Value), len(value.Content)
		}
		s.props = append(s.props, p)
		return nil
	})
}

// snakeCase turns apiHost into api_host, as Fluent Bit does where there is no underscore (flb_cf_key_translate).
func snakeCase(key string) string {
	if key == "" || key[0] < 'a' || key[0] > 'z' || strings.Contains(key, "_") {
		return strings.ToLower(key)
	}
	var b strings.Builder
	for _, c := range []byte(key) {
		if c >= 'A' && c <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteByte(c)
	}
	return strings.ToLower(b.String())
}
