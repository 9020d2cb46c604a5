package load

import (
	"net/http"

	"google.golang.org/grpc"
)

// Target is the system that is called.
type Target struct {
	// Edges are the base URLs of what is public, by their services' names: {"gateway": "http://127.0.0.1:8080"}.
	Edges map[string]string
	// GRPC returns a connection to a service, by its name; the caller closes it, after the load. nil: there is none.
	GRPC func(service string) (grpc.ClientConnInterface, error)
	// HTTP, if not nil, is used instead of a transport of the package's own.
	HTTP http.RoundTripper
}
