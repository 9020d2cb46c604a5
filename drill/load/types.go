package load

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/holdfast-go/holdfast/failure"
)

const (
	maxFiles       = 2_000    // of a service's description
	maxDescription = 32 << 20 // bytes of it
)

// reflectionMethods are the names of one protocol: the first is what it is called now.
var reflectionMethods = [...]string{
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}

// types are what a service says of itself by gRPC's reflection. Safe for concurrent use.
type types struct {
	conn grpc.ClientConnInterface

	mu    sync.Mutex
	files map[string]*descriptorpb.FileDescriptorProto // by name
	bytes int
	known *protoregistry.Files // of what has been asked for
}

func newTypes(conn grpc.ClientConnInterface) *types {
	return &types{conn: conn, files: make(map[string]*descriptorpb.FileDescriptorProto), known: new(protoregistry.Files)}
}

// messages resolves what is in an Any.
func (t *types) messages() *dynamicpb.Types {
	t.mu.Lock()
	defer t.mu.Unlock()
	return dynamicpb.NewTypes(t.known)
}

// find returns a service type's description.
func (t *types) find(ctx context.Context, symbol string) (protoreflect.ServiceDescriptor, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d, err := t.known.FindDescriptorByName(protoreflect.FullName(symbol)); err == nil {
		if s, ok := d.(protoreflect.ServiceDescriptor); ok {
			return s, nil
		}
	}
	var err error
	for _, method := range reflectionMethods {
		if err = t.ask(ctx, method, symbol); status.Code(err) != codes.Unimplemented {
			break
		}
	}
	if err != nil {
		return nil, explain(err)
	}
	if err := t.resolve(); err != nil {
		return nil, err
	}
	d, err := t.known.FindDescriptorByName(protoreflect.FullName(symbol))
	s, ok := d.(protoreflect.ServiceDescriptor)
	if err != nil || !ok {
		return nil, invalid("it has no service %s", cut(symbol, 80))
	}
	return s, nil
}

// resolve makes types of the files.
func (t *types) resolve() error {
	set := new(descriptorpb.FileDescriptorSet)
	for _, f := range t.files {
		set.File = append(set.File, f)
	}
	files, err := protodesc.FileOptions{AllowUnresolvable: true}.NewFiles(set)
	if err != nil {
		return failure.New(failure.Internal, "what it says of itself is no description: %s", oneLine(err.Error()))
	}
	t.known = files
	return nil
}

func explain(err error) error {
	switch status.Code(err) {
	case codes.Unimplemented:
		return invalid("it does not say what its methods are: gRPC reflection is not registered")
	case codes.NotFound:
		return invalid("it has no such service")
	default:
		f := failure.From(err)
		return failure.Wrap(err, f.Code, "%s", oneLine(f.Error()))
	}
}

// question asks one thing of a stream.
func question(s grpc.ClientStream, r *reflectionpb.ServerReflectionRequest) (*reflectionpb.ServerReflectionResponse, error) {
	answer := new(reflectionpb.ServerReflectionResponse)
	if err := s.SendMsg(r); err != nil {
		if why := s.RecvMsg(answer); why != nil { // why it was not sent is what the answer says
			return nil, why
		}
		return nil, err
	}
	if err := s.RecvMsg(answer); err != nil {
		return nil, err
	}
	if e := answer.GetErrorResponse(); e != nil {
		return nil, status.Error(codes.Code(uint32(e.GetErrorCode())), oneLine(e.GetErrorMessage())) //nolint:gosec // any number is a code
	}
	return answer, nil
}

// open opens a stream for questions.
func open(ctx context.Context, conn grpc.ClientConnInterface, method string) (grpc.ClientStream, error) {
	return conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
}

// ask asks for the files that a symbol and what it uses are in.
func (t *types) ask(ctx context.Context, method, symbol string) error {
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	s, err := open(ctx, t.conn, method)
	if err != nil {
		return err
	}
	asked := make(map[string]bool)
	get := func(r *reflectionpb.ServerReflectionRequest) error {
		answer, err := question(s, r)
		if err != nil {
			return err
		}
		return t.learn(answer.GetFileDescriptorResponse().GetFileDescriptorProto())
	}
	if err := get(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: symbol}}); err != nil {
		return err
	}
	for {
		missing := t.missing(asked)
		if missing == "" {
			return nil
		}
		asked[missing] = true
		err := get(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileByFilename{FileByFilename: missing}})
		if err != nil && status.Code(err) != codes.NotFound { // one that is not there is not resolved
			return err
		}
	}
}

// missing returns a file that others need and that has not been asked for.
func (t *types) missing(asked map[string]bool) string {
	for _, f := range t.files {
		for _, d := range f.GetDependency() {
			if t.files[d] == nil && !asked[d] {
				return d
			}
		}
	}
	return ""
}

func (t *types) learn(files [][]byte) error {
	for _, b := range files {
		f := new(descriptorpb.FileDescriptorProto)
		if err := proto.Unmarshal(b, f); err != nil {
			return failure.New(failure.Internal, "what it says of itself is no description: %s", oneLine(err.Error()))
		}
		if t.files[f.GetName()] != nil {
			continue
		}
		if t.bytes += len(b); t.bytes > maxDescription || len(t.files) >= maxFiles {
			return failure.New(failure.ResourceExhausted, "what it says of itself is more than %d files or %d bytes", maxFiles, maxDescription)
		}
		t.files[f.GetName()] = f
	}
	return nil
}
