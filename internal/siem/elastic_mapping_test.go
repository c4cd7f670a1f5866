//go:build cgo

package siem

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// mappings are the types that the fields of each index have: such as a template
// names, and such as the first value made them ("Dynamic field mapping").
type mappings struct {
	dateDetection bool
	dynamic       map[string]fieldType            // by the type of the first value
	properties    map[string]fieldType            // that the template names
	types         map[string]map[string]fieldType // by index and path
}

type fieldType struct {
	Type            string
	IgnoreMalformed bool `json:"ignore_malformed"`
}

// learn takes an index template.
func (m *mappings) learn(template []byte) error {
	var in struct {
		IndexPatterns []string `json:"index_patterns"`
		Template      struct {
			Settings map[string]any
			Mappings struct {
				DateDetection    *bool `json:"date_detection"`
				Properties       map[string]fieldType
				DynamicTemplates []map[string]struct {
					MatchMappingType string `json:"match_mapping_type"`
					Mapping          fieldType
				} `json:"dynamic_templates"`
			}
		}
	}
	if err := json.Unmarshal(template, &in); err != nil {
		return err
	}
	if len(in.IndexPatterns) != 1 || in.IndexPatterns[0] != "duo-*" {
		return fmt.Errorf("index_patterns %q do not match the examples' indices", in.IndexPatterns)
	}
	dates := in.Template.Mappings.DateDetection
	*m = mappings{dateDetection: dates == nil || *dates, dynamic: map[string]fieldType{}, properties: in.Template.Mappings.Properties}
	for _, d := range in.Template.Mappings.DynamicTemplates {
		for _, rule := range d {
			m.dynamic[rule.MatchMappingType] = rule.Mapping
		}
	}
	return nil
}

// fit takes a document's fields into an index, or says which does not fit.
func (m *mappings) fit(index string, fields map[string]any) error {
	if m.types == nil {
		m.types = map[string]map[string]fieldType{}
	}
	if m.types[index] == nil {
		m.types[index] = map[string]fieldType{}
		for path, property := range m.properties {
			m.types[index][path] = property
		}
	}
	return m.fitIn(m.types[index], "", fields)
}

func (m *mappings) fitIn(types map[string]fieldType, path string, value any) error {
	switch v := value.(type) {
	case nil:
		return nil
	case []any:
		for _, element := range v {
			if err := m.fitIn(types, path, element); err != nil {
				return err
			}
		}
		return nil
	case map[string]any:
		if was, ok := types[path]; ok && was.Type != "object" {
			return fmt.Errorf("field [%s] of type [%s] was given an object", path, was.Type)
		}
		types[path] = fieldType{Type: "object"}
		for name, part := range v {
			if name == "" {
				return fmt.Errorf("field name cannot be an empty string")
			}
			if err := m.fitIn(types, strings.TrimPrefix(path+"."+name, "."), part); err != nil {
				return err
			}
		}
		return nil
	}
	if _, ok := types[path]; !ok {
		types[path] = m.guess(value)
	}
	if !types[path].takes(value) {
		return fmt.Errorf("failed to parse field [%s] of type [%s]: %v", path, types[path].Type, value)
	}
	return nil
}

// guess is the type that a first value makes its field have.
func (m *mappings) guess(value any) fieldType {
	kind := "string"
	switch v := value.(type) {
	case bool:
		kind = "boolean"
	case float64:
		if kind = "double"; v == float64(int64(v)) {
			kind = "long"
		}
	case string:
		if _, err := time.Parse(time.RFC3339Nano, v); err == nil && m.dateDetection {
			kind = "date"
		}
	}
	if t, ok := m.dynamic[kind]; ok {
		return t
	}
	if kind == "string" {
		kind = "text"
	}
	return fieldType{Type: kind}
}

// takes tells whether a field of the type takes a value that is no object.
func (t fieldType) takes(value any) bool {
	text := fmt.Sprint(value)
	switch t.Type {
	case "object":
		return false
	case "boolean":
		return text == "true" || text == "false" || text == ""
	case "long", "double":
		_, err := strconv.ParseFloat(text, 64)
		return err == nil || t.IgnoreMalformed
	case "date", "date_nanos":
		_, err := time.Parse(time.RFC3339Nano, text)
		return err == nil || t.IgnoreMalformed
	}
	return true
}

// TestIndexTemplate has what Duo was seen to send, and more, indexed one behind
// the other: with the template and format flat all of it is, without one of them
// some is not.
func TestIndexTemplate(t *testing.T) {
	for _, tt := range []struct {
		format   string
		template bool
		all      bool
	}{
		{"flat", true, true},
		{"flat", false, false},
		{"json", true, false},
	} {
		t.Run(fmt.Sprint(tt.format, " ", tt.template), func(t *testing.T) {
			m := mappings{dateDetection: true}
			if tt.template {
				if err := m.learn([]byte(read(t, "receivers/elasticsearch-template.json"))); err != nil {
					t.Fatal(err)
				}
			}
			var refused []error
			for _, fields := range golden(t, tt.format) {
				delete(fields, "") // which no store takes
				if err := m.fit("duo-2026.02", fields); err != nil {
					refused = append(refused, err)
				}
			}
			if (len(refused) == 0) != tt.all {
				t.Errorf("%d are refused: %v", len(refused), refused)
			}
		})
	}
}

// golden are the records of the golden files of plugin/record.
func golden(t *testing.T, format string) (records []map[string]any) {
	t.Helper()
	files, err := filepath.Glob("../../plugin/record/testdata/*." + format + ".golden.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var some []struct{ Record map[string]any }
		if err := json.Unmarshal(text, &some); err != nil {
			t.Fatal(err)
		}
		for _, r := range some {
			records = append(records, r.Record)
		}
	}
	return records
}
