package rpc

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/holdfast-go/holdfast/admission"
	"github.com/holdfast-go/holdfast/balance"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/idempotency"
	"github.com/holdfast-go/holdfast/resilience"
)

// Whatever comes in the metadata of a call, it is served or refused as a call should be, and what its handler gets to
// know is within bounds.
func FuzzServerMetadata(f *testing.F) {
	for _, s := range [][5]string{
		{"", "", "", "", ""},
		{"critical_plus", "acme", "1", "1", "order-17"},
		{"sheddable", "a b", "99", "2", "\"quoted\""},
		{"CRITICAL_PLUS", strings.Repeat("x", 65), "100", "\x00", strings.Repeat("k", 257)},
		{"7", "\xff", "-1", "", "a\nb"},
	} {
		f.Add(s[0], s[1], s[2], s[3], s[4], false)
		f.Add(s[0], s[1], s[2], s[3], s[4], true)
	}
	quiet := slog.New(slog.DiscardHandler)
	f.Fuzz(func(t *testing.T, criticality, tenant, attempt, probe, key string, twice bool) {
		untrusted := len(criticality)%2 == 0
		h := newHandling(ServerConfig{
			Logger: quiet, Untrusted: untrusted,
			Admission: admission.Config{Quota: admission.Quota{Rate: 1000, Burst: 1000}, MaxTenants: 8},
		}.defaults(), newEnding())
		dedupe := Deduplicate(idempotency.New(new(idempotency.Memory), idempotency.Config{Logger: quiet}), DedupeConfig{})
		md := make(metadata.MD)
		for name, value := range map[string]string{
			resilience.HeaderCriticality: criticality, resilience.HeaderTenant: tenant, resilience.HeaderAttempt: attempt,
			balance.HeaderLoadProbe: probe, keyHeader: key,
		} {
			md.Append(name, value)
			if twice {
				md.Append(name, value)
			}
		}
		ran := 0
		info := &grpc.UnaryServerInfo{FullMethod: "/a.B/C"}
		call := func() error {
			ctx, cancel := context.WithTimeout(metadata.NewIncomingContext(t.Context(), md), time.Second)
			defer cancel()
			_, err := h.unary(ctx, nil, info, func(ctx context.Context, req any) (any, error) {
				return dedupe(ctx, req, info, func(ctx context.Context, _ any) (any, error) {
					ran++
					r, incoming := resilience.RequestOf(ctx)
					if !incoming || r.Criticality < resilience.Sheddable || r.Criticality > resilience.CriticalPlus ||
						untrusted && r.Criticality > resilience.Critical || r.Tenant != "" && !resilience.ValidTenant(r.Tenant) || r.Attempt < 0 ||
						twice && r != (resilience.Request{}) {
						t.Errorf("%+v, %v", r, incoming)
					}
					return nil, failure.New(failure.NotFound, "nothing")
				})
			})
			return err
		}
		want := failure.NotFound
		if twice || !validKey(key) {
			want = failure.InvalidArgument
		}
		for range 2 {
			if err := call(); failure.CodeOf(err) != want {
				t.Errorf("%v: %v", md, err)
			}
		}
		if (want == failure.NotFound) != (ran == 1) {
			t.Errorf("%v: ran %d times", md, ran)
		}
	})
}
