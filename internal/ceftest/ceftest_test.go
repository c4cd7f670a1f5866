package ceftest

import "testing"

// FuzzParse holds that no line makes the reader panic, and that none of what it
// returns breaks a line's rules.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`CEF:0|Duo Security|duo_in|1|a\|b|n|3|act=x \= y msg=a\nb`, `CEF:0|Duo Security|duo_in|1|a|n|3|`, `CEF:0|`, `CEF:0|Duo Security|duo_in|1|a|n|3|=`, `\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		fields, err := Parse(line)
		if err != nil {
			return
		}
		for key, value := range fields {
			if key == "" || value == "" {
				t.Errorf("%q: field %q is %q", line, key, value)
			}
		}
	})
}
