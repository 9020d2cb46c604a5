//go:build unix

package supervise

import "context"

// Build says what to build.
type Build struct {
	// Dir is the directory that Packages start from: that of the system file.
	Dir string
	// Out is the directory that the programs are written to. It is created.
	Out string
	// Packages are Go package directories, relative to Dir or absolute.
	Packages []string
	// Progress, if set, is called for each package that had to be compiled. Not concurrently.
	Progress func(importPath string)
}

// Run builds all packages with one go build where that is possible, and returns the program of
// each package directory. What the compiler says is in the error, a *BuildError.
func (b Build) Run(ctx context.Context) (map[string]string, error) { return nil, errTodo }

// IsPackage reports whether words, from system.Service.Words, name a Go package directory.
func (b Build) IsPackage(words []string) bool { return false }

// BuildError is a failed build.
type BuildError struct {
	// Output is what the go command printed, paths relative to Build.Dir, cut at 64 KiB.
	Output string
	// Err is how it ended.
	Err error
}

func (e *BuildError) Error() string { return "build services: " + e.Output }

func (e *BuildError) Unwrap() error { return e.Err }
