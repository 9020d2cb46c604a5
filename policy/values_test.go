package policy_test

import (
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/policy"
)

func TestValues(t *testing.T) {
	s, err := policy.Parse("orders", []byte(`
calls:
  timeout: 2s
  hedge: off
  methods:
    "/shop.v1.Orders/Get": {timeout: 500ms}
serves:
  quotas: {alice: 5, bob: {rate: 3, burst: 9}}
`))
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]policy.Value)
	for _, v := range policy.Values(s) {
		if _, twice := got[v.Key]; twice {
			t.Errorf("%s is there twice", v.Key)
		}
		got[v.Key] = v
	}
	for key, want := range map[string]string{
		"calls.timeout": "2s", "calls.hedge": "off", "calls.attempts": "", "calls.methods./shop.v1.Orders/Get.timeout": "500ms",
		"serves.quotas": `{"alice": 5, "bob": {rate: 3, burst: 9}} (2)`,
	} {
		if v, ok := got[key]; !ok || v.Value != want {
			t.Errorf("%s is %+v (there: %v), want %q", key, v, ok, want)
		}
	}
	if got["calls.attempts"].Standard != "3" {
		t.Errorf("the default of calls.attempts is %q", got["calls.attempts"].Standard)
	}
	for key := range got {
		if strings.HasPrefix(key, "calls.hedge.") {
			t.Errorf("%s of what is off", key)
		}
	}
	for _, v := range policy.Values(policy.Service{}) {
		if v.Value != "" {
			t.Errorf("nothing is set, and %s is %q", v.Key, v.Value)
		}
	}
}
