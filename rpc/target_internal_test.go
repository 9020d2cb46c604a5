package rpc

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/holdfast-go/holdfast/resilience"
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

// What a call was lowered to is not undone by the metadata that its request came with and that somebody passes on.
func TestMetadataPassedOnIsReplaced(t *testing.T) {
	came := metadata.Pairs(resilience.HeaderCriticality, "critical_plus", resilience.HeaderTenant, "acme", "other", "stays")
	for _, tt := range []struct {
		r             resilience.Request
		level, tenant []string
	}{
		{resilience.Request{}, nil, nil},
		{resilience.Request{Criticality: resilience.Sheddable, Tenant: "b"}, []string{"sheddable"}, []string{"b"}},
	} {
		ctx := sendRequest(metadata.NewOutgoingContext(t.Context(), came), tt.r)
		md, _ := metadata.FromOutgoingContext(ctx)
		if got := md.Get(resilience.HeaderCriticality); !slices.Equal(got, tt.level) {
			t.Errorf("%+v: criticality %q", tt.r, got)
		}
		if got := md.Get(resilience.HeaderTenant); !slices.Equal(got, tt.tenant) || len(md.Get("other")) != 1 {
			t.Errorf("%+v: tenant %q", tt.r, got)
		}
	}
	if ctx := t.Context(); sendRequest(ctx, resilience.Request{}) != ctx || len(came.Get(resilience.HeaderTenant)) != 1 {
		t.Error("the default costs something, or changes what came")
	}
}
