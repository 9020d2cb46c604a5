//go:build unix

package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func texts(lines []Line) []string {
	var texts []string
	for _, l := range lines {
		texts = append(texts, l.Text)
	}
	return texts
}

func TestLogsLast(t *testing.T) {
	l := newLogs(3)
	for i := range 5 {
		l.add(Line{Service: "a", Instance: fmt.Sprintf("a-%d", i%2+1), Text: fmt.Sprintf("a%d", i)})
		l.add(Line{Service: "b", Instance: "b-1", Text: fmt.Sprintf("b%d", i)})
	}
	for _, c := range []struct {
		name string
		n    int
		want []string
	}{
		{"a", 10, []string{"a2", "a3", "a4"}},
		{"a", 2, []string{"a3", "a4"}},
		{"a-2", 10, []string{"a3"}},
		{"", 3, []string{"b3", "a4", "b4"}},
		{"", 100, []string{"a2", "b2", "a3", "b3", "a4", "b4"}},
		{"c", 10, nil},
		{"a", 0, nil},
		{"a", -1, nil},
	} {
		if got := texts(l.last(c.name, c.n)); !slices.Equal(got, c.want) {
			t.Errorf("last(%q, %d) = %q, want %q", c.name, c.n, got, c.want)
		}
	}
}

// Lines may be long: the bytes are bounded, too.
func TestLogsBytes(t *testing.T) {
	l := newLogs(1_000_000)
	text := strings.Repeat("x", 10_000)
	for range 1000 {
		l.add(Line{Service: "a", Text: text})
	}
	if n := len(l.last("a", 1_000_000)); n != ringBytes/10_000 {
		t.Errorf("%d lines are kept", n)
	}
}

func TestLogsFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogs(100)
		l.add(Line{Service: "a", Text: "before"})
		l.add(Line{Service: "b", Text: "other"})
		lines, tail := l.follow("a", 10)
		if got := texts(lines); !slices.Equal(got, []string{"before"}) {
			t.Errorf("got %q", got)
		}
		go func() {
			l.add(Line{Service: "b", Text: "other"})
			l.add(Line{Service: "a", Text: "after"})
		}()
		ctx := t.Context()
		if line, err := tail.Next(ctx); err != nil || line.Text != "after" {
			t.Errorf("%v, %v", line, err)
		}
		// A reader that is too slow loses the oldest, and is told so where they are missing.
		for i := range tailLines + 7 {
			l.add(Line{Service: "a", Text: fmt.Sprint(i)})
		}
		if line, err := tail.Next(ctx); err != nil || line.Dropped != 7 {
			t.Errorf("%+v, %v", line, err)
		}
		if line, err := tail.Next(ctx); err != nil || line.Text != "7" {
			t.Errorf("%+v, %v", line, err)
		}
		// What was said before the end is still read.
		l.close()
		n := 1
		for ; ; n++ {
			if _, err := tail.Next(ctx); err != nil {
				if !errors.Is(err, io.EOF) {
					t.Error(err)
				}
				break
			}
		}
		if n != tailLines {
			t.Errorf("%d lines", n)
		}
		tail.Stop()
		_, late := l.follow("a", 0)
		if _, err := late.Next(ctx); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		late.Stop()
	})
}

// The output of a crash is that of the last process all of whose output is there.
func TestLastOutput(t *testing.T) {
	of := func(start int, texts ...string) (lines []Line) {
		for _, text := range texts {
			lines = append(lines, Line{Text: text, start: start})
		}
		return lines
	}
	many := make([]string, 2*crashOutput)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for _, tc := range []struct {
		name  string
		lines []Line
		read  int
		want  []string
	}{
		{"nothing", nil, 3, nil},
		{"the last", slices.Concat(of(1, "a", "b"), of(2, "c", "d")), 2, []string{"c", "d"}},
		{"the last is being read", slices.Concat(of(1, "a", "b"), of(2, "c")), 1, []string{"a", "b"}},
		{"the last wrote nothing", slices.Concat(of(1, "a"), of(2, "b")), 3, []string{"b"}},
		{"too much", slices.Concat(of(1, "a"), of(2, many...)), 2, many[crashOutput:]},
	} {
		if got := texts(lastOutput(tc.lines, tc.read)); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestFeedEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeed[int](2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, _, err := f.next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		f.push(1)
		if v, dropped, err := f.next(t.Context()); v != 1 || dropped != 0 || err != nil {
			t.Error(v, dropped, err)
		}
	})
}

func TestLogFileRotates(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2030, 1, 2, 3, 4, 5, 6e6, time.UTC)
	const lineLen = len("2030-01-02T03:04:05.006Z line 0\n")
	write := func(from, to int) {
		t.Helper()
		l := newLog(dir, "shop-1", 3*int64(lineLen))
		for i := from; i < to; i++ {
			if err := l.write(now, fmt.Sprintf("line %d", i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.close(); err != nil {
			t.Fatal(err)
		}
	}
	write(0, 2)
	write(2, 8) // and what was there before is kept
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(b), "2030-01-02T03:04:05.006Z ", "")
	}
	if got := read("shop-1.log"); got != "line 6\nline 7\n" {
		t.Errorf("got %q", got)
	}
	if got := read("shop-1.log.1"); got != "line 3\nline 4\nline 5\n" {
		t.Errorf("got %q", got)
	}
}

// A log that cannot be written is reported once; the service goes on.
// A log file that cannot be written, for which a missing directory stands here, is given up for a while, not for good.
func TestLogFileThatFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	now := time.Date(2030, 1, 2, 3, 4, 5, 6e6, time.UTC)
	l := newLog(dir, "shop-1", 1000)
	if err := l.write(now, "a"); err == nil {
		t.Fatal("no error")
	}
	for _, after := range []time.Duration{time.Second, logRetry, logRetry + time.Second} {
		if err := l.write(now.Add(after), "b"); err != nil {
			t.Error("reported again:", err)
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"c", "d"} {
		if err := l.write(now.Add(3*logRetry), text); err != nil {
			t.Error(err)
		}
	}
	if err := l.close(); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "shop-1.log"))
	const at = "2030-01-02T03:04:35.006Z "
	if want := "\n" + at + "… 4 lines before this one could not be written\n" + at + "c\n" + at + "d\n"; err != nil || string(b) != want {
		t.Errorf("got %q, %v", b, err)
	}
}
