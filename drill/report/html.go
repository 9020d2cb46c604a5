package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"io"
	"strings"
	"sync"
)

// The page's parts. Its style and its script are constants, so that the page can forbid all others by their hashes.
var (
	//go:embed page.tmpl
	pageTemplate string
	//go:embed page.css
	pageStyle string
	//go:embed page.js
	pageScript string
)

// HTML writes one page that needs nothing else: no network, no other file, and no script except to filter the failed calls
// and to read the timeline. With several reports it begins with an overview. Errors are those of w.
//
// The page forbids, by a Content-Security-Policy of its own, everything but its style and its script, which are the same on
// every page; what comes from outside is escaped, and could not run if it were not.
func HTML(w io.Writer, reports ...*Report) error {
	t, err := parsed()
	if err != nil {
		return err
	}
	v := newPage(reports)
	// The hashes are of the bytes between the tags.
	style, script := strings.TrimSpace(pageStyle), strings.TrimSpace(pageScript)
	v.Style, v.Script = template.CSS(style), template.JS(script) //nolint:gosec // our own files
	v.Policy = "default-src 'none'; base-uri 'none'; form-action 'none'; style-src '" + hash(style) + "'; script-src '" + hash(script) + "'"
	return t.Execute(w, v)
}

// parsed is the page's template: parsed once, and not changed any more.
var parsed = sync.OnceValues(func() (*template.Template, error) { return template.New("page").Parse(pageTemplate) })

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
