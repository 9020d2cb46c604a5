package wallclock

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// looks is what is added to package time.
//
//go:embed looks.go.txt
var looks []byte

// now is the line of time.Now that asks the machine, as Go has had it since 1.9; the function has changed its name since.
var now = regexp.MustCompile(`(?m)^\tsec, nsec, mono := (?:now|runtimeNow)\(\)\n`)

// Overlay writes what go build -overlay takes, into a directory of its own, for the Go that is installed at goroot, and
// returns the path of the file. A Go whose time.Now is not known is an error.
func Overlay(goroot, dir string) (string, error) {
	file, err := overlay(goroot, dir)
	if err != nil {
		return "", fmt.Errorf("build with clocks that can be moved: %w", err)
	}
	return file, nil
}

func overlay(goroot, dir string) (string, error) {
	std := filepath.Join(goroot, "src", "time")
	source, err := os.ReadFile(filepath.Join(std, "time.go"))
	if err != nil {
		return "", err
	}
	patched, err := patch(string(source))
	if err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Join(std, "time.go"), err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	replace := map[string]string{
		filepath.Join(std, "time.go"):              filepath.Join(dir, "time.go"),
		filepath.Join(std, "zz_holdfast_clock.go"): filepath.Join(dir, "looks.go"),
	}
	config, err := json.MarshalIndent(map[string]any{"Replace": replace}, "", "  ")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, errors.Join(
		os.MkdirAll(dir, 0o755),
		write(filepath.Join(dir, "time.go"), []byte(patched)),
		write(filepath.Join(dir, "looks.go"), looks),
		write(file, config),
	)
}

// write leaves a file alone that is as it should be, so that go build finds it unchanged.
func write(file string, b []byte) error {
	if old, err := os.ReadFile(file); err == nil && string(old) == string(b) {
		return nil
	}
	return os.WriteFile(file, b, 0o644)
}

// patch has time.Now add what the file says.
func patch(source string) (string, error) {
	const begin, end = "\nfunc Now() Time {\n", "\n}\n"
	from := strings.Index(source, begin)
	if from < 0 || strings.Count(source, begin) != 1 {
		return "", errors.New("there is no time.Now as it is known")
	}
	body, _, whole := strings.Cut(source[from:], end)
	at := now.FindAllStringIndex(body+"\n", -1)
	if !whole || len(at) != 1 {
		return "", errors.New("time.Now of this version of Go is not known")
	}
	cut := from + at[0][1]
	return source[:cut] + "\tsec, nsec = holdfastClock(sec, nsec)\n" + source[cut:], nil
}
