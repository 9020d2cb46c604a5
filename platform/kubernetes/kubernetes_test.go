package kubernetes_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/kubernetes"
	"github.com/holdfast-go/holdfast/platform/system"
	"github.com/holdfast-go/holdfast/scale"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// options are what testdata/NAME.yaml is exported with.
var options = map[string]kubernetes.Options{
	"shop": {
		Image:    "registry.example.com/{system}/{service}:1.4.2",
		Registry: "etcd://etcd-0.etcd:2379,etcd-1.etcd:2379,etcd-2.etcd:2379", Queue: "nats://nats:4222?token-file=/home/me/token",
		Insecure: true,
	},
	"elastic": {Image: "{service}", Namespace: "prod", StorageClass: "fast", Storage: "10Gi", Metrics: map[scale.Metric]string{scale.InFlight: "calls_in_flight"}},
}

func load(t *testing.T, name string) *system.System {
	t.Helper()
	file := filepath.Join("testdata", name+".yaml")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sys, err := system.Parse(file, b)
	if err != nil {
		t.Fatal(err)
	}
	return sys
}

func export(t *testing.T, name string) (*kubernetes.Export, string) {
	t.Helper()
	e, err := kubernetes.New(load(t, name), options[name])
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := e.Write(&out); err != nil {
		t.Fatal(err)
	}
	return e, out.String()
}

func TestGolden(t *testing.T) {
	for name := range options {
		e, out := export(t, name)
		got := "# Notes:\n#  - " + strings.Join(e.Notes, "\n#  - ") + "\n\n" + out
		file := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs (-update rewrites it); got:\n%s", file, got)
		}
	}
}

// tb is what testing.T and rapid.T have in common.
type tb interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// types are those of Kubernetes.
var types = sync.OnceValue(func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, autoscalingv2.AddToScheme, policyv1.AddToScheme, networkingv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
	return scheme
})

// decode reads a document strictly: a field that is unknown to the types of Kubernetes, or there twice, is an error.
func decode(t tb, doc string) runtime.Object {
	t.Helper()
	scheme := types()
	dec := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
	object, _, err := dec.Decode([]byte(doc), nil, nil)
	if err != nil {
		t.Fatalf("%v in:\n%s", err, doc)
	}
	return object
}

// TestDecodesStrictly: everything that is written is read back by the types of Kubernetes, each field known to them.
func TestDecodesStrictly(t *testing.T) {
	kinds := make(map[string]int)
	for name := range options {
		_, out := export(t, name)
		for _, doc := range strings.Split(out, "\n---\n") {
			if strings.Contains(doc, "keda.sh/v1alpha1") {
				continue // no types of Kubernetes
			}
			object := decode(t, doc)
			kinds[object.GetObjectKind().GroupVersionKind().Kind]++
			pod := podOf(object)
			if pod == nil {
				continue
			}
			checkPod(t, *pod)
		}
	}
	for _, kind := range []string{
		"Namespace", "ConfigMap", "Deployment", "StatefulSet", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy",
	} {
		if kinds[kind] == 0 {
			t.Errorf("no %s in %v", kind, kinds)
		}
	}
}

