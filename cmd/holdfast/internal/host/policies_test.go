//go:build unix

package host

import (
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/resilience"
)

// What an edge would refuse does not come into force beside it.
func TestPoliciesOfEdgesAreChecked(t *testing.T) {
	if err := checkPolicy("orders", policy.Service{Serves: policy.Serves{Timeout: time.Second}}); err != nil {
		t.Error(err)
	}
	for name, calls := range map[string]policy.Calls{
		"policy":  {Policy: resilience.Policy{MaxAttempts: 99}},
		"balance": {Balance: balance.Config{Subset: -1}},
		"method":  {Methods: map[string]policy.Method{"GET /orders": {Timeout: time.Second, AttemptTimeout: time.Minute}}},
	} {
		if checkPolicy("orders", policy.Service{Calls: calls}) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
