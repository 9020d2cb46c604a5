package resilience

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestCriticalityIsNeverRaisedWithinARequest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		level := rapid.Custom(func(t *rapid.T) Criticality { return Criticality(rapid.IntRange(-5, 5).Draw(t, "c")) })
		came := level.Draw(t, "came")
		ctx := WithRequest(context.Background(), Request{Criticality: came, Tenant: "t", Attempt: 1})
		came = CriticalityOf(ctx)
		for range rapid.IntRange(0, 4).Draw(t, "times") {
			before := CriticalityOf(ctx)
			ctx = WithTenant(WithCriticality(ctx, level.Draw(t, "own")), "u")
			if after := CriticalityOf(ctx); after > before {
				t.Fatalf("raised from %v to %v", before, after)
			}
		}
		out, incoming := Outgoing(ctx, level.Draw(t, "declared"))
		if out.Criticality > came || !incoming || out.Attempt != 1 {
			t.Fatalf("came %v, goes on as %+v, incoming %v", came, out, incoming)
		}
	})
}

func TestOutgoing(t *testing.T) {
	bg := context.Background()
	for _, tt := range []struct {
		name     string
		ctx      context.Context
		declared Criticality
		want     Request
	}{
		{"nothing is known", bg, 0, Request{}},
		{"the method's", bg, Sheddable, Request{Criticality: Sheddable}},
		{"chosen", WithCriticality(bg, CriticalPlus), Sheddable, Request{Criticality: CriticalPlus}},
		{"chosen, then a tenant", WithTenant(WithCriticality(bg, Critical), "a"), Sheddable, Request{Tenant: "a"}},
		{"a tenant alone", WithTenant(bg, "a"), Sheddable, Request{Criticality: Sheddable, Tenant: "a"}},
		{"no tenant", WithTenant(bg, "a b"), 0, Request{}},
		{"came so", WithRequest(bg, Request{Criticality: CriticalPlus}), 0, Request{Criticality: CriticalPlus}},
		{"came so, but the method is less", WithRequest(bg, Request{Criticality: CriticalPlus}), SheddablePlus, Request{Criticality: SheddablePlus}},
		{"came as less than the method", WithRequest(bg, Request{Criticality: Sheddable}), CriticalPlus, Request{Criticality: Sheddable}},
	} {
		if got, _ := Outgoing(tt.ctx, tt.declared); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// What WithRequest makes is a context like any other: values, cancellation and deadline of its parent are its own.
func TestRequestContextIsTransparent(t *testing.T) {
	type key struct{}
	parent, cancel := context.WithDeadline(context.WithValue(context.Background(), key{}, 1), time.Now().Add(time.Hour))
	ctx := WithRequest(parent, Request{Tenant: "a"})
	child, stop := context.WithCancel(ctx)
	defer stop()
	if _, ok := child.Deadline(); !ok || child.Value(key{}) != 1 || TenantOf(child) != "a" {
		t.Error("something of the parent is lost")
	}
	cancel()
	<-child.Done()
	if n := testing.AllocsPerRun(100, func() { WithRequest(parent, Request{}) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParseRequest(f *testing.F) {
	for _, s := range []string{"", "sheddable", "critical_plus", "CRITICAL", "0", "7", "-1", "99", "100", "1e3", "acme.eu-1", "a b", strings.Repeat("x", 65), "\x00"} {
		f.Add(s, s, s)
	}
	f.Fuzz(func(t *testing.T, criticality, tenant, attempt string) {
		r := ParseRequest(criticality, tenant, attempt)
		if r != r.clean() {
			t.Fatalf("out of bounds: %+v", r)
		}
		again := ParseRequest(r.Criticality.String(), r.Tenant, strconv.Itoa(r.Attempt))
		if again != r {
			t.Fatalf("%+v becomes %+v when it is passed on", r, again)
		}
	})
}
