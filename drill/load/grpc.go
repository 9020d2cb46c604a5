package load

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/rpc"
)

// grpcSender sends over gRPC.
type grpcSender struct {
	conn   grpc.ClientConnInterface
	name   string // /package.Type/Method
	method protoreflect.MethodDescriptor
	types  *dynamicpb.Types
}

// grpc gives a call what sends it over gRPC.
func (c *Caller) grpc(ctx context.Context, p *Prepared) error {
	to, method, ok := strings.Cut(p.call.GRPC, "/")
	symbol, name, ok2 := strings.Cut(method, "/")
	if !ok || !ok2 || to == "" || symbol == "" || name == "" || strings.Contains(name, "/") {
		return invalid("grpc %q: it is SERVICE/package.Type/Method", cut(p.call.GRPC, 80))
	}
	conn, types, err := c.service(to)
	if err != nil {
		return err
	}
	found, err := types.find(ctx, symbol)
	if err != nil {
		return failure.Wrap(err, failure.CodeOf(err), "grpc %s: %s", p.call.GRPC, says(err))
	}
	md := found.Methods().ByName(protoreflect.Name(name))
	switch {
	case md == nil:
		var names []string
		for i := range found.Methods().Len() {
			names = append(names, string(found.Methods().Get(i).Name()))
		}
		return invalid("grpc %s: there is no %s; there are %s", p.call.GRPC, name, strings.Join(names, ", "))
	case md.IsStreamingClient() || md.IsStreamingServer():
		return invalid("grpc %s: it is a stream, which the load cannot make", p.call.GRPC)
	}
	if err := fields(md.Input(), p.call.Body, "body"); err != nil {
		return err
	}
	p.send = &grpcSender{conn, "/" + method, md, types.messages()}
	return nil
}

// service returns a connection to a service and its types.
func (c *Caller) service(name string) (grpc.ClientConnInterface, *types, error) {
	c.mu.Lock()
	s := c.services[name]
	if s == nil {
		s = new(service)
		c.services[name] = s
	}
	c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		if c.target.GRPC == nil {
			return nil, nil, invalid("gRPC cannot be called here")
		}
		conn, err := c.target.GRPC(name)
		if err != nil {
			return nil, nil, failure.Wrap(err, failure.CodeOf(err), "%s: %s", name, says(err))
		}
		s.conn, s.types = conn, newTypes(conn)
	}
	return s.conn, s.types, nil
}

// fields looks whether a body's names are those of a message. What stands in them shows when it is sent.
func fields(m protoreflect.MessageDescriptor, body any, at string) error {
	object, ok := body.(map[string]any)
	if !ok || strings.HasPrefix(string(m.FullName()), "google.protobuf.") {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		f := m.Fields().ByJSONName(name)
		if f == nil {
			f = m.Fields().ByTextName(name)
		}
		if f == nil {
			var names []string
			for i := range m.Fields().Len() {
				names = append(names, string(m.Fields().Get(i).Name()))
			}
			return invalid("%s: %s has no %s; it has %s", at, m.FullName(), name, strings.Join(names, ", "))
		}
		if f.Message() == nil || f.IsMap() {
			continue
		}
		inner := []any{object[name]}
		if list, ok := object[name].([]any); ok && f.IsList() {
			inner = list
		}
		for _, e := range inner {
			if err := fields(f.Message(), e, at+"."+name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *grpcSender) send(ctx context.Context, r request) (*answer, error) {
	in, out := dynamicpb.NewMessage(g.method.Input()), dynamicpb.NewMessage(g.method.Output())
	if len(r.body) > 0 {
		if err := (protojson.UnmarshalOptions{Resolver: g.types}).Unmarshal(r.body, in); err != nil {
			return nil, failure.New(failure.InvalidArgument, "the body is no %s: %s", g.method.Input().FullName(), err)
		}
	}
	for name, value := range r.header {
		ctx = metadata.AppendToOutgoingContext(ctx, name, value)
	}
	if r.key != "" { // for any client, and so that Holdfast's knows that it may try again
		ctx = rpc.WithIdempotencyKey(metadata.AppendToOutgoingContext(ctx, strings.ToLower(keyHeader), r.key), r.key)
	}
	var header, trailer metadata.MD
	var from peer.Peer
	err := g.conn.Invoke(ctx, g.name, in, out, grpc.Header(&header), grpc.Trailer(&trailer), grpc.Peer(&from))
	a := &answer{status: failure.CodeOf(err).String(), header: map[string][]string{}}
	if from.Addr != nil {
		a.from = from.Addr.String()
	}
	for _, md := range []metadata.MD{header, trailer} {
		for name, values := range md {
			a.header[http.CanonicalHeaderKey(name)] = values
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		a.body = said(err)
		return a, nil
	}
	// Names as in the .proto file, and fields that are 0 too: "count" is there when it is 0.
	a.body, err = protojson.MarshalOptions{Resolver: g.types, UseProtoNames: true, EmitUnpopulated: true}.Marshal(out)
	return a, err
}

// said is what a failed call said: its text, and the reason if there is one.
func said(err error) []byte {
	f := failure.From(err)
	text := f.Message
	if text == "" {
		text = f.Error()
	}
	if f.Reason != "" && !strings.Contains(text, f.Reason) {
		text += " (" + f.Reason + ")"
	}
	return []byte(text)
}