// What the system file says in env is said once, and the time to end goes by it.
func TestWhatTheSystemFileSaysCounts(t *testing.T) {
	sys, err := system.Parse("system.yaml", []byte("system: s\nregistry: etcd://etcd:2379\nservices:\n  web: {run: ./web, replicas: 2, http: 127.0.0.1:8080, env: {HOLDFAST_DRAIN_DELAY: 60s, HOLDFAST_ZONE: a}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := kubernetes.New(sys, kubernetes.Options{Image: "{service}", Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := e.Write(&b); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{
		"name: HOLDFAST_DRAIN_DELAY\n": 1, "value: 60s\n": 1, "name: HOLDFAST_ZONE\n": 1, "value: a\n": 1,
		"terminationGracePeriodSeconds: 93\n": 1,
	} {
		if n := strings.Count(b.String(), text); n != want {
			t.Errorf("%q is there %d times, want %d", text, n, want)
		}
	}
}

func podOf(object runtime.Object) *corev1.PodTemplateSpec {
	switch o := object.(type) {
	case *appsv1.Deployment:
		return &o.Spec.Template
	case *appsv1.StatefulSet:
		return &o.Spec.Template
	}
	return nil
}

// checkPod checks what every pod has to have so that nobody notices when it ends, and that it may run where pods are restricted.
func checkPod(t *testing.T, pod corev1.PodTemplateSpec) {
	t.Helper()
	c := pod.Spec.Containers[0]
	env := make(map[string]corev1.EnvVar)
	for _, e := range c.Env {
		if _, twice := env[e.Name]; twice {
			t.Errorf("%s: %s twice", c.Name, e.Name)
		}
		env[e.Name] = e
	}
	delay := kubernetes.InsideDelay
	if env["HOLDFAST_DRAIN_DELAY"].Value == kubernetes.OutsideDelay.String() {
		delay = kubernetes.OutsideDelay
	} else if env["HOLDFAST_DRAIN_DELAY"].Value != delay.String() {
		t.Errorf("%s: drain delay %q", c.Name, env["HOLDFAST_DRAIN_DELAY"].Value)
	}
	if grace := *pod.Spec.TerminationGracePeriodSeconds; float64(grace) <= (delay + kubernetes.StopTimeout).Seconds() {
		t.Errorf("%s is killed after %d s, and may take %s to end", c.Name, grace, delay+kubernetes.StopTimeout)
	}
	if env["HOLDFAST_INSTANCE"].ValueFrom == nil || env["HOLDFAST_ADVERTISE"].ValueFrom == nil {
		t.Errorf("%s does not know its name or address", c.Name)
	}
	if !*pod.Spec.SecurityContext.RunAsNonRoot || *c.SecurityContext.AllowPrivilegeEscalation || len(c.SecurityContext.Capabilities.Drop) == 0 {
		t.Errorf("%s is not restricted", c.Name)
	}
	mounts := make(map[string]bool)
	for _, m := range c.VolumeMounts {
		mounts[m.Name] = true
	}
	for _, v := range pod.Spec.Volumes {
		if !mounts[v.Name] {
			t.Errorf("%s does not mount %s", c.Name, v.Name)
		}
		delete(mounts, v.Name)
	}
	delete(mounts, "data") // a claim of a StatefulSet
	if len(mounts) > 0 {
		t.Errorf("%s mounts what is not there: %v", c.Name, mounts)
	}
}

// TestProbesSpeakWhatIsServed: a process that speaks TLS is not asked in plaintext, or it would never be ready.
func TestProbesSpeakWhatIsServed(t *testing.T) {
	for name, c := range map[string]struct {
		serves   []string
		insecure bool
		want     corev1.ProbeHandler
		note     string
	}{
		"grpc, plaintext": {[]string{system.GRPC}, true, corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: 9090}}, ""},
		"http, plaintext": {[]string{system.HTTP}, true, corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("http")}}, ""},
		"grpc, TLS":       {[]string{system.GRPC}, false, corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromString("grpc")}}, "gRPC is probed by whether its port takes connections"},
		"http, TLS":       {[]string{system.HTTP}, false, corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("http"), Scheme: corev1.URISchemeHTTPS}}, "HTTP is probed by HTTPS"},
		"both, TLS":       {[]string{system.GRPC, system.HTTP}, false, corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("http"), Scheme: corev1.URISchemeHTTPS}}, "HTTP is probed by HTTPS"},
	} {
		for _, state := range []string{"", system.Replicated} {
			sys := &system.System{Name: "s", Services: []system.Service{{Name: "api", Run: "./api", Replicas: 3, Serves: c.serves, State: state}}}
			e, err := kubernetes.New(sys, kubernetes.Options{Image: "{service}", Registry: "etcd://e:2379", Queue: "none", Insecure: c.insecure})
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range e.Objects {
				object, ok := o.Value.(runtime.Object)
				if !ok || podOf(object) == nil {
					continue
				}
				container := podOf(object).Spec.Containers[0]
				probes := []*corev1.Probe{container.ReadinessProbe, container.StartupProbe, container.LivenessProbe}
				if state == system.Replicated {
					probes = probes[:1]
				}
				for _, p := range probes {
					if !reflect.DeepEqual(p.ProbeHandler, c.want) {
						t.Errorf("%s %s: %+v, want %+v", name, state, p.ProbeHandler, c.want)
					}
				}
			}
			if notes := strings.Join(e.Notes, "\n"); c.note == "" && strings.Contains(notes, "probed") || !strings.Contains(notes, c.note) {
				t.Errorf("%s %s: notes %s", name, state, notes)
			}
		}
	}
}

