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
	file  *os.File // nil while it is not open
	size  int64

	// After an error the file is left alone until retry, since a full disk must not slow a service down. lost are the lines
	// that are missing since.
	retry time.Time
	lost  int
}

// logRetry is how long a log file that could not be written is left alone.
const logRetry = 10 * time.Second

// newLog returns the log of an instance. The file is opened at the first line.
func newLog(dir, id string, limit int64) *logFile {
	return &logFile{path: filepath.Join(dir, id+".log"), limit: limit}
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

// write appends one line. The first error of a row is returned; then lines are dropped, and counted, until it works again.
func (l *logFile) write(now time.Time, text string) error {
	if now.Before(l.retry) {
		l.lost++
		return nil
	}
	at := now.UTC().Format("2006-01-02T15:04:05.000Z ")
	lines := at + text + "\n"
	if l.lost > 0 { // the one that failed may have been written in part
		lines = fmt.Sprintf("\n%s… %d lines before this one could not be written\n%s", at, l.lost, lines)
	}
	err := l.append(lines)
	if err == nil {
		l.lost = 0
		return nil
	}
	l.retry = now.Add(logRetry)
	l.lost++
	if l.lost > 1 {
		return nil // reported already
	}
	return err
}

func (l *logFile) append(line string) error {
	if l.file == nil {
		if err := l.open(); err != nil {
			return err
		}
	}
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
