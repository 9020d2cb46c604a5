package rabbitqueue

import (
	"context"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestTopicsAreBounded: names that come from outside are forgotten when there are too many, and topics with something to declare are not.
func TestTopicsAreBounded(t *testing.T) {
	var top topology
	top.know("grouped", []string{"g"}, 0)
	top.know("replicated", nil, 5)
	for i := range 3 * maxBare {
		name := fmt.Sprint("x", i)
		top.doubt("doubted " + name)
		if top.known("asked " + name) {
			t.Fatal("nobody has told of it")
		}
		top.know(name, nil, 0)
		if s := top.topics[name]; s == nil {
			t.Fatalf("%s is not there", name)
		}
	}
	if n := len(top.topics); n > maxBare+2 {
		t.Errorf("%d topics are known", n)
	}
	if !top.known("grouped") || top.topics["replicated"] == nil || top.topics["replicated"].replicas != 5 {
		t.Error("a topic with something to declare is forgotten")
	}
	for i := range 2 * maxBare {
		top.know(fmt.Sprint("x", i), []string{"g"}, 0)
	}
	for i := range 2 * maxBare {
		if name := fmt.Sprint("x", i); !top.known(name) {
			t.Fatalf("%s is forgotten", name)
		}
	}
	if n := len(top.topics); n > 3*maxBare+2 {
		t.Errorf("%d topics are known at the end", n)
	}
}

// TestOnePublicationAMinuteLooks whether the queues of several groups are there, and goes on soon when nobody answers. The others, and those
// of a topic with one group, wait for nothing.
func TestOnePublicationAMinuteLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := Open(Config{Endpoints: []string{"127.0.0.1:1"}, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		if err != nil {
			t.Fatal(err)
		}
		conn := alive()
		for topic, groups := range map[string][]string{"one": {"a"}, "several": {"a", "b"}} {
			e.topology.know(topic, groups, 0)
			s := e.topology.topics[topic]
			s.on, s.verified = conn, time.Now()
		}
		for _, round := range []struct {
			after time.Duration
			looks int
		}{{0, 0}, {verifyEvery - 1, 0}, {1, 1}, {verifyEvery / 2, 0}, {verifyEvery / 2, 1}, {time.Hour, 1}} {
			<-time.After(round.after)
			for topic, want := range map[string]int{"one": 0, "several": round.looks} {
				const n = 50
				took := make(chan time.Duration, n)
				for range n {
					go func() {
						begun := time.Now()
						if err := e.declared(t.Context(), topic, conn); err != nil {
							t.Error(err)
						}
						took <- time.Since(begun)
					}()
				}
				looked := 0
				for range n {
					switch d := <-took; {
					case d > verifyWithin:
						t.Errorf("it took %v", d)
					case d > 0:
						looked++
					}
				}
				if looked != want {
					t.Errorf("%s: %d of %d looked, want %d", topic, looked, n, want)
				}
			}
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
}