// TestTextsStayTexts: Kubernetes reads YAML 1.1, where yes is a bool and 1:30 is 90.
func TestTextsStayTexts(t *testing.T) {
	texts := []string{
		"yes", "Yes", "NO", "on", "OFF", "y", "N", "true", "null", "~", "", "1:30", "-1:30.5", "010", "0x1f", "0b1", "0o7", "1_000", "1e3", ".5", ".inf", ".NaN",
		"2020-01-01", "2020-01-01T00:00:00Z", "<<", "=", "- a", "a: b", "a #b", "#a", "!a", "&a", "*a", "[a", "{a}", "%a", "@a", "`a", " a ", "a\nb", "\n", " a\nb\n\n", "\t", "'", `"`,
	}
	env := make(map[string]string)
	for i, text := range texts {
		env[fmt.Sprintf("V%d", i)] = text
	}
	read, _ := exportOne(t, env)
	for key, text := range env {
		if read[key].Value != text {
			t.Errorf("%q was read as %q", text, read[key].Value)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.StringOf(rapid.RuneFrom(nil, unicode.PrintRanges...)), rapid.StringMatching(`[-+0-9:._a-zA-Z~<=!]{0,6}`), rapid.StringMatching("[ a#:\n\t'\"-]{0,6}"), rapid.StringMatching("[a$()]{0,8}")).Draw(t, "text")
		read, _ := exportOne(t, map[string]string{"V": text})
		if from := read["V"].ValueFrom; from == nil && expanded(read["V"].Value) != text {
			t.Fatalf("%q was read as %q", text, read["V"].Value)
		}
	})
}

// expanded is a value or a word of a command line as the container has it (k8s.io/api/core/v1, EnvVar.Value and
// Container.Command).
func expanded(v string) string {
	var b strings.Builder
	for i := 0; i < len(v); i++ {
		switch {
		case v[i] != '$' || i+1 == len(v):
			b.WriteByte(v[i])
		case v[i+1] == '$':
			b.WriteByte('$')
			i++
		case v[i+1] == '(' && strings.IndexByte(v[i:], ')') > 0:
			b.WriteString("EXPANDED")
			i += strings.IndexByte(v[i:], ')')
		default:
			b.WriteByte('$')
		}
	}
	return b.String()
}

func TestCommandLinesStayAsTheyAre(t *testing.T) {
	sys, err := system.Parse("system.yaml", []byte(`
system: s
services:
  a: {run: "sh -c 'echo $$ $(HOLDFAST_INSTANCE) > /tmp/pid; exec ./serve'", http: 127.0.0.1:8080}
`))
	if err != nil {
		t.Fatal(err)
	}
	m, err := kubernetes.New(sys, kubernetes.Options{Image: "{service}", Registry: "etcd://e:2379", Queue: "none"})
	if err != nil {
		t.Fatal(err)
	}
	var command []string
	for _, o := range m.Objects {
		if d, ok := o.Value.(*appsv1.Deployment); ok {
			for _, word := range d.Spec.Template.Spec.Containers[0].Command {
				command = append(command, expanded(word))
			}
		}
	}
	if want := []string{"sh", "-c", "echo $$ $(HOLDFAST_INSTANCE) > /tmp/pid; exec ./serve"}; !slices.Equal(command, want) {
		t.Errorf("%q", command)
	}
}

