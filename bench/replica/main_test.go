package main

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	child()
	goleak.VerifyTestMain(m)
}

func TestShortOfTheCeiling(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), []string{"-short", "-engines", "bare", "-c", "2", "-dir", t.TempDir()}, &out); err != nil {
		t.Fatal(err)
	}
	for _, m := range modes {
		if !strings.Contains(out.String(), m.name+", 2 at a time") {
			t.Errorf("no figures of %q in:\n%s", m.name, out.String())
		}
	}
}

func TestFlagsThatMakeNoSense(t *testing.T) {
	for _, args := range []string{"-c 0", "-c x", "-engines mysql", "-modes nothing", "-rounds 0", "-round 0s", "-times 0", "-election 1ms"} {
		if _, err := parse(strings.Fields(args)); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
}

func TestAPromiseIsJudgedByTheMedianOfNeighbours(t *testing.T) {
	clusters := []*cluster{{engine: etcd}, {engine: holdfast}}
	rounds := [][]result{{{rate: 100}, {rate: 10}, {rate: 100}}, {{rate: 151}, {rate: 15.2}, {rate: 1}}}
	var out strings.Builder
	if !judge(&out, modes[0], 64, clusters, rounds) || !strings.Contains(out.String(), "1.51 of etcd") {
		t.Error(out.String())
	}
	rounds[1][0].rate = 149
	if judge(&out, modes[0], 64, clusters, rounds) {
		t.Error(out.String())
	}
}

func TestAVerdictIsThatOfTheMedianAndTheWorst(t *testing.T) {
	for all, kept := range map[[3]int]bool{{10, 20, 30}: true, {10, 21, 30}: false, {10, 20, 31}: false} {
		v := verdict{what: "it", median: 20, worst: 30}
		for _, d := range all {
			v.all = append(v.all, time.Duration(d))
		}
		if v.print(new(strings.Builder), holdfast, true) != kept {
			t.Errorf("%v: kept %v", all, !kept)
		}
	}
}

func TestOnlyAWriteThatBeginsWhenTheLeaderIsGoneEndsAFailover(t *testing.T) {
	w := new(writers)
	signal := time.Now().Add(-time.Second) // the leader took a second to end
	recovered := w.breaks(signal)
	w.done(0, signal.Add(500*time.Millisecond), nil) // it may have acknowledged this one itself
	select {
	case <-recovered:
		t.Fatalf("after %v", w.first)
	default:
	}
	w.done(0, time.Now().Add(time.Millisecond), nil)
	select {
	case <-recovered:
	default:
		t.Fatal("not recovered")
	}
	if w.first < time.Second || w.acknowledged[0] != 2 {
		t.Errorf("%v after the signal, %d writes", w.first, w.acknowledged[0])
	}
}

func TestErrorsOfDifferentClientsAreNotNamedAlike(t *testing.T) {
	if a, b := failed(etcd, 3), failed(holdfast, 3); !strings.Contains(a, "one for each write") || strings.Contains(a, "callers saw") || !strings.Contains(b, "callers saw 3") {
		t.Errorf("%s\n%s", a, b)
	}
}
