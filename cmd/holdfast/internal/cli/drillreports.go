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
	"strings"

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
	place bool // file is what is at path, and stays
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
			if err := want.open(); err != nil {
				r.close()
				return nil, usage("%s cannot be written: %v", want.path, err)
			}
		}
		r.files = append(r.files, want)
	}
	return r, nil
}

// open makes sure that the report can be written. A file is replaced when it is whole; what is there and is no file, such as a
// device, a pipe or a link, is written to.
func (f *drillReport) open() (err error) {
	info, err := os.Lstat(f.path)
	switch {
	case err == nil && info.IsDir(), strings.HasSuffix(f.path, string(filepath.Separator)):
		return errors.New("it is a directory")
	case err == nil && !info.Mode().IsRegular():
		f.place = true
		f.file, err = os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE, 0o644)
	default:
		f.file, err = os.CreateTemp(filepath.Dir(f.path), filepath.Base(f.path)+".*")
	}
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err
	}
	return err
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
		if wrong := f.finish(reports); wrong != nil {
			err = errors.Join(err, fmt.Errorf("write %s: %w", f.path, wrong))
		}
	}
	return err
}

func (f *drillReport) finish(reports []*report.Report) error {
	if f.place {
		_ = f.file.Truncate(0) // a device or a pipe cannot be
		return errors.Join(f.write(f.file, reports...), f.file.Close())
	}
	if err := errors.Join(f.write(f.file, reports...), f.file.Chmod(0o644), f.file.Close()); err != nil {
		return err
	}
	return os.Rename(f.file.Name(), f.path)
}

// close takes away what was not written.
func (r *drillReports) close() {
	for _, f := range r.files {
		if f.file != nil {
			_ = f.file.Close()
			if f.place {
				continue
			}
			if err := os.Remove(f.file.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
				continue // it is a temporary file that the user will see
			}
		}
	}
}
