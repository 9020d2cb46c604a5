package rpc

import (
	"context"
	"testing"

	"google.golang.org/grpc/metadata"
)

// Were package metadata to change, calls would be as before and take some allocations more.
func TestLuggageIsMetadata(t *testing.T) {
	if theirRaw == nil {
		t.Fatal("the metadata of a context looks different now")
	}
	a := &attempt{lifetime: lifetime{Context: context.Background()}}
	if n := testing.AllocsPerRun(100, func() { a.luggage.pack(theirRaw, "key", "value") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	ctx := metadata.AppendToOutgoingContext(a, "other", "one")
	md, ok := metadata.FromOutgoingContext(ctx)
	if !ok || len(md) != 2 || md["key"][0] != "value" || md["other"][0] != "one" {
		t.Errorf("%v", md)
	}
	if md, _ = metadata.FromOutgoingContext(a); len(md) != 1 {
		t.Errorf("%v", md)
	}
}
