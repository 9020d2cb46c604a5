//go:build real

package embed_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-go/holdfast/platform/embed"
)

// A member that has lost its data does not come back as the one that it was; one that is put in its place gets
// everything from the others, and counts.
func TestRealReplace(t *testing.T) {
	members := cluster(t)
	put(t, client(t, members...), "k", "v")
	lost := members[1]
	lost.stop(t)
	check(t, os.RemoveAll(filepath.Join(lost.cfg.DataDir, "member")))
	contains(t, runError(t, lost.cfg), "has lost its data")

	others := []string{members[0].cfg.ClientAddr, members[2].cfg.ClientAddr}
	check(t, embed.Replace(soon(t), lost.cfg, others))
	check(t, embed.Replace(soon(t), lost.cfg, others)) // as after one that was given up
	back := run(t, lost.cfg)
	waitReady(t, back)
	if got := get(t, client(t, back), "k"); got != "v" {
		t.Errorf("got %q", got)
	}
	// Without it there would be no majority now.
	members[0].stop(t)
	put(t, client(t, back, members[2]), "k", "two")
	// It is the same one from now on.
	back.stop(t)
	again := run(t, lost.cfg)
	waitReady(t, again)
	if got := get(t, client(t, again), "k"); got != "two" {
		t.Errorf("got %q", got)
	}
}

// Whoever replaces a member dies after the others have taken it out, and before its data is deleted: the member does the rest
// itself when it is started. What it was started beside stays.
func TestRealReplaceInterrupted(t *testing.T) {
	members := cluster(t)
	put(t, client(t, members...), "k", "v")
	lost := members[1]
	lost.stop(t)
	members[2].stop(t) // etcd takes nobody in before its members have been together for 5 s: they begin anew
	members[2] = run(t, members[2].cfg)
	waitReady(t, members[0], members[2])
	beside := filepath.Join(lost.cfg.DataDir, "queue")
	check(t, os.Mkdir(beside, 0o700))
	others := []string{members[0].cfg.ClientAddr, members[2].cfg.ClientAddr}
	rest := client(t, members[0], members[2])
	ctx, cancel := context.WithCancel(soon(t))
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- embed.Replace(ctx, lost.cfg, others) }()
	for n := 3; n == 3; {
		select {
		case err := <-done:
			t.Fatalf("too late: it is done: %v", err)
		default:
		}
		list, err := rest.MemberList(ctx)
		check(t, err)
		n = len(list.Members)
	}
	cancel()
	if err := <-done; err == nil {
		t.Fatal("too late: it is done")
	}
	back := run(t, lost.cfg)
	waitReady(t, back)
	members[0].stop(t)
	put(t, client(t, back, members[2]), "k", "two") // it counts
	if _, err := os.Stat(beside); err != nil {
		t.Error(err)
	}
	back.stop(t)
	again := run(t, lost.cfg)
	waitReady(t, again)
	if got := get(t, client(t, again), "k"); got != "two" {
		t.Errorf("got %q", got)
	}
}