// What a service runs is told apart as by holdfast up: a directory is a Go package, however it is written, which its image runs by
// itself; anything else is a command.
func TestWhatIsAPackage(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "cmd", "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"cmd/a/main.go": "package main", "serve": "#!/bin/sh\n",
		"system.yaml": "system: s\nservices: {a: {run: cmd/a, http: 127.0.0.1:8080}, b: {run: ./serve, http: 127.0.0.1:8081}}",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sys, err := system.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := kubernetes.New(sys, kubernetes.Options{Image: "{service}", Registry: "etcd://e:2379", Queue: "none"})
	if err != nil {
		t.Fatal(err)
	}
	commands := map[string][]string{}
	for _, o := range m.Objects {
		if d, ok := o.Value.(*appsv1.Deployment); ok {
			commands[d.Name] = d.Spec.Template.Spec.Containers[0].Command
		}
	}
	if a, b := commands["a"], commands["b"]; len(commands) != 2 || a != nil || !slices.Equal(b, []string{"./serve"}) {
		t.Errorf("%q", commands)
	}
}

// A service that is scaled by messages has one ScaledObject, and what is not in it is said.
func TestWhatIsNotInAScaledObjectIsSaid(t *testing.T) {
	sys, err := system.Parse("system.yaml", []byte(`
system: s
queue: kafka://k:9092?insecure=true
services:
  a: {run: ./a, autoscale: {min: 1, max: 10, target: {in-flight: 20, lag: {topic: t, group: g, waiting: 100}}}}
`))
	if err != nil {
		t.Fatal(err)
	}
	m, err := kubernetes.New(sys, kubernetes.Options{Image: "{service}", Registry: "etcd://e:2379", Metrics: map[scale.Metric]string{scale.InFlight: "calls_in_flight"}})
	if err != nil {
		t.Fatal(err)
	}
	if notes := strings.Join(m.Notes, "\n"); !strings.Contains(notes, "in-flight (calls_in_flight) is not in its ScaledObject") {
		t.Errorf("%s", notes)
	}
}

func TestNamesThatMeet(t *testing.T) {
	sys, err := system.Parse("system.yaml", []byte(`
system: s
services:
  a: {run: ./a, replicas: 3, state: replicated}
  a-members: {run: ./b, http: 127.0.0.1:8080}
`))
	if err != nil {
		t.Fatal(err)
	}
	_, err = kubernetes.New(sys, kubernetes.Options{Image: "{service}", Registry: "etcd://e:2379", Queue: "none"})
	if err == nil || !strings.Contains(err.Error(), "two objects would be called Service a-members") {
		t.Errorf("%v", err)
	}
}

func TestSaysEverythingThatIsMissing(t *testing.T) {
	_, err := kubernetes.New(load(t, "shop"), kubernetes.Options{Namespace: "Prod!", Storage: "much"})
	want := `namespace: "Prod!" is not a name: lower-case letters, digits and dashes
storage: "much" is no size such as 2Gi
image: is missing: name your images, with {service} in place of the name, such as registry.example.com/shop/{service}:1.0
registry: is missing: the control members of the system file are for one machine; name your etcd or Consul, such as etcd://etcd-0.etcd:2379,etcd-1.etcd:2379,etcd-2.etcd:2379
queue: is missing: the control members of the system file carried the messages; name your engine, such as nats://nats:4222, or none`
	if failure.CodeOf(err) != failure.InvalidArgument || failure.From(err).Message != want {
		t.Errorf("%v", err)
	}
	for _, o := range []kubernetes.Options{
		{Image: "shop:1", Registry: "etcd://e:2379", Queue: "none"},
		{Image: "{service} {version}", Registry: "etcd://e:2379", Queue: "none"},
		{Image: "{service}", Registry: "etcd://me:secret@e:2379", Queue: "none"},
		{Image: "{service}", Registry: "consul://c:8500?token=secret@", Queue: "none"},
		{Image: "{service}", Registry: "etcd://e:2379?password=secret@&user=me", Queue: "none"},
		{Image: "{service}", Registry: "etcd", Queue: "none"},
		{Image: "{service}", Registry: "etcd://e:2379", Queue: "kafka://me:secret@k:9092"},
		{Image: "{service}", Registry: "etcd://e:2379", Queue: "carrier-pigeon://k:9092"},
	} {
		_, err := kubernetes.New(load(t, "shop"), o)
		if failure.CodeOf(err) != failure.InvalidArgument || strings.Contains(err.Error(), "secret@") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
