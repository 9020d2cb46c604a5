// Package pagetest drives pages in a real Chromium, for tests: it says what a page complains about, what it loads, and whether
// axe-core finds that somebody could not use it. Chromium has to be installed; axe-core is fetched by `make axe`, once, into the
// user's cache.
package pagetest

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// AxeVersion is that of tools/axe/pom.xml, which is one of axe-core's packages and not quite axe-core's own.
const AxeVersion = "4.10.1"

// maxScript bounds what is read of the archive.
const maxScript = 4 << 20

// AxeSource is the script of axe-core. The error says how to get it.
func AxeSource() (string, error) {
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find axe-core: %w", err)
		}
		cache = filepath.Join(home, ".cache")
	}
	jar, err := zip.OpenReader(filepath.Join(cache, "holdfast", "axe-"+AxeVersion, "selenium-"+AxeVersion+".jar"))
	if err != nil {
		return "", fmt.Errorf("find axe-core: %w: run `make axe` first", err)
	}
	defer func() { _ = jar.Close() }()
	f, err := jar.Open("axe.min.js")
	if err != nil {
		return "", fmt.Errorf("read axe-core: %w", err)
	}
	defer func() { _ = f.Close() }()
	script, err := io.ReadAll(io.LimitReader(f, maxScript+1))
	if err == nil && len(script) > maxScript {
		err = errors.New("it is too large")
	}
	if err != nil {
		return "", fmt.Errorf("read axe-core: %w", err)
	}
	return string(script), nil
}

// axeRun is a script that resolves to a line for each rule that is violated. All rules count, those of good practice too.
const axeRun = `axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations.map((v) =>
  v.id + " (" + v.impact + "): " + v.help + ": " + v.nodes.slice(0, 4).map((n) =>
    n.target.join(" ") + " " + n.html.slice(0, 160) + " " + (n.any[0] ?? n.all[0] ?? n.none[0])?.message).join(" | ")))`
