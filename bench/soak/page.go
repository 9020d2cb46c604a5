package main

import (
	"bytes"
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/bench/internal/load"
)

// The size of a chart, in SVG's units.
const (
	chartWidth, chartHeight = 460.0, 120.0
	chartLeft, chartBottom  = 40.0, 16.0
)

// chart is the processes of one service.
type chart struct {
	Name  string
	Top   string // MiB at its upper edge
	Warm  float64
	Lines []curve
	Grows bool
}

type curve struct {
	Name, Resident, Heap string // points of polylines
	Class                int
}

// page draws the memory of each service, with the lines of its instances.
func page(s settings, lines []*line, verdicts []verdict, calls load.Calls) []byte {
	grows := make(map[*line]bool)
	for _, v := range verdicts {
		grows[v.line] = v.grows
	}
	var charts []*chart
	groups := make(map[string][]*line)
	for _, l := range lines {
		name, _, _ := strings.Cut(l.name, "-")
		if groups[name] == nil {
			charts = append(charts, &chart{Name: name})
		}
		groups[name] = append(groups[name], l)
	}
	x := func(at time.Duration) float64 {
		return chartLeft + (chartWidth-chartLeft)*at.Seconds()/s.length.Seconds()
	}
	for _, c := range charts {
		top := 1.0
		for _, l := range groups[c.Name] {
			for _, p := range l.points {
				top = max(top, p.resident*1.1)
			}
		}
		c.Top, c.Warm = fmt.Sprintf("%.0f", top), x(s.warm)
		for i, l := range groups[c.Name] {
			var resident, heap strings.Builder
			for _, p := range l.points {
				y := func(v float64) float64 { return (chartHeight - chartBottom) * (1 - v/top) }
				fmt.Fprintf(&resident, "%.1f,%.1f ", x(p.at), y(p.resident))
				if p.heap > 0 {
					fmt.Fprintf(&heap, "%.1f,%.1f ", x(p.at), y(p.heap))
				}
			}
			c.Lines = append(c.Lines, curve{Name: l.name, Resident: resident.String(), Heap: heap.String(), Class: i % 3})
			c.Grows = c.Grows || grows[l]
		}
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, map[string]any{
		"Charts": charts, "Calls": len(calls), "For": s.length.String(), "Rate": s.rate,
		"Width": chartWidth, "Height": chartHeight, "Left": chartLeft, "Floor": chartHeight - chartBottom,
	}); err != nil {
		return []byte(err.Error()) // a template of ours
	}
	return b.Bytes()
}

var pageTemplate = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Memory under load</title>
<meta name="viewport" content="width=device-width">
<style>
:root { color-scheme: light dark; --ink: light-dark(#1c2733, #e4e9ee); --soft: light-dark(#8a97a5, #7c8a98); --ground: light-dark(#fff, #12171d) }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); margin: 2rem; max-width: 60rem }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(24rem, 1fr)); gap: 1rem 2rem }
h2 { font-size: 1rem; margin: 0 } h2 b { color: #c0392b } svg { width: 100%; display: block }
polyline { fill: none; stroke-width: 1.5 } .l0 { stroke: #2274a5 } .l1 { stroke: #1f8a5b } .l2 { stroke: #b5651d }
.heap { stroke-dasharray: 2 3 } line { stroke: var(--soft); stroke-width: .7 } text { fill: var(--soft); font-size: 10px }
</style>
<h1>Memory under load</h1>
<p>{{.Calls}} requests in {{.For}}, {{.Rate}} a second. MiB of each process: resident, without pages of files; dotted: what the
collector found reachable. What is left of the upright line is warm-up.</p>
<main>{{range .Charts}}<section><h2>{{.Name}}{{if .Grows}} <b>grows</b>{{end}}</h2>
<svg viewBox="0 0 {{$.Width}} {{$.Height}}" role="img" aria-label="memory of {{.Name}}, up to {{.Top}} MiB">
<line x1="{{$.Left}}" y1="{{$.Floor}}" x2="{{$.Width}}" y2="{{$.Floor}}"/><line x1="{{.Warm}}" y1="0" x2="{{.Warm}}" y2="{{$.Floor}}"/>
<text x="0" y="10">{{.Top}}</text><text x="0" y="{{$.Floor}}">0</text><text x="{{$.Left}}" y="{{$.Height}}">0</text>
<text x="{{$.Width}}" y="{{$.Height}}" text-anchor="end">{{$.For}}</text>
{{range .Lines}}<polyline class="l{{.Class}}" points="{{.Resident}}"><title>{{.Name}}</title></polyline>
{{if .Heap}}<polyline class="l{{.Class}} heap" points="{{.Heap}}"/>{{end}}{{end}}</svg></section>
{{end}}</main></html>
`))
