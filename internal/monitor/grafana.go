package monitor

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// object is one of JSON's; its keys are written in their order.
type object = map[string]any

// source is the data source that the reader has chosen.
var source = object{"type": "prometheus", "uid": "${datasource}"}

// Grafana's grid, in its own units.
const gridWidth = 24

var heights = map[kind]int{stat: 4, timeline: 5, graph: 8, areas: 8}

// variables are what the reader can choose, from the values of the label. All
// is each of them by name, which leaves out Fluent Bit's other inputs, unless
// there may be too many.
var variables = []struct {
	label, title, among string
	many                bool
}{
	{label: "job", title: "Job"},
	{label: "instance", title: "Fluent Bit", among: `{job=~"$job"}`},
	{label: "input", title: "Input", among: `{` + ofHost + `}`},
	{label: "log", title: "Log", among: `{` + ofInput + `}`, many: true},
	{label: "account", title: "Account", among: `{` + ofInput + `}`, many: true},
}

// grafana returns the dashboard as Grafana imports it.
func grafana() ([]byte, error) {
	var panels []object
	y := 0
	add := func(p object, x, width, height int) {
		p["id"] = len(panels) + 1
		p["gridPos"] = object{"x": x, "y": y, "w": width, "h": height}
		panels = append(panels, p)
	}
	for _, r := range dashboard {
		add(object{"type": "row", "title": r.title, "collapsed": false, "panels": []any{}}, 0, gridWidth, 1)
		y++
		for _, line := range r.panels {
			width := gridWidth / len(line)
			for i, p := range line {
				add(p.grafana(), i*width, width, heights[p.kind])
			}
			y += heights[line[0].kind]
		}
	}
	choices := []object{{"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus", "refresh": 1}}
	for _, v := range variables {
		query := "label_values(duo_in_up" + v.among + ", " + v.label + ")"
		choice := object{
			"type": "query", "name": v.label, "label": v.title, "datasource": source,
			"query": object{"query": query, "refId": v.label}, "refresh": 2, "sort": 1,
			"multi": true, "includeAll": true, "current": object{"text": []string{"All"}, "value": []string{"$__all"}},
		}
		if v.many {
			choice["allValue"] = ".*"
		}
		choices = append(choices, choice)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	err := enc.Encode(object{
		"title": "duo_in", "uid": "duo-in", "tags": []string{"duo", "fluent-bit"},
		"description":   "Duo's logs on their way through Fluent Bit: whether all is well, and if not, where it stands.",
		"schemaVersion": 39, // of Grafana 10.4; later ones migrate it
		"editable":      true, "graphTooltip": 1, "refresh": "30s", "timezone": "browser",
		"time":       object{"from": "now-6h", "to": "now"},
		"templating": object{"list": choices},
		"annotations": object{"list": []object{{
			"name": "Alerts", "datasource": source, "enable": true, "iconColor": "red",
			"target": object{"expr": firing, "refId": "Anno"}, "titleFormat": "{{alertname}}", "textFormat": "{{input}} {{log}} {{account}} {{name}}",
		}}},
		"panels": panels,
	})
	return b.Bytes(), err
}

// grafana returns the panel without its place.
func (p panel) grafana() object {
	kind := p.kind
	if kind == areas {
		kind = graph
	}
	var targets []object
	for i, q := range p.queries {
		t := object{"refId": string(rune('A' + i)), "datasource": source, "expr": q.expr, "editorMode": "code", "range": p.kind != stat, "instant": p.kind == stat}
		if q.legend != "" {
			t["legendFormat"] = q.legend
		}
		targets = append(targets, t)
	}
	defaults := object{"unit": p.unit, "min": 0, "color": object{"mode": "palette-classic"}}
	var overrides = []object{}
	for _, name := range slices.Sorted(maps.Keys(p.colors)) {
		overrides = append(overrides, object{
			"matcher":    object{"id": "byName", "options": name},
			"properties": []object{{"id": "color", "value": object{"mode": "fixed", "fixedColor": p.colors[name]}}},
		})
	}
	var options object
	switch p.kind {
	case stat:
		defaults["decimals"] = 0
		defaults["color"] = object{"mode": "thresholds"}
		options = object{
			"colorMode": "background", "graphMode": "none", "justifyMode": "auto", "orientation": "auto", "textMode": "value",
			"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
		}
	case timeline:
		defaults["color"] = object{"mode": "thresholds"}
		defaults["custom"] = object{"fillOpacity": 80, "lineWidth": 0}
		options = object{
			"alignValue": "left", "mergeValues": true, "rowHeight": 0.8, "showValue": "never",
			"legend":  object{"displayMode": "list", "placement": "bottom", "showLegend": false, "calcs": []string{}},
			"tooltip": object{"mode": "single", "sort": "none"},
		}
	default:
		defaults["custom"] = p.lines()
		options = object{
			"legend":  object{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{"lastNotNull"}},
			"tooltip": object{"mode": "multi", "sort": "desc"},
		}
	}
	if p.steps != nil {
		defaults["thresholds"] = object{"mode": "absolute", "steps": p.thresholds()}
	}
	return object{
		"type": kind, "title": p.title, "description": p.about, "datasource": source, "targets": targets, "options": options,
		"fieldConfig": object{"defaults": defaults, "overrides": overrides},
	}
}

// lines is how a graph is drawn.
func (p panel) lines() object {
	custom := object{"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "stacking": object{"group": "A", "mode": "none"}}
	if p.kind == areas {
		custom["fillOpacity"] = 60
		custom["stacking"] = object{"group": "A", "mode": "normal"}
	}
	if p.steps != nil {
		custom["thresholdsStyle"] = object{"mode": "dashed"}
	}
	return custom
}

// thresholds are the steps as Grafana has them: the first has no value.
func (p panel) thresholds() (out []object) {
	for i, s := range p.steps {
		var from any = s.from
		if i == 0 {
			from = nil
		}
		out = append(out, object{"color": s.color, "value": from})
	}
	return out
}
