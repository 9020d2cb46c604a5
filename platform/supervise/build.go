//go:build unix

package supervise

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/build"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// maxBuildOutput bounds what a BuildError keeps.
const maxBuildOutput = 64 << 10

// buildEnds is how long a go command that is interrupted may take to end.
const buildEnds = 5 * time.Second

// Build says what to build. A Build is a value; its methods change nothing in it.
type Build struct {
	// Dir is the directory that Packages start from: that of the system file.
	Dir string
	// Out is the directory that the programs are written to. It is created, and is best kept: what has not changed is not
	// built again.
	Out string
	// Packages are Go package directories, relative to Dir or absolute.
	Packages []string
	// Overlay, if set, is asked for a file for go build -overlay, for the Go that builds a module.
	Overlay func(goroot string) (file string, err error)
	// Progress, if set, is called with the import path of each package that had to be compiled, and with "downloading
	// MODULE VERSION" where a module was missing. Not concurrently.
	Progress func(what string)
}

// BuildError is a failed build.
type BuildError struct {
	// Output is what the go command printed, cut at 64 KiB.
	Output string
	// Err is how it ended.
	Err error
}

// Error is the output, or the cause if there is none.
func (e *BuildError) Error() string {
	if e.Output == "" {
		return "build: " + e.Err.Error()
	}
	return "build failed:\n" + e.Output
}

// Unwrap returns how the go command ended.
func (e *BuildError) Unwrap() error { return e.Err }

// IsPackage reports whether words, from system.Service.Words, name a Go package directory: a single one that is a
// directory.
func (b Build) IsPackage(words []string) bool {
	if len(words) != 1 {
		return false
	}
	info, err := os.Stat(b.path(words[0]))
	return err == nil && info.IsDir()
}

