package console_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/platform/control"
)

// source is the page's files by name, as they are embedded.
func source(t *testing.T, pattern string) map[string]string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("assets", pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("assets/%s: %v", pattern, err)
	}
	files := map[string]string{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(name)] = string(data)
	}
	return files
}

// words reads a table of phrases: it is JSON but for its first and last lines.
func words(t *testing.T, file string) map[string]string {
	t.Helper()
	_, body, found := strings.Cut(file, "export default {")
	body, _, closed := strings.Cut(body, "\n};")
	if !found || !closed {
		t.Fatalf("not a table of phrases: %.80s", file)
	}
	table := map[string]string{}
	if err := json.Unmarshal([]byte("{"+strings.TrimSuffix(strings.TrimSpace(body), ",")+"}"), &table); err != nil {
		t.Fatal(err)
	}
	return table
}

var placeholder = regexp.MustCompile(`\{\w+\}`)

func TestBothLanguagesSayEverything(t *testing.T) {
	files := source(t, "*.js")
	en, zh := words(t, files["en.js"]), words(t, files["zh.js"])
	for _, name := range slices.Sorted(maps.Keys(en)) {
		if zh[name] == "" || en[name] == "" {
			t.Errorf("%s: %q, %q", name, en[name], zh[name])
		}
		places := func(phrase string) string {
			return strings.Join(slices.Compact(slices.Sorted(slices.Values(placeholder.FindAllString(phrase, -1)))), " ")
		}
		if strings.HasSuffix(name, ".one") { // which may say "one" or the number
			continue
		}
		if places(en[name]) != places(zh[name]) {
			t.Errorf("%s is filled in with other things: %q, %q", name, en[name], zh[name])
		}
	}
	for name := range zh {
		if en[name] == "" {
			t.Errorf("%s is in Chinese alone", name)
		}
	}
}

var used = regexp.MustCompile(`\b(tn?)\("([\w.]+)"(\s*\+)?`)

func TestNoPhraseIsMissing(t *testing.T) {
	files := source(t, "*.js")
	en := words(t, files["en.js"])
	for name, text := range files {
		for _, u := range used.FindAllStringSubmatch(text, -1) {
			switch key := u[2]; {
			case u[3] != "": // the rest of the name is computed: there is one with this beginning
				if !slices.ContainsFunc(slices.Collect(maps.Keys(en)), func(k string) bool { return strings.HasPrefix(k, key) }) {
					t.Errorf("%s says %s…, of which there is none", name, key)
				}
			case u[1] == "t" && en[key] == "", u[1] == "tn" && (en[key+".one"] == "" || en[key+".other"] == ""):
				t.Errorf("%s says %s, which there is not", name, key)
			}
		}
	}
}

func TestScriptsMakeNoHTMLOfText(t *testing.T) {
	for name, text := range source(t, "*.js") {
		for _, word := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "createContextualFragment", "eval(", "new Function", "setHTML", "srcdoc", "javascript:", "postMessage", "setTimeout(\"", "cssText"} {
			if strings.Contains(text, word) {
				t.Errorf("%s has %s", name, word)
			}
		}
	}
	page := source(t, "index.html")["index.html"]
	for _, script := range regexp.MustCompile(`(?is)<script([^>]*)>(.*?)</script>`).FindAllStringSubmatch(page, -1) {
		if !strings.Contains(script[1], "src=") || script[2] != "" {
			t.Errorf("index.html has a script in it: %s", script[0])
		}
	}
	if regexp.MustCompile(`(?i)\son\w+=|\sstyle=|<style`).MatchString(page) {
		t.Error("index.html has a script or a style in it, which its policy forbids")
	}
}

func TestNothingIsAskedOfOthers(t *testing.T) {
	for name, text := range source(t, "*") {
		for _, url := range regexp.MustCompile(`(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}`).FindAllString(text, -1) {
			if !strings.HasPrefix(url, "http://www.w3.org") { // names of SVG
				t.Errorf("%s has %s", name, url)
			}
		}
	}
}

func TestThePageIsSmall(t *testing.T) {
	total := 0
	for _, text := range source(t, "*") {
		total += len(text)
	}
	if most := 400 << 10; total > most {
		t.Errorf("the page's files have %d bytes before they are compressed, more than %d", total, most)
	}
	t.Logf("%d bytes", total)
}

// What the page lets somebody ask for at once is what the server takes.
func TestBoundsAreTheServers(t *testing.T) {
	files := source(t, "*.js")
	for line, name := range map[string]string{
		fmt.Sprintf("const maxReplicas = %d;", control.MaxReplicas):   "actions.js",
		fmt.Sprintf("const maxPositions = %d;", control.MaxPositions): "queues.js",
		fmt.Sprintf("const maxPage = %d;", control.MaxDead):           "queues.js",
	} {
		if !strings.Contains(files[name], line) {
			t.Errorf("%s does not say %q", name, line)
		}
	}
}

var link = regexp.MustCompile(`import [^;]+ from "\./([a-z0-9]+\.js)"`)

func TestEveryImportIsThere(t *testing.T) {
	files := source(t, "*.js")
	needed := map[string]bool{"app.js": true}
	for name, text := range files {
		for _, l := range link.FindAllStringSubmatch(text, -1) {
			needed[l[1]] = true
			if files[l[1]] == "" {
				t.Errorf("%s imports %s, which there is not", name, l[1])
			}
		}
	}
	for name := range files {
		if !needed[name] {
			t.Errorf("nobody imports %s", name)
		}
	}
}
