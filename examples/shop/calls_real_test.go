//go:build real && linux

package shop_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-go/holdfast/examples/shop/gen/analyticspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/cartpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/catalogpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/notificationspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/orderspb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/paymentpb"
	"github.com/holdfast-go/holdfast/examples/shop/gen/shippingpb"
)

// services are those with gRPC, by the names of their instances.
var services = map[string]grpc.ServiceDesc{
	"cart": cartpb.Cart_ServiceDesc, "catalog": catalogpb.Catalog_ServiceDesc, "inventory": inventorypb.Inventory_ServiceDesc,
	"orders": orderspb.Orders_ServiceDesc, "payment": paymentpb.Payment_ServiceDesc,
	"shipping": shippingpb.Shipping_ServiceDesc, "notifications": notificationspb.Notifications_ServiceDesc, "analytics": analyticspb.Analytics_ServiceDesc,
}

// callWrongly calls every method of every service with messages that are none, with some that are too large, and with
// some whose fields are nonsense.
func callWrongly(t *testing.T, ports []port) {
	for _, p := range ports {
		service, number, _ := strings.Cut(p.owner, "-")
		if p.protocol != "grpc" || number != "1" {
			continue
		}
		desc, ok := services[service]
		if !ok {
			t.Errorf("nothing is known of %v", p)
			continue
		}
		conn := dial(t, p)
		random := newRandom(uint64(number[0]))
		for _, m := range desc.Methods {
			method := "/" + desc.ServiceName + "/" + m.MethodName
			for range 20 {
				callRaw(t, conn, method, noise(random, 1+random.IntN(2000)), "")
			}
			callRaw(t, conn, method, make([]byte, 8<<20), "", codes.ResourceExhausted)
		}
		// A bomb: 32 MiB of zeros, in 32 KiB. A server that does not unpack is as safe as one that stops.
		callRaw(t, conn, "/"+desc.ServiceName+"/"+desc.Methods[0].MethodName, make([]byte, 32<<20), gzip.Name, codes.ResourceExhausted, codes.Unimplemented)
	}
	for _, call := range []struct {
		service, method string
		message         proto.Message
	}{
		{"cart", "SetItem", &cartpb.SetItemRequest{Customer: "../..", Product: "sencha", Quantity: 1}},
		{"cart", "SetItem", &cartpb.SetItemRequest{Customer: "ada", Product: "sencha", Quantity: -5}},
		{"cart", "Get", &cartpb.GetRequest{Customer: strings.Repeat("a", 1<<20)}},
		{"catalog", "Get", &catalogpb.GetRequest{Ids: slices.Repeat([]string{"sencha"}, 100_000)}},
		{"catalog", "Search", &catalogpb.SearchRequest{Offset: -1}},
		{"catalog", "Search", &catalogpb.SearchRequest{Query: strings.Repeat("a ", 100_000)}},
		{"inventory", "GetStock", &inventorypb.GetStockRequest{Products: slices.Repeat([]string{"sencha"}, 100_000)}},
		{"inventory", "Reserve", &inventorypb.ReserveRequest{Order: "o", Lines: []*inventorypb.Line{{Product: "sencha", Quantity: -9}}}},
		{"inventory", "Reserve", &inventorypb.ReserveRequest{Order: "o", Lines: []*inventorypb.Line{nil}}},
		{"inventory", "Reserve", &inventorypb.ReserveRequest{Order: "a/b", Lines: []*inventorypb.Line{{Product: "sencha", Quantity: 1}}}},
		{"orders", "Place", &orderspb.PlaceRequest{IdempotencyKey: "a b", Customer: "ada", Items: []*orderspb.Item{{Product: "sencha", Quantity: 1}}}},
		{"orders", "Place", &orderspb.PlaceRequest{IdempotencyKey: "k", Customer: "ada", Items: []*orderspb.Item{nil}}},
		{"orders", "Place", &orderspb.PlaceRequest{IdempotencyKey: "k", Customer: "ada", Items: slices.Repeat([]*orderspb.Item{{Product: "sencha", Quantity: 1}}, 10_000)}},
		{"orders", "List", &orderspb.ListRequest{Customer: "ada", Limit: -1}},
		{"orders", "Get", &orderspb.GetRequest{Id: "a/../b"}},
		{"payment", "Charge", &paymentpb.ChargeRequest{Key: "k", Customer: "ada", Currency: "EUR", Minor: -100}},
		{"payment", "Charge", &paymentpb.ChargeRequest{Key: "a/b", Customer: "ada", Currency: "EUR", Minor: 100}},
		{"payment", "Void", &paymentpb.VoidRequest{Key: ""}},
		{"payment", "Charge", &paymentpb.ChargeRequest{Key: "k", Customer: "ada", Currency: "EUR", Minor: 100, Card: "a b"}},
		{"orders", "Place", &orderspb.PlaceRequest{IdempotencyKey: "k", Customer: "ada", Card: "\x00", Items: []*orderspb.Item{{Product: "sencha", Quantity: 1}}}},
		{"shipping", "Get", &shippingpb.GetRequest{Orders: slices.Repeat([]string{"ord"}, 100_000)}},
		{"shipping", "Get", &shippingpb.GetRequest{Orders: []string{"a/../b"}}},
	} {
		at := slices.IndexFunc(ports, func(p port) bool { return p.owner == call.service+"-1" && p.protocol == "grpc" })
		if at < 0 {
			t.Fatalf("%s-1 has no gRPC", call.service)
		}
		b, err := proto.Marshal(call.message)
		if err != nil {
			t.Fatal(err)
		}
		callRaw(t, dial(t, ports[at]), "/"+services[call.service].ServiceName+"/"+call.method, b, "", codes.InvalidArgument)
	}
}

// callRaw sends bytes as a message. Without codes wanted it takes any answer that does not blame the server: bytes drawn
// at random are a message now and then.
func callRaw(t *testing.T, conn *grpc.ClientConn, method string, message []byte, compressor string, want ...codes.Code) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // a bomb is packed under the race detector first
	defer cancel()
	opts := []grpc.CallOption{grpc.ForceCodec(rawCodec{}), grpc.MaxCallRecvMsgSize(64 << 20), grpc.MaxCallSendMsgSize(128 << 20)}
	if compressor != "" {
		opts = append(opts, grpc.UseCompressor(compressor))
	}
	var answer []byte
	err := conn.Invoke(ctx, method, &message, &answer, opts...)
	got := status.Code(err)
	switch {
	case len(want) == 0 && got != codes.Unavailable && got != codes.DeadlineExceeded && got != codes.Unknown:
	case slices.Contains(want, got):
	default:
		t.Errorf("%s with %d bytes %.20x (%s): %v, want %v", method, len(message), message, compressor, err, want)
	}
}

// rawCodec takes messages as the bytes they are.
type rawCodec struct{}

var _ encoding.Codec = rawCodec{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) ([]byte, error) { return bytes.Clone(*v.(*[]byte)), nil }

func (rawCodec) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(b)
	return nil
}

func dial(t *testing.T, p port) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(p.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
