package system

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-go/holdfast/internal/strictyaml"
	"github.com/holdfast-go/holdfast/policy"
)

// Load reads the system file at path, or system.yaml in the directory at path, and checks also what only the file
// system knows: that what each service runs is there. An error about the content is a Problems.
func Load(path string) (*System, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("load system: %w", err)
	}
	if info.IsDir() {
		dir := path
		path = filepath.Join(path, File)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("load system: no %s in %s", File, dir)
		}
	}
	b, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("load system: %w", err)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("load system: %w", err)
	}
	p := &parser{Parser: strictyaml.Parser{File: path}}
	p.parse(b)
	p.sys.Dir = dir
	p.checkPrograms()
	p.loadPolicies()
	return p.result()
}

// loadPolicies adds the policies of the file or directory that the system file names.
func (p *parser) loadPolicies() {
	if p.policies == "" {
		return
	}
	path := p.policies
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(p.File), path)
	}
	found, err := policy.Load(path)
	var problems Problems
	switch {
	case errors.As(err, &problems):
		p.Add(problems)
	case errors.Is(err, fs.ErrNotExist):
		p.Problem(p.at[""], "policies: there is no %s", strictyaml.Quote(p.policies))
	case err != nil:
		p.Problem(p.at[""], "policies: %v", err)
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if n := p.at[name]; n != nil {
			p.Problem(n, "policy: %s has one in %s, too; remove one of the two", name, p.policies)
			continue
		}
		if p.sys.Policies == nil {
			p.sys.Policies = make(map[string]policy.Service)
		}
		p.sys.Policies[name] = found[name]
	}
}

// read reads one byte more than is allowed at most, so that Parse sees that it is too much.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxBytes+1))
}

// checkPrograms adds a problem for each service whose package directory or program does not exist.
func (p *parser) checkPrograms() {
	for i, svc := range p.sys.Services {
		words, err := split(svc.Run)
		if err != nil || len(words) == 0 || svc.Env["PATH"] != "" {
			continue // reported already; or not for us to say what will be found
		}
		if message := programProblem(p.sys.Dir, words); message != "" {
			p.Problem(p.runs[i], "%s", message)
		}
	}
}

func programProblem(dir string, words []string) string {
	program := words[0]
	full := program
	if !filepath.IsAbs(full) {
		full = filepath.Join(dir, program)
	}
	info, err := os.Stat(full)
	switch {
	case err == nil && info.IsDir():
		if len(words) > 1 {
			return fmt.Sprintf("run: %s is a directory; a Go package takes no arguments here (use env)", strictyaml.Quote(program))
		}
		if files, _ := filepath.Glob(filepath.Join(full, "*.go")); len(files) == 0 {
			return fmt.Sprintf("run: the directory %s has no Go files", strictyaml.Quote(program))
		}
		return ""
	case strings.ContainsRune(program, filepath.Separator):
		if err == nil && info.Mode()&0o111 == 0 {
			return fmt.Sprintf("run: the file %s is not executable", strictyaml.Quote(program))
		}
		if err == nil {
			return ""
		}
		message := fmt.Sprintf("run: no directory or program %s", strictyaml.Quote(program))
		if near := strictyaml.Nearest(filepath.Base(program), entries(filepath.Dir(full))); near != "" {
			parent := strings.TrimSuffix(program, filepath.Base(program))
			message += "; did you mean " + parent + near + "?"
		}
		return message
	}
	if _, err := exec.LookPath(program); err != nil {
		message := fmt.Sprintf("run: no program %s in PATH", strictyaml.Quote(program))
		if near := strictyaml.Nearest(program, entries(dir)); near != "" {
			message += "; did you mean ./" + near + "?"
		}
		return message
	}
	return ""
}

// entries lists the directories at dir; what cannot be read is empty, because it is only for hints.
func entries(dir string) []string {
	found, _ := os.ReadDir(dir)
	var names []string
	for _, entry := range found {
		if entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names
}
