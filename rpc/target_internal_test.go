package rpc

import (
	"fmt"
	"testing"
	"time"
)

// Beyond so many methods nothing is measured any more, but what was configured of one holds.
func TestTheTermsOfAMethodBeyondTheLastOneKept(t *testing.T) {
	const name = "/shop.Orders/Place"
	target := newTarget("shop", ClientConfig{Methods: map[string]MethodPolicy{name: {Timeout: time.Minute, Safe: true}}}.defaults())
	for i := range maxMethods {
		target.method(fmt.Sprint("/shop.Orders/", i))
	}
	m, terms := target.method(name)
	if m != target.other || terms.policy.Timeout != time.Minute || !terms.safe {
		t.Errorf("kept: %v; timeout %v, safe %v", m != target.other, terms.policy.Timeout, terms.safe)
	}
	if _, terms = target.method("/shop.Orders/Other"); terms.safe {
		t.Error("another one has its terms")
	}
}
