// Package rpc serves and calls gRPC services that stay reachable while instances come, go, freeze and die.
//
// A [Server] is a *grpc.Server with the behaviour a service needs around it: it listens at once, contains panics,
// answers errors of package failure with their details, gives every call a deadline, reports its health, and drains
// without losing a call. [Dial] returns a [Client], a grpc.ClientConnInterface for any generated stub: it follows the
// instances of a service in the registry, keeps a connection to each, picks one per attempt, and tries another one
// where that is right.
//
// Both are grpc-go underneath and can be had without the wrapper: [ServerOptions] for a grpc.NewServer of one's own,
// [DialOptions] for a grpc.NewClient. What a call meets on its way is described in DESIGN.md of this folder.
package rpc
