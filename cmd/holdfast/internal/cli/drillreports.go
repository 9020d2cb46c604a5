//go:build unix

package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/holdfast-go/holdfast/drill/report"
)

// drillReports are the files that reports go to, opened before anything is broken.
type drillReports struct {
	files []drillReport
	out   io.Writer
}

type drillReport struct {
	path  string // "-" is standard output
	file  *os.File
	write func(io.Writer, ...*report.Report) error
}

func (a *app) openReports(opts drillOptions) (*drillReports, error) {
	r := &drillReports{out: output{a}}
	for _, want := range []drillReport{
		{path: opts.html, write: report.HTML}, {path: opts.json, write: report.JSON}, {path: opts.junit, write: report.JUnit},
	} {
		switch {
		case want.path == "":
			continue
		case want.path == "-" && r.quiet():
			r.close()
			return nil, usage("only one report can go to standard output")
		case want.path != "-":
			f, err := os.CreateTemp(filepath.Dir(want.path), filepath.Base(want.path)+".*")
			if err != nil {
				r.close()
				return nil, usage("%s cannot be written: %v", want.path, errors.Unwrap(err))
			}
			want.file = f
		}
		r.files = append(r.files, want)
	}
	return r, nil
}

// quiet reports whether standard output belongs to a report.
func (r *drillReports) quiet() bool {
	return slices.ContainsFunc(r.files, func(f drillReport) bool { return f.path == "-" })
}

// write writes them all, each whole or not at all.
func (r *drillReports) write(reports []*report.Report) (err error) {
	for _, f := range r.files {
		if f.file == nil {
			err = errors.Join(err, f.write(r.out, reports...))
			continue
		}
		wrong := f.write(f.file, reports...)
		wrong = errors.Join(wrong, f.file.Chmod(0o644), f.file.Close())
		if wrong == nil {
			wrong = os.Rename(f.file.Name(), f.path)
		}
		if wrong != nil {
			err = errors.Join(err, fmt.Errorf("write %s: %w", f.path, wrong))
		}
	}
	return err
}

// close takes away what was not written.
func (r *drillReports) close() {
	for _, f := range r.files {
		if f.file != nil {
			_ = f.file.Close()
			if err := os.Remove(f.file.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
				continue // it is a temporary file that the user will see
			}
		}
	}
}
