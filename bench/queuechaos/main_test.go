package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/bench/internal/broker"
	"github.com/holdfast-go/holdfast/bench/internal/trial"
)

func TestMain(m *testing.M) {
	broker.Child()
	child()
	goleak.VerifyTestMain(m)
}

func TestShort(t *testing.T) {
	var out strings.Builder
	err := trial.Execute(t.Context(), program, []string{"-short", "-engines", "nats", "-inbox", "sqlite", "-timeline"}, &out)
	if err != nil {
		t.Fatal(err, out.String())
	}
	kept(t, out.String())
	if !strings.Contains(out.String(), "longest time without an effect") {
		t.Errorf("no figures in:\n%s", out.String())
	}
}

// kept checks what a short run says, which the program does not judge.
func kept(t *testing.T, report string) {
	t.Helper()
	for _, never := range []string{"of these lost", "effects that happened twice", "effects out of their key's order", "dead letters"} {
		if figure(report, never) != "0" {
			t.Errorf("%s: %q\n%s", never, figure(report, never), report)
		}
	}
	if n, err := strconv.Atoi(figure(report, "messages confirmed to publishers")); err != nil || n < 1000 {
		t.Errorf("%d messages are confirmed, %v\n%s", n, err, report)
	}
}

// figure returns what was measured: of a line "NAME  ≤ 0 (worst)  MEASURED  SEED".
func figure(report, name string) string {
	for line := range strings.Lines(report) {
		if _, after, ok := strings.Cut(line, name); ok {
			if _, measured, ok := strings.Cut(after, "(worst)"); ok {
				return strings.Fields(measured)[0]
			}
		}
	}
	return ""
}

// TestFigure: what is not there is no 0.
func TestFigure(t *testing.T) {
	const report = "nats  messages confirmed  ≥ 1000 (worst)  1000  1000\n      of these lost  ≤ 0 (worst)  3  3\n"
	if got := figure(report, "of these lost"); got != "3" {
		t.Errorf("lost: %q", got)
	}
	if got := figure(report, "dead letters"); got != "" {
		t.Errorf("dead letters: %q", got)
	}
}

// TestJudge: what must not be is found.
func TestJudge(t *testing.T) {
	second := func(n int) time.Time { return time.Unix(int64(n), 0) }
	msg := func(key, seq int) payload { return payload{Key: key, Seq: seq} }
	v := judge([]published{
		{Payload: msg(1, 1), Took: time.Second, At: second(0)},
		{Payload: msg(1, 2), Code: "UNAVAILABLE", Took: time.Minute},
		{Payload: msg(1, 2), At: second(2)},
		{Payload: msg(1, 3), At: second(2)},
		{Payload: msg(1, 4), At: second(3)},
		{Payload: msg(2, 1), At: second(2)},
		{Payload: msg(2, 2), Code: "DEADLINE_EXCEEDED"},
	}, []happened{
		{msg(1, 1), second(1), ""},
		{msg(2, 2), second(2), ""}, // not confirmed, and before the first
		{msg(2, 1), second(3), ""},
		{msg(1, 3), second(7), ""},
		{msg(1, 2), second(8), ""},
		{msg(1, 3), second(9), ""}, // again: has been counted
	}, map[string]int{"1-1": 3, "1-2": 1})
	if v.confirmed != 5 || v.refused != 2 || v.lost != 1 || len(v.examples) != 1 || v.examples[0] != "1-4" || v.unasked != 1 || v.twice != 1 ||
		v.disorder != 2 || v.deliveries != 4 || v.again != 2 || v.longest != 4*time.Second || v.took != 8*time.Second || v.slowest != time.Second ||
		v.oldest != 6*time.Second || v.oldestID != "1-2" {
		t.Errorf("got %+v", v)
	}
}

// TestDiaries: what one process writes another reads, but for a line that was not finished.
func TestDiaries(t *testing.T) {
	dir := t.TempDir()
	ok := published{Payload: payload{Key: 7, Seq: 3}, At: time.Unix(5, 6), Took: time.Second}
	bad := published{Payload: payload{Key: 8, Seq: 4}, At: time.Unix(6, 6), Took: 2 * time.Second, Late: time.Millisecond, Code: "UNAVAILABLE"}
	write(t, filepath.Join(dir, "a.published"), ok.String())
	write(t, filepath.Join(dir, "b.published"), bad.String())
	all, err := readPublished(dir)
	if err != nil || len(all) != 2 || all[0] != ok || all[1] != bad {
		t.Errorf("got %+v, %v", all, err)
	}
	if n, slowest, late, codes := complaints(all, time.Unix(0, 0), time.Unix(9, 0)); n != 1 || slowest != 2*time.Second || late != time.Millisecond || codes != "1 UNAVAILABLE" {
		t.Errorf("complaints: %d, %v, %s", n, slowest, codes)
	}
	all[0].Code = "INTERNAL"
	if n := unclear(all, time.Unix(0, 0)); n != 1 {
		t.Errorf("%d are not clear", n)
	}
	write(t, filepath.Join(dir, "a.delivered"), "1-1\n1-2\n")
	write(t, filepath.Join(dir, "b.delivered"), "1-1\n")
	delivered, err := readDelivered(dir)
	if err != nil || len(delivered) != 2 || delivered["1-1"] != 2 {
		t.Errorf("got %v, %v", delivered, err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
