package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// published is what a publisher was told of one publication.
type published struct {
	Payload payload
	At      time.Time
	Took    time.Duration
	Late    time.Duration // of Took, after this process has noticed that the deadline is over
	Code    string        // "" if it is confirmed
}

// String is its line in the diary.
func (p published) String() string {
	code := p.Code
	if code == "" {
		code = "OK"
	}
	return fmt.Sprintln(p.Payload.Key, p.Payload.Seq, p.At.UnixNano(), p.Took.Nanoseconds(), p.Late.Nanoseconds(), code)
}

// readPublished returns what all publishers have written so far.
func readPublished(dir string) ([]published, error) {
	var out []published
	err := eachLine(filepath.Join(dir, "*.published"), func(line string) error {
		var p published
		var at int64
		if _, err := fmt.Sscan(line, &p.Payload.Key, &p.Payload.Seq, &at, &p.Took, &p.Late, &p.Code); err != nil {
			return fmt.Errorf("line %q: %w", line, err)
		}
		if p.At = time.Unix(0, at); p.Code == "OK" {
			p.Code = ""
		}
		out = append(out, p)
		return nil
	})
	return out, err
}

// Once implements queue.Inbox.
func (c counted) Once(ctx context.Context, scope, id string, run func(ctx context.Context) error) error {
	if _, err := fmt.Fprintln(c.diary, id); err != nil {
		return fmt.Errorf("diary: %w", err)
	}
	return c.Inbox.Once(ctx, scope, id, run) //nolint:wrapcheck // says it all
}

// readDelivered returns how often handlers were about to be called for each message.
func readDelivered(dir string) (map[string]int, error) {
	out := map[string]int{}
	err := eachLine(filepath.Join(dir, "*.delivered"), func(line string) error {
		out[line]++
		return nil
	})
	return out, err
}

// eachLine calls do for each whole line of all files of that name.
func eachLine(pattern string, do func(line string) error) error {
	names, err := filepath.Glob(pattern)
	if err != nil {
		return fmt.Errorf("diaries: %w", err)
	}
	for _, name := range names {
		f, err := os.Open(name) //nolint:gosec // below the directory of the run
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("diaries: %w", err)
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() && err == nil {
			err = do(lines.Text())
		}
		if err = errors.Join(err, lines.Err(), f.Close()); err != nil {
			return fmt.Errorf("diary %s: %w", filepath.Base(name), err)
		}
	}
	return nil
}
