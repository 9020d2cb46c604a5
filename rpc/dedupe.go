package rpc

import (
	"context"
	"fmt"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/idempotency"
	"github.com/holdfast-go/holdfast/resilience"
)

// replayedTrailer is "true" in the trailer of an answer that is that of an earlier call.
const replayedTrailer = "idempotent-replayed"

// DedupeConfig configures Deduplicate. The zero value works.
type DedupeConfig struct {
	// Required holds the methods, by full name ("/shop.Orders/Place"), that are answered INVALID_ARGUMENT without a key.
	Required []string
	// Caller returns whose keys those of a call are; see idempotency.Key.Caller. nil: the tenant of the call, which a
	// caller may claim as it likes. Where callers must not be given each other's answers, take it from what authentication
	// has found out, and not from a token, which a repetition may bring another one of.
	Caller func(context.Context) string
}

// Deduplicate returns an interceptor for ServerConfig.UnaryInterceptors: of the calls with one idempotency key (the metadata
// "idempotency-key", see WithIdempotencyKey) one is handled, and all get its answer, message or status. Read package
// idempotency for what that promises, and what not. Authentication, if it is an interceptor, comes before it.
//
// Calls without a key, and calls of methods whose protobuf idempotency_level says that they may be repeated, are handled
// each. So are streams. Header and trailer metadata that the handler sets are not kept. A key that is no key, or
// was used with another request, is INVALID_ARGUMENT; one whose call is under way elsewhere ABORTED, when the
// deadline is too short to wait. Statuses which idempotency.Final does not name, and those that say when to come
// back, give the key back.
//
// What a request asks for is compared by its deterministic encoding. A message that is no protobuf message is not compared.
func Deduplicate(ledger *idempotency.Ledger, cfg DedupeConfig) grpc.UnaryServerInterceptor {
	d := &dedupe{ledger: ledger, required: make(map[string]bool, len(cfg.Required)), caller: cfg.Caller}
	for _, method := range cfg.Required {
		d.required[method] = true
	}
	if d.caller == nil {
		d.caller = resilience.TenantOf
	}
	return d.unary
}

type dedupe struct {
	ledger   *idempotency.Ledger
	required map[string]bool
	caller   func(context.Context) string
}

var errKeyMissing = failure.New(failure.InvalidArgument, "this method needs an idempotency key").
	WithReason("IDEMPOTENCY_KEY_MISSING", idempotency.Domain)

func (d *dedupe) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	keys := metadata.ValueFromIncomingContext(ctx, keyHeader)
	switch {
	case len(keys) == 0 && d.required[info.FullMethod]:
		return nil, errKeyMissing
	case len(keys) == 0, declaredSafe(info.FullMethod):
		return handler(ctx, req)
	case len(keys) > 1:
		return nil, idempotency.ErrKey
	}
	claim, err := d.ledger.Begin(ctx, idempotency.Key{Method: info.FullMethod, Caller: d.caller(ctx), Key: keys[0]}, fingerprint(req))
	if err != nil {
		return nil, err
	}
	if result, ok := claim.Replayed(); ok {
		_ = grpc.SetTrailer(ctx, metadata.Pairs(replayedTrailer, "true")) // only fails outside of a server
		return parseResult(result)
	}
	defer claim.Release(ctx)
	resp, err := handler(ctx, req)
	if e := failure.From(err); e != nil && (!idempotency.Final(e.Code) || e.RetryAfter > 0) {
		return resp, err
	}
	// That an answer was not kept has been logged; it is true all the same.
	if result, ok := encodeResult(resp, err); ok {
		_ = claim.Finish(ctx, result)
	} else {
		_ = claim.FinishUnkept(ctx)
	}
	return resp, err
}

func fingerprint(req any) idempotency.Fingerprint {
	m, ok := req.(proto.Message)
	if !ok {
		return idempotency.Fingerprint{}
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return idempotency.Fingerprint{}
	}
	return idempotency.FingerprintOf(data)
}

// The first byte of a result says what follows.
const (
	resultMessage = 'm' // a google.protobuf.Any
	resultStatus  = 's' // a google.rpc.Status
)

// encodeResult is false for an answer that could not be given again: its message is of a type that is not linked in.
func encodeResult(resp any, err error) ([]byte, bool) {
	kind := byte(resultStatus)
	var m proto.Message
	if err != nil {
		m = failure.Status(err).Proto()
	} else {
		answer, ok := resp.(proto.Message)
		if !ok || answer == nil {
			return nil, false
		}
		if _, err := protoregistry.GlobalTypes.FindMessageByName(answer.ProtoReflect().Descriptor().FullName()); err != nil {
			return nil, false
		}
		packed, err := anypb.New(answer)
		if err != nil {
			return nil, false
		}
		kind, m = resultMessage, packed
	}
	result, err := proto.MarshalOptions{}.MarshalAppend([]byte{kind}, m)
	return result, err == nil
}

// parseResult is the inverse of encodeResult.
func parseResult(result []byte) (any, error) {
	unreadable := func(err error) error {
		return failure.Wrap(err, failure.DataLoss, "the answer to an earlier call cannot be read")
	}
	if len(result) == 0 {
		return nil, unreadable(fmt.Errorf("it is empty"))
	}
	switch result[0] {
	case resultMessage:
		packed := new(anypb.Any)
		if err := proto.Unmarshal(result[1:], packed); err != nil {
			return nil, unreadable(err)
		}
		t, err := protoregistry.GlobalTypes.FindMessageByName(packed.MessageName())
		if err != nil {
			return nil, unreadable(err)
		}
		m := t.New().Interface()
		if err := packed.UnmarshalTo(m); err != nil {
			return nil, unreadable(err)
		}
		return m, nil
	case resultStatus:
		p := new(spb.Status)
		if err := proto.Unmarshal(result[1:], p); err != nil {
			return nil, unreadable(err)
		}
		if s := status.FromProto(p); s.Code() != 0 {
			return nil, s.Err()
		}
		return nil, unreadable(fmt.Errorf("a failure that is none"))
	default:
		return nil, unreadable(fmt.Errorf("kind %q", result[0]))
	}
}