// Run builds all packages with one go build where that is possible, and returns the program of each, by the names in
// Packages. What the compiler says is in the error, a *BuildError. When ctx ends, so does the go command.
func (b Build) Run(ctx context.Context) (map[string]string, error) {
	if len(b.Packages) == 0 {
		return map[string]string{}, nil
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(b.Out, 0o755); err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	out, err := filepath.Abs(b.Out)
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	programs := b.programs()
	var failed []error
	for _, step := range b.steps(programs) {
		target := out + string(filepath.Separator)
		if step.single {
			target = filepath.Join(out, step.names[0])
		}
		if err := b.gobuild(ctx, step, target); err != nil {
			failed = append(failed, err)
		}
	}
	return programs, joinBuild(failed)
}

// Existing returns what Run would, without building. A program that is missing is an error that names it.
func (b Build) Existing() (map[string]string, error) {
	programs := b.programs()
	for _, pkg := range b.Packages {
		if _, err := os.Stat(programs[pkg]); err != nil {
			return nil, fmt.Errorf("program of %s is not built: %w", pkg, err)
		}
	}
	return programs, nil
}

// check finds what is no command without asking the go command, which says it less clearly.
func (b Build) check() error {
	var wrong []string
	for _, pkg := range b.Packages {
		found, err := build.Default.ImportDir(b.path(pkg), 0)
		switch {
		case err != nil && found.Name != "main":
			wrong = append(wrong, fmt.Sprintf("%s: %v", pkg, err))
		case found.Name != "main":
			wrong = append(wrong, fmt.Sprintf("%s: package %s is not a program (package main)", pkg, found.Name))
		}
	}
	if len(wrong) > 0 {
		return &BuildError{Output: strings.Join(wrong, "\n"), Err: errors.New("not a program")}
	}
	return nil
}

func (b Build) path(pkg string) string {
	if filepath.IsAbs(pkg) {
		return filepath.Clean(pkg)
	}
	return filepath.Join(b.Dir, pkg)
}

// programs names the program of each package: like its directory, numbered where two directories have the same name.
func (b Build) programs() map[string]string {
	programs := make(map[string]string, len(b.Packages))
	byPath := make(map[string]string)
	taken := make(map[string]bool)
	for _, pkg := range b.Packages {
		path := b.path(pkg)
		program := byPath[path]
		if program == "" {
			base := filepath.Base(absolute(path))
			name := base
			for n := 2; taken[name]; n++ {
				name = fmt.Sprintf("%s-%d", base, n)
			}
			taken[name] = true
			program = absolute(filepath.Join(b.Out, name))
			byPath[path] = program
		}
		programs[pkg] = program
	}
	return programs
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// step is one go build.
type step struct {
	module string   // the directory it runs in
	dirs   []string // the packages, absolute
	names  []string // of their programs
	single bool     // one package whose program go would name differently
}

// version is an element of an import path after which go does not name a program.
var version = regexp.MustCompile(`^v[0-9]+$`)

// steps groups the packages: by module, with those apart that go would not name as we do.
func (b Build) steps(programs map[string]string) []step {
	byModule := make(map[string]*step)
	var singles []step
	done := make(map[string]bool)
	for _, pkg := range b.Packages {
		dir := absolute(b.path(pkg))
		if done[dir] {
			continue
		}
		done[dir] = true
		name, module := filepath.Base(programs[pkg]), moduleOf(dir)
		if name != filepath.Base(dir) || module == dir || version.MatchString(name) {
			singles = append(singles, step{module: module, dirs: []string{dir}, names: []string{name}, single: true})
			continue
		}
		if byModule[module] == nil {
			byModule[module] = &step{module: module}
		}
		s := byModule[module]
		s.dirs, s.names = append(s.dirs, dir), append(s.names, name)
	}
	var steps []step
	for _, module := range slices.Sorted(maps.Keys(byModule)) {
		steps = append(steps, *byModule[module])
	}
	return append(steps, singles...)
}

// moduleOf is the directory of the go.mod that dir belongs to, dir itself if there is none.
func moduleOf(dir string) string {
	for at := dir; ; at = filepath.Dir(at) {
		if info, err := os.Stat(filepath.Join(at, "go.mod")); err == nil && info.Mode().IsRegular() {
			return at
		}
		if at == filepath.Dir(at) {
			return dir
		}
	}
}

func (b Build) gobuild(ctx context.Context, s step, target string) error {
	args := []string{"build", "-v", "-o", target}
	if b.Overlay != nil {
		file, err := b.overlay(ctx, s.module)
		if err != nil {
			return err
		}
		args = append(args, "-overlay", file)
	}
	for _, dir := range s.dirs {
		rel, err := filepath.Rel(s.module, dir)
		if err != nil {
			return fmt.Errorf("build: %w", err)
		}
		args = append(args, "."+string(filepath.Separator)+rel)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = s.module
	// A group of its own, so that the compilers end with the go command. It is to end with this thread, see spawner.
	cmd.SysProcAttr = sysProcAttr(false)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) } // it takes its temporary files away
	cmd.WaitDelay = buildEnds
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	output := make(chan string, 1)
	go func() { output <- b.follow(r) }()
	err := cmd.Run()
	_ = w.Close() // it never fails
	said := <-output
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		if cmd.Process != nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what the go command has left behind, as a rule nothing
		}
		return ctx.Err()
	}
	return &BuildError{Output: said, Err: err}
}

// overlay asks for the overlay for a module. Which Go builds it stands in its go.mod.
func (b Build) overlay(ctx context.Context, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "GOROOT")
	cmd.Dir = module
	goroot, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("find the Go that builds %s: %w", module, err)
	}
	return b.Overlay(strings.TrimSpace(string(goroot)))
}

// follow reports the progress in what go build -v prints, and returns the rest.
func (b Build) follow(r io.Reader) string {
	var rest bytes.Buffer
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		text := strings.TrimRight(line, "\r\n")
		what, isProgress := progress(text)
		switch {
		case isProgress && b.Progress != nil:
			b.Progress(what)
		case !isProgress && rest.Len()+len(line) <= maxBuildOutput:
			rest.WriteString(line)
		}
		if err != nil {
			return strings.TrimSpace(rest.String())
		}
	}
}

// importPath matches what go build -v prints for a package it compiles. Errors have blanks and colons.
var importPath = regexp.MustCompile(`^[\w.~-]+(/[\w.~+-]+)*$`)

func progress(line string) (what string, ok bool) {
	if module, ok := strings.CutPrefix(line, "go: downloading "); ok {
		return "downloading " + module, true
	}
	return line, importPath.MatchString(line)
}

// joinBuild makes one error of those of several steps.
func joinBuild(failed []error) error {
	if len(failed) <= 1 {
		return errors.Join(failed...)
	}
	var output []string
	for _, err := range failed {
		var b *BuildError
		if !errors.As(err, &b) {
			return err
		}
		output = append(output, b.Output)
	}
	return &BuildError{Output: strings.Join(output, "\n"), Err: errors.Join(failed...)}
}
