package load

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

const maxServices = 200 // of a server

// Method is a unary method of a service.
type Method struct {
	Name string // "/package.Type/Method"
	// Safe says that it may run twice for one call, and Pure that it changes nothing, as its idempotency_level has it.
	Safe, Pure bool
}

// Methods returns the unary methods of a server, as it says itself by reflection, in the order of their names; not those of
// gRPC's own services. The error is INVALID_ARGUMENT if it does not say, or the code of a server that did not answer.
func Methods(ctx context.Context, conn grpc.ClientConnInterface) (out []Method, err error) {
	var names []string
	for _, method := range reflectionMethods {
		if names, err = list(ctx, conn, method); status.Code(err) != codes.Unimplemented {
			break
		}
	}
	if err != nil {
		return nil, explain(err)
	}
	t := newTypes(conn)
	for _, name := range names[:min(len(names), maxServices)] {
		if strings.HasPrefix(name, "grpc.") {
			continue
		}
		s, err := t.find(ctx, name)
		if err != nil {
			return nil, err
		}
		for i := range s.Methods().Len() {
			if md := s.Methods().Get(i); !md.IsStreamingClient() && !md.IsStreamingServer() {
				out = append(out, describe(md))
			}
		}
	}
	slices.SortFunc(out, func(a, b Method) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func describe(md protoreflect.MethodDescriptor) Method {
	m := Method{Name: "/" + string(md.Parent().FullName()) + "/" + string(md.Name())}
	if o, ok := md.Options().(*descriptorpb.MethodOptions); ok {
		m.Pure = o.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
		m.Safe = m.Pure || o.GetIdempotencyLevel() == descriptorpb.MethodOptions_IDEMPOTENT
	}
	return m
}

// list returns the services of a server.
func list(ctx context.Context, conn grpc.ClientConnInterface, method string) (names []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	s, err := open(ctx, conn, method)
	if err != nil {
		return nil, err
	}
	answer, err := question(s, &reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
	if err != nil {
		return nil, err
	}
	for _, s := range answer.GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	slices.Sort(names)
	return names, nil
}
