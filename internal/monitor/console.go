package monitor

import (
	"encoding/json"
	"errors"
	"strings"
)

// The console is a page that Prometheus serves. It draws the panels that stand
// between these two, one on each line.
const (
	consoleHead = `<script type="application/json" id="panels">` + "\n"
	consoleFoot = "</script>\n"
)

// console returns the page with the dashboard as it is now.
func console(page string) (string, error) {
	head, rest, found := strings.Cut(page, consoleHead)
	_, foot, ended := strings.Cut(rest, consoleFoot)
	if !found || !ended {
		return "", errors.New("the console has no place for its panels")
	}
	var b strings.Builder
	line := 0
	for _, r := range dashboard {
		for _, panels := range r.panels {
			for _, p := range panels {
				text, err := json.Marshal(p.console(r.title, line)) // which keeps < from ending the script
				if err != nil {
					return "", err
				}
				b.Write(text)
				b.WriteByte('\n')
			}
			line++
		}
	}
	// Prometheus reads the page as a template, in which two braces begin an action.
	return head + consoleHead + strings.ReplaceAll(b.String(), "{{", `\u007b\u007b`) + consoleFoot + foot, nil
}

func (p panel) console(row string, line int) object {
	var queries, steps []object
	for _, q := range p.queries {
		queries = append(queries, object{"expr": q.expr, "legend": q.legend})
	}
	for _, s := range p.steps {
		steps = append(steps, object{"from": s.from, "color": s.color})
	}
	o := object{"row": row, "line": line, "kind": p.kind, "title": p.title, "about": p.about, "unit": p.unit, "queries": queries}
	if steps != nil {
		o["steps"] = steps
	}
	if p.colors != nil {
		o["colors"] = p.colors
	}
	return o
}
