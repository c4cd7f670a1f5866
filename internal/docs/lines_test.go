package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const troubleshooting = "docs/troubleshooting.md"

// speakers are the folders whose sentences can come to stand in Fluent Bit's log.
var speakers = []string{"duo", "checkpoint", "plugin"}

// silent are sentences that no operator reads, each with the reason.
var silent = map[string]string{
	"exceeded max depth":          "the JSON library's, compared with",
	"insecure algorithm":          "crypto/x509's, compared with",
	"HTTP response to HTTPS":      "net/http's, compared with",
	"HTTP 429: too many requests": "the line about it has words of its own",
	"another path":                "stands for a redirect's target",
	"another owner":               "stands for a lock's owner",
	"… of … bytes":                "the end of `not JSON but …`",
	"write to":                    "part of an error of duoctl check",
	"… of its … KiB and … of its … files are free":               "the middle of `no room for Fluent Bit's buffer`",
	"and … more like these":                                      "the end of a line that names many",
	"… and … more":                                               "the same",
	"not asked yet":                                              "an error that is compared with nil",
	"not a number of days":                                       "replaced by what is wanted",
	"checkpoint: batch handed over while another is outstanding": "a panic, shown in `a fault in duo_in`",
	"Duo Security logs":                                          "the plugin's description",
	"authentication, activity, telephony":                        "a default",
	"Source IPv6 Address":                                        "a label in CEF",
	"user id …":                                                  "the end of `checkpoint folder …`",
	"the user it runs as":                                        "the same, on Windows",
	"the sum":                                                    "docs/monitoring.md's", "the highest": "the same", "the lowest": "the same", "the mean: the share that is up": "the same",
	"CEF:0|Duo Security|duo_in|":          "the beginning of CEF",
	"seen is not what a cursor ends with": "a mistake in the order of Cursor's fields, which no test lets pass",
}

// sentence is a text in the code that somebody may come to read.
type sentence struct {
	at   string // file:line
	text string // with … for what is filled in
}

// sentences are the texts in the code that have several words, however they are
// put together: what is neither meant to be read nor silent is not written like
// that. So no line escapes. The texts that help with options are in the README.
func sentences(t *testing.T) (found []sentence) {
	t.Helper()
	set := token.NewFileSet()
	for _, folder := range speakers {
		err := filepath.WalkDir(filepath.Join("..", "..", folder), func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && slices.Contains([]string{"testdata", "duotest"}, d.Name()):
				return fs.SkipDir
			case filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
				return nil
			}
			file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				e, ok := n.(ast.Expr)
				if !ok || helps(e) {
					return !ok
				}
				text, ok := spell(e)
				if text = strings.TrimSpace(strings.TrimPrefix(text, "…: ")); ok && severalWords(text) {
					found = append(found, sentence{strings.TrimPrefix(set.Position(e.Pos()).String(), "../../"), text})
				}
				return !ok
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// helps reports whether an expression is about an option's help.
func helps(e ast.Expr) bool {
	name := func(e ast.Expr) string {
		if i, ok := e.(*ast.Ident); ok {
			return i.Name
		}
		return ""
	}
	switch e := e.(type) {
	case *ast.KeyValueExpr:
		return strings.EqualFold(name(e.Key), "help")
	case *ast.CallExpr:
		return name(e.Fun) == "durationOption"
	}
	return false
}

var (
	verb = regexp.MustCompile(`%(%|[-+# 0]*[0-9.]*[a-zA-Z])`)
	word = regexp.MustCompile(`\pL{2,}`)
)

// spell returns the text of a string, or of several that are added up, with …
// for what is only known when it runs; false if there is no text in it.
func spell(e ast.Expr) (text string, ok bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			text, _ = strconv.Unquote(e.Value)
			return verb.ReplaceAllString(text, "…"), true
		}
	case *ast.BinaryExpr:
		x, xOK := spell(e.X)
		y, yOK := spell(e.Y)
		return x + y, e.Op == token.ADD && (xOK || yOK)
	}
	return "…", false
}

