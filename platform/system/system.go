package system

import (
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/scale"
)

// Bounds of a system file. They are far above what one machine can run and exist so that a
// slip of the keyboard (replicas: 1000) is an error and not a hanging machine.
const (
	// MaxBytes is the largest system file that Parse and Load accept.
	MaxBytes = 1 << 20
	// MaxServices is the largest number of services in a system.
	MaxServices = 200
	// MaxReplicas is the largest number of instances of one service.
	MaxReplicas = 64
	// DefaultMembers is the number of control members when the file names none and no registry.
	DefaultMembers = 3
	// NoQueue is what System.Queue says when no engine for messages is to run.
	NoQueue = "none"
	// File is the name that Load looks for in a directory.
	File = "system.yaml"
)

// System is a validated system file. Parse and Load never return one that breaks a rule
// written here, so its users need no checks of their own.
type System struct {
	// Name of the system: lower-case letters, digits and dashes, starting with a letter.
	Name string
	// Control says how the embedded control plane is run.
	Control Control
	// Registry is the URL of an outside registry, "" when the control plane is the registry.
	// Exactly one of Registry and Control.Members is set.
	Registry string
	// Queue is the URL of an outside engine for messages, NoQueue for none at all, "" when the control plane is the engine;
	// without control members that is none, too.
	Queue string
	// Services in the order of the file, at least one, names unique.
	Services []Service
	// Policies are how services are called and serve, by name: what stands at the services, and what Load found where
	// the file says that policies are. A service of another system may be among them.
	Policies map[string]policy.Service
	// Dir is the directory that relative paths start from: that of the file. Parse leaves it "".
	Dir string
}

// Control is the embedded control plane of a system.
type Control struct {
	// Members is the number of control member processes: 1, 3 or 5; 0 when Registry is set.
	Members int
}

// Service is one service of a system.
type Service struct {
	// Name is unique in the system and a DNS label, because it is a host name in clients' URLs. It does not look
	// like the name of an instance (orders-2).
	Name string
	// Run is a Go package directory or a command line, as written; see Words.
	Run string
	// Replicas is the number of instances to begin with, from 0 to MaxReplicas; 1 when the file names none, or with
	// Autoscale its Min.
	Replicas int
	// HTTP is the host:port on which the platform listens for this service, "" for none.
	HTTP string
	// Idempotency declares that the service does things once per Idempotency-Key, so that a request with one is repeated
	// whatever its method when an instance dies under it. Only with HTTP.
	Idempotency bool
	// Env is added to the environment of each instance. Names starting with HOLDFAST_ that the
	// platform sets itself are refused.
	Env map[string]string
	// Needs are services that have to be ready before this one is started. No cycles.
	Needs []string
	// Serves are the protocols that the instances serve, GRPC and HTTP, as the file says; see Protocols.
	Serves []string
	// State is Replicated for a service whose instances keep state among themselves (holdfast.Service.Replicate), each on
	// a disk of its own and under a name that stays; "" for one that can lose any instance for good.
	State string
	// Autoscale is what the number of instances goes by, nil when it is set by hand. Not with State. Replicas is within it.
	Autoscale *scale.Policy
}

// Service returns the service of that name.
func (s *System) Service(name string) (Service, bool) {
	for _, svc := range s.Services {
		if svc.Name == name {
			return svc, true
		}
	}
	return Service{}, false
}

// What a service can serve.
const (
	GRPC = "grpc"
	HTTP = "http"
)

// Protocols are what the instances serve, in the order in which they are asked how they are: Serves, or without that HTTP for a
// service with an address for HTTP, and GRPC for any other. It is empty for one that says that it serves none.
func (s Service) Protocols() []string {
	switch {
	case s.Serves != nil:
		return s.Serves
	case s.HTTP != "":
		return []string{HTTP}
	}
	return []string{GRPC}
}

// Words is Run split into the program and its arguments. Words are separated by blanks; quotes
// and backslashes work as in a shell; nothing is expanded. A single word that names a
// directory is a Go package.
func (s Service) Words() []string {
	words, _ := split(s.Run) // validated by Parse
	return words
}
