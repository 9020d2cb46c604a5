package rpc

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/holdfast-go/holdfast/resilience"
)

func FuzzPushback(f *testing.F) {
	for _, seed := range []string{"", "-1", "0", "300", "+5", " 7", "1e3", "99999999999999999999", "\x00", "０"} {
		f.Add(seed, seed == "0")
	}
	f.Fuzz(func(t *testing.T, value string, twice bool) {
		trailer := metadata.Pairs(pushbackHeader, value)
		if twice {
			trailer.Append(pushbackHeader, value)
		}
		got := pushback(status.New(codes.Unavailable, value), trailer)
		if got <= 0 || got != resilience.Never && (twice || got != resilience.AtOnce && got%time.Millisecond != 0 || got > 1<<31*time.Millisecond) {
			t.Errorf("%q: %v", value, got)
		}
	})
}

func FuzzIdempotencyKey(f *testing.F) {
	for _, seed := range []string{"", "order-1", " ", "a\nb", "naïve", "\xff", "~"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		ctx, keyed, err := sendKey(WithIdempotencyKey(t.Context(), key))
		if keyed != (key != "") {
			t.Errorf("%q: keyed %v", key, keyed)
		}
		sent, _ := metadata.FromOutgoingContext(ctx)
		got, ok := IdempotencyKey(metadata.NewIncomingContext(context.Background(), metadata.MD{keyHeader: {key}}))
		if taken := keyed && err == nil; ok != taken || ok && (got != key || sent.Get(keyHeader)[0] != key) {
			t.Errorf("%q: sent %v (%v), received %q, %v", key, sent, err, got, ok)
		}
	})
}

func FuzzMethodName(f *testing.F) {
	for _, seed := range []string{"", "/", "//", "/a.B/C", "a", "/a.B/", "/grpc.health.v1.Health/Check", "/\xff/."} {
		f.Add(seed)
	}
	target := newTarget("echo", ClientConfig{Methods: map[string]MethodPolicy{"/a.B/": {Safe: true}}}.defaults())
	f.Fuzz(func(t *testing.T, name string) {
		m, terms := target.method(name)
		if again, _ := target.method(name); m != again && m != target.other {
			t.Errorf("%q: not the same twice", name)
		}
		if name == "/a.B/C" && !terms.safe {
			t.Error("the policy of its service is not applied")
		}
	})
}

func TestTheMethodsThatAreKnownAreBounded(t *testing.T) {
	target := newTarget("echo", ClientConfig{}.defaults())
	for i := range maxMethods + 100 {
		target.method(fmt.Sprint("/a.B/", i))
	}
	if n := target.count.Load(); n != maxMethods {
		t.Errorf("%d methods", n)
	}
	if m, terms := target.method("/a.B/more"); m != target.other || terms.safe {
		t.Errorf("%+v", m)
	}
}