func severalWords(text string) bool {
	return strings.Contains(text, " ") && len(word.FindAllString(text, 2)) == 2
}

// entry is a row of the page: the lines that it explains, or parts of lines.
type entry struct {
	at    string // file:line
	spans []string
	lines []*regexp.Regexp
}

// pattern makes of a line as the page has it, with … for anything, one to find it by.
// Where it begins or ends with … and a blank there may be nothing more.
func pattern(span string) *regexp.Regexp {
	p := strings.TrimSuffix(strings.TrimPrefix(span, "… "), " …")
	p = strings.ReplaceAll(regexp.QuoteMeta(p), "…", ".*")
	if strings.HasPrefix(span, "… ") {
		p = ".*" + p
	}
	if strings.HasSuffix(span, " …") {
		p += ".*"
	}
	return regexp.MustCompile("^" + p + "$")
}

// explain returns those of a text's spans in the rows that match it, by row. Where
// one is the text word for word, only that one counts.
func explain(rows []entry, text string) map[string][]string {
	found := map[string][]string{}
	for _, row := range rows {
		for i, line := range row.lines {
			switch span := row.spans[i]; {
			case span == text:
				return map[string][]string{row.at: {span}}
			case line.MatchString(text):
				found[row.at] = append(found[row.at], span)
			}
		}
	}
	return found
}

// entries are the rows of the page's tables that explain lines of duo_in's.
func entries(t *testing.T) (found []entry) {
	t.Helper()
	ours := false
	for i, row := range strings.Split(read(t, troubleshooting), "\n") {
		switch {
		case strings.HasPrefix(row, "| "):
			if strings.HasPrefix(row, "| line |") {
				ours = true
			} else if ours {
				e := entry{at: fmt.Sprintf("%s:%d", troubleshooting, i+1)}
				for _, span := range codeSpan.FindAllStringSubmatch(strings.Split(row, "|")[1], -1) {
					e.spans, e.lines = append(e.spans, span[1]), append(e.lines, pattern(span[1]))
				}
				found = append(found, e)
			}
		case !strings.HasPrefix(row, "|"):
			ours = false
		}
	}
	return found
}

// TestLogLines holds that each sentence that the code can put into the log is in
// one row of the page, and that each row is of some that the code has.
func TestLogLines(t *testing.T) {
	rows, used, unheard := entries(t), map[string]bool{}, map[string]bool{}
	for text := range silent {
		unheard[text] = true
	}
	for _, s := range sentences(t) {
		if silent[s.text] != "" {
			delete(unheard, s.text)
			continue
		}
		found := explain(rows, s.text)
		for _, spans := range found {
			for _, span := range spans {
				used[span] = true
			}
		}
		if len(found) == 0 {
			t.Errorf("%s: nothing in %s explains the log line %q: add a row, or, if no operator can read it, a reason to silent", s.at, troubleshooting, s.text)
		} else if len(found) > 1 {
			t.Errorf("%s: more than one row explains %q: %q", s.at, s.text, slices.Sorted(maps.Keys(found)))
		}
	}
	for _, row := range rows {
		for _, span := range row.spans {
			if !used[span] {
				t.Errorf("%s: no code has the line %q any more", row.at, span)
			}
		}
	}
	for text := range unheard {
		t.Errorf("silent has %q, which no code has any more", text)
	}
}

// TestSeenLines holds that each line that a test of troubles saw in a log, see
// docs/guarantees.md, is found on the page.
func TestSeenLines(t *testing.T) {
	rows, seen := entries(t), 0
	for _, line := range regexp.MustCompile("`\\[( warn|error)\\] (?:authentication: )?([^`]+)`").FindAllStringSubmatch(read(t, "docs/guarantees.md"), -1) {
		seen++
		if len(explain(rows, line[2])) == 0 {
			t.Errorf("%s does not explain %q", troubleshooting, line[2])
		}
	}
	if seen < 20 {
		t.Errorf("only %d lines found", seen)
	}
}
