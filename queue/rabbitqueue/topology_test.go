package rabbitqueue

import (
	"fmt"
	"testing"
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
