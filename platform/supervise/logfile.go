//go:build unix

package supervise

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// logFile is the log of one instance on disk, ID.log, and the one before it, ID.log.1. For one goroutine at a time.
type logFile struct {
	path  string
	limit int64
	file  *os.File
	size  int64
	// broken is set by an error. Then it is left alone: a full disk must not stop a service.
	broken bool
}

func openLog(dir, id string, limit int64) (*logFile, error) {
	l := &logFile{path: filepath.Join(dir, id+".log"), limit: limit}
	return l, l.open()
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("open log: %w", err)
	}
	l.file, l.size = f, info.Size()
	return nil
}

// write appends one line. It returns an error once; after that it does nothing.
func (l *logFile) write(now time.Time, text string) (err error) {
	if l.file == nil || l.broken {
		return nil
	}
	defer func() { l.broken = err != nil }()
	line := now.UTC().Format("2006-01-02T15:04:05.000Z ") + text + "\n"
	if l.size > 0 && l.size+int64(len(line)) > l.limit {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	n, err := l.file.WriteString(line)
	l.size += int64(n)
	if err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	return nil
}

func (l *logFile) rotate() error {
	if err := l.close(); err != nil {
		return err
	}
	if err := os.Rename(l.path, l.path+".1"); err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	return l.open()
}

func (l *logFile) close() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
