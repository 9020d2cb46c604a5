// Package shoptest runs the shop's services in one process, without a network, and makes them fail where a test says.
package shoptest

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-go/holdfast/failure"
)

// Conn is a grpc.ClientConnInterface to services that are registered with it, for unary calls. Requests, answers and
// errors are copied as a wire would. It must not be changed while it is in use.
type Conn struct {
	// Fault is asked at every call if it is not nil.
	Fault    Fault
	services map[string]registration
}

type registration struct {
	desc *grpc.ServiceDesc
	impl any
}

// RegisterService implements grpc.ServiceRegistrar.
func (c *Conn) RegisterService(desc *grpc.ServiceDesc, impl any) {
	if c.services == nil {
		c.services = make(map[string]registration)
	}
	c.services[desc.ServiceName] = registration{desc, impl}
}

// With returns a connection to the same services with another fault.
func (c *Conn) With(f Fault) *Conn { return &Conn{f, c.services} }

// Invoke implements grpc.ClientConnInterface.
func (c *Conn) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	r, ok := c.services[service]
	if !ok {
		return failure.New(failure.Unavailable, "no instance of %s", service)
	}
	for _, m := range r.desc.Methods {
		if m.MethodName != name {
			continue
		}
		return c.Fault.around(method, func() error {
			out, err := m.Handler(r.impl, ctx, func(in any) error { return transfer(in, args) }, nil)
			if err != nil {
				return failure.FromStatus(failure.Status(err))
			}
			return transfer(reply, out)
		})
	}
	return failure.New(failure.Unimplemented, "%s", method)
}

// transfer copies a message the way it would go over the wire, which not every message can.
func transfer(to, from any) error {
	b, err := proto.Marshal(from.(proto.Message))
	if err != nil {
		return failure.Wrap(err, failure.Internal, "encode")
	}
	return proto.Unmarshal(b, to.(proto.Message))
}

// NewStream implements grpc.ClientConnInterface: there are no streams.
func (c *Conn) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, fmt.Errorf("no streams")
}
