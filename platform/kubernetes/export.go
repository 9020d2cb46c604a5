package kubernetes

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/system"
	"github.com/holdfast-go/holdfast/scale"
)

// How long the end of a pod takes; see the package comment.
const (
	// InsideDelay is the drain delay of a service that is found in the registry alone, as everywhere.
	InsideDelay = 2 * time.Second
	// OutsideDelay is that of one that others reach through a Service.
	OutsideDelay = 10 * time.Second
	// StopTimeout is what a process takes at most after that: the default of package lifecycle.
	StopTimeout = 25 * time.Second
	// margin is what is left for the process to be started and to exit.
	margin = 8 * time.Second
)

// Options are what a system file does not say. Only Image is required, and Registry and Queue for a system that has them
// from the platform.
type Options struct {
	// Namespace for all objects. Default: the system's name.
	Namespace string
	// Image is the name of the services' images, with {service} and {system} in place of their names:
	// "registry.example.com/{system}/{service}:1.4.2".
	Image string
	// Registry and Queue override those of the system file; Queue may be "none".
	Registry, Queue string
	// Insecure allows plaintext between the processes.
	Insecure bool
	// StorageClass and Storage are of the volumes of replicated state. Default: the cluster's, 2Gi.
	StorageClass, Storage string
	// Metrics names the metrics of pods that an adapter of yours serves, for targets that Kubernetes does not know by itself: in-flight,
	// limiter, custom.
	Metrics map[scale.Metric]string
}

// Export is a system as objects of Kubernetes.
type Export struct {
	Objects []Object
	// Notes say, in the order of importance, what has to be there or done beside the objects, and what could not be said in
	// them. Each is a line.
	Notes []string
}

// Object is one object and why it is as it is.
type Object struct {
	// Value is of the types of k8s.io/api, or a map for those of others.
	Value any
	// Comment stands above it.
	Comment string
	// Fields has comments for single fields, by their path: "spec.template.spec.terminationGracePeriodSeconds".
	Fields map[string]string
}

// exporter collects an Export.
type exporter struct {
	sys  *system.System
	opts Options
	Export

	registry, queue endpoint
}

// New makes the objects of a system. The error, a failure.InvalidArgument, says everything that is missing.
func New(sys *system.System, opts Options) (*Export, error) {
	x := &exporter{sys: sys, opts: opts}
	if problems := x.prepare(); len(problems) > 0 {
		return nil, failure.New(failure.InvalidArgument, "%s", strings.Join(problems, "\n"))
	}
	x.namespace()
	x.settings()
	for _, svc := range sys.Services {
		x.service(svc)
	}
	x.networkPolicies()
	if twice := x.twice(); twice != "" {
		return nil, failure.New(failure.InvalidArgument, "two objects would be called %s: rename one of the services", twice)
	}
	return &x.Export, nil
}

// twice returns a name that two objects of a kind have: those that are made of services' names with something added may
// meet with other services.
func (x *exporter) twice() string {
	seen := make(map[string]bool)
	for _, o := range x.Objects {
		typed, ok := o.Value.(interface {
			GetObjectKind() schema.ObjectKind
			GetName() string
		})
		if !ok {
			continue
		}
		called := typed.GetObjectKind().GroupVersionKind().Kind + " " + typed.GetName()
		if seen[called] {
			return called
		}
		seen[called] = true
	}
	return ""
}

// prepare fills in defaults and returns what is wrong.
func (x *exporter) prepare() (problems []string) {
	o := &x.opts
	if o.Namespace == "" {
		o.Namespace = x.sys.Name
	}
	if o.Storage == "" {
		o.Storage = "2Gi"
	}
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if !name.MatchString(o.Namespace) {
		problem("namespace: %q is not a name: lower-case letters, digits and dashes", o.Namespace)
	}
	if !quantity(o.Storage) {
		problem("storage: %q is no size such as 2Gi", o.Storage)
	}
	switch {
	case o.Image == "":
		problem("image: is missing: name your images, with {service} in place of the name, such as registry.example.com/%s/{service}:1.0", x.sys.Name)
	case !strings.Contains(o.Image, "{service}") && len(x.sys.Services) > 1:
		problem("image: %s has no {service} in it, and there are %d services", o.Image, len(x.sys.Services))
	case strings.ContainsAny(strings.NewReplacer("{service}", "", "{system}", "").Replace(o.Image), "{} \t\n"):
		problem("image: %q is no name of images; {service} and {system} stand for names", o.Image)
	}
	url := x.sys.Registry
	if o.Registry != "" {
		url = o.Registry
	}
	if url == "" {
		problem("registry: is missing: the control members of the system file are for one machine; name your etcd or Consul, such as etcd://etcd-0.etcd:2379,etcd-1.etcd:2379,etcd-2.etcd:2379")
	} else if err := x.registry.parse("registry", url); err != nil {
		problem("registry: %v", err)
	}
	url = x.sys.Queue
	if o.Queue != "" {
		url = o.Queue
	}
	switch {
	case url == "" && x.sys.Control.Members > 0:
		problem("queue: is missing: the control members of the system file carried the messages; name your engine, such as nats://nats:4222, or none")
	case url != "" && url != system.NoQueue:
		if err := system.CheckQueue(url); err != nil {
			problem("queue: %v", err)
		} else if err := x.queue.parse("queue", url); err != nil {
			problem("queue: %v", err)
		}
	}
	for _, svc := range x.sys.Services {
		if credentials.MatchString(svc.Run) {
			problem("%s: what it runs has credentials in it, which do not belong into a manifest: let it take them from its environment (env)", svc.Name)
		}
	}
	return problems
}

// add adds an object.
func (x *exporter) add(comment string, value any, fields map[string]string) {
	x.Objects = append(x.Objects, Object{Value: value, Comment: comment, Fields: fields})
}

// note adds a note, unless it is there.
func (x *exporter) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(x.Notes, n) {
		x.Notes = append(x.Notes, n)
	}
}

// Labels that all objects of a system have.
const (
	labelName    = "app.kubernetes.io/name"
	labelPartOf  = "app.kubernetes.io/part-of"
	labelManaged = "app.kubernetes.io/managed-by"
)

// meta is the metadata of an object; "" for service is the system's.
func (x *exporter) meta(objectName, service string) metav1.ObjectMeta {
	labels := map[string]string{labelPartOf: x.sys.Name, labelManaged: "holdfast"}
	if service != "" {
		labels[labelName] = service
	}
	return metav1.ObjectMeta{Name: objectName, Namespace: x.opts.Namespace, Labels: labels}
}

// selector selects the pods of a service.
func (x *exporter) selector(service string) map[string]string {
	return map[string]string{labelName: service, labelPartOf: x.sys.Name}
}

// Write writes the objects as YAML, with their comments, ready for kubectl apply.
func (e *Export) Write(w io.Writer) error {
	for i, o := range e.Objects {
		b, err := o.yaml()
		if err != nil {
			return err
		}
		if i > 0 {
			if _, err := io.WriteString(w, "---\n"); err != nil {
				return err
			}
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}
