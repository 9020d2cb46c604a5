package rpc

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/holdfast-go/holdfast/failure"
)

func FuzzDedupeResult(f *testing.F) {
	seed := func(resp any, err error) {
		result, ok := encodeResult(resp, err)
		if !ok {
			f.Fatal(resp, err)
		}
		f.Add(result)
	}
	seed(wrapperspb.String("order 17"), nil)
	seed(nil, failure.New(failure.NotFound, "no order 18").WithReason("NO_ORDER", "shop"))
	f.Add([]byte(nil))
	f.Add([]byte("m"))
	f.Add([]byte("s"))
	f.Add([]byte("m\x0a\x06/a.b.C"))
	f.Fuzz(func(t *testing.T, result []byte) {
		resp, err := parseResult(result)
		if (resp == nil) == (err == nil) {
			t.Fatalf("%v, %v", resp, err)
		}
		again, ok := encodeResult(resp, err)
		if !ok {
			t.Fatalf("%v, %v came out, and does not go in", resp, err)
		}
		resp2, err2 := parseResult(again)
		if failure.CodeOf(err) != failure.CodeOf(err2) || resp != nil && !proto.Equal(resp.(proto.Message), resp2.(proto.Message)) {
			t.Fatalf("%v, %v became %v, %v", resp, err, resp2, err2)
		}
	})
}
