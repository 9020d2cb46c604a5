package kubernetes

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-go/holdfast/platform/system"
	"github.com/holdfast-go/holdfast/policy"
)

// Where things are in a container.
const (
	configDir   = "/etc/holdfast"
	policiesDir = configDir + "/policies"
	secretsDir  = configDir + "/secrets"
	dataDir     = "/var/lib/holdfast"
)

// name is what objects may be called (a DNS label).
var name = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// What does not belong into a manifest. Rather too much than too little: a Secret that would not have been needed costs a
// command, one that is written down costs the secret.
var (
	// secretive are names of variables whose values are, or may be, secrets.
	secretive = regexp.MustCompile(`(?i)(PASSWORD|PASSWD|PASSPHRASE|SECRET|CREDENTIAL)S?(_|$)|(^|_)(PASS|PWD|PW|TOKENS?|CREDS?|DSN|AUTH|DATABASE_URL|(API|PRIVATE|ACCESS|SIGNING|ENCRYPTION)_?KEYS?)(_|$)|(^|_)KEYS?$`)
	// credentials are in values, whatever the name: user:password@ of a URL, of Go's MySQL driver, or of an address alone,
	// password=… of options and of libpq, an Authorization header, a private key.
	credentials = regexp.MustCompile(`(?i)://[^\s/@]*:[^\s@]+@|^[^\s:/@]+:[^\s@]+@|\b\w*(password|passwd|pwd|passphrase|secret|token|_key|apikey|accesskey)\s*=\s*[^\s&;]|^(basic|bearer)\s+\S|PRIVATE KEY-----`)
)

// secret reports whether a variable has to come from a Secret.
func secret(key, value string) bool {
	return secretive.MatchString(key) || credentials.MatchString(value)
}

func quantity(s string) bool {
	q, err := resource.ParseQuantity(s)
	return err == nil && q.Sign() > 0
}

// endpoint is an engine: its URL as the pods get it, and what that needs of files.
type endpoint struct {
	url    string
	what   string   // registry, queue
	secret []string // options of the URL that name files: their content is in a Secret under that key
}

// parse takes the URL of an engine. Options that name a file, which is on the machine of whoever exports, name one that is
// mounted instead.
func (e *endpoint) parse(what, raw string) error {
	before, options, has := strings.Cut(raw, "?")
	scheme, rest, ok := strings.Cut(before, "://")
	switch {
	case !ok || scheme == "" || rest == "":
		return errors.New("want a URL such as etcd://etcd:2379")
	case what == "registry" && (strings.Contains(rest, "@") || credentials.MatchString(options)):
		return errors.New("the URL has credentials in it, which do not belong into a manifest")
	}
	e.url, e.what = raw, what
	if !has {
		return nil
	}
	query, err := url.ParseQuery(options)
	if err != nil {
		return errors.New("the URL's options cannot be read")
	}
	for _, option := range slices.Sorted(maps.Keys(query)) {
		if strings.HasSuffix(option, "-file") {
			query.Set(option, path.Join(secretsDir, what, option))
			e.secret = append(e.secret, option)
		}
	}
	e.url = before + "?" + strings.ReplaceAll(query.Encode(), "%2F", "/")
	return nil
}

// mount adds the files of an engine to a pod.
func (e *endpoint) mount(systemName string, pod *corev1.PodSpec) {
	if len(e.secret) == 0 {
		return
	}
	pod.Volumes = append(pod.Volumes, corev1.Volume{Name: e.what, VolumeSource: corev1.VolumeSource{
		Secret: &corev1.SecretVolumeSource{SecretName: e.secretName(systemName), DefaultMode: ptr[int32](0o440)},
	}})
	c := &pod.Containers[0]
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: e.what, MountPath: path.Join(secretsDir, e.what), ReadOnly: true})
}

func (e *endpoint) secretName(systemName string) string { return systemName + "-" + e.what }

func ptr[T any](v T) *T { return &v }

// settingsName and policiesName are the ConfigMaps of a system.
func (x *exporter) settingsName() string { return x.sys.Name + "-settings" }
func (x *exporter) policiesName() string { return x.sys.Name + "-policies" }

// namespace makes the namespace.
func (x *exporter) namespace() {
	m := x.meta(x.opts.Namespace, "")
	m.Namespace = ""
	m.Labels["pod-security.kubernetes.io/enforce"] = "restricted"
	x.add(fmt.Sprintf("The system %s, as its system file says. Written by holdfast export kubernetes: change the file, and export again.", x.sys.Name),
		&corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: m}, nil)
}

// settings makes the settings that all services share.
func (x *exporter) settings() {
	data := map[string]string{
		"HOLDFAST_REGISTRY": x.registry.url,
		"HOLDFAST_INSECURE": fmt.Sprint(x.opts.Insecure),
		"HOLDFAST_LOG":      "json",
	}
	if x.queue.url != "" {
		data["HOLDFAST_QUEUE"] = x.queue.url
	}
	x.add("What all services share. Pods that run keep what they were started with: roll them after a change.", &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: x.meta(x.settingsName(), ""), Data: data,
	}, map[string]string{"data.HOLDFAST_INSECURE": "Whether processes may speak plaintext to each other; if not, they bring TLS in their code."})
	if !x.opts.Insecure {
		x.note("the processes refuse plaintext beyond loopback: give servers and clients TLS in their code, or export with --insecure and let the network policies, or a mesh, guard them")
	}
	for _, e := range []endpoint{x.registry, x.queue} {
		if len(e.secret) > 0 {
			var from []string
			for _, key := range e.secret {
				from = append(from, "--from-file="+key+"=FILE")
			}
			x.note("needs a Secret: kubectl -n %s create secret generic %s %s", x.opts.Namespace, e.secretName(x.sys.Name), strings.Join(from, " "))
		}
	}
	if len(x.sys.Policies) == 0 {
		return
	}
	policies := make(map[string]string, len(x.sys.Policies))
	for service, p := range x.sys.Policies {
		policies[service+".yaml"] = string(policy.Marshal(p))
	}
	x.add("How services are called and serve. What is set live (holdfast policy) counts for more.", &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: x.meta(x.policiesName(), ""), Data: policies,
	}, nil)
}

// environment is that of a service's container.
func (x *exporter) environment(svc system.Service) []corev1.EnvVar {
	field := func(key, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: key, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
	}
	env := []corev1.EnvVar{
		field("HOLDFAST_INSTANCE", "metadata.name"),
		field("HOLDFAST_ADVERTISE", "status.podIP"),
		// Clusters that put the zone of its node on a pod have it there; elsewhere it is empty, which is none.
		field("HOLDFAST_ZONE", "metadata.labels['topology.kubernetes.io/zone']"),
		{Name: "HOLDFAST_DATA_DIR", Value: dataDir},
		{Name: "HOLDFAST_DRAIN_DELAY", Value: drainDelay(svc).String()},
	}
	for _, p := range svc.Protocols() {
		env = append(env, corev1.EnvVar{Name: "HOLDFAST_" + strings.ToUpper(p) + "_ADDR", Value: fmt.Sprintf("0.0.0.0:%d", ports[p])})
	}
	if svc.State == system.Replicated {
		env = append(env, corev1.EnvVar{Name: "HOLDFAST_REPLICA_ADDR", Value: fmt.Sprintf("0.0.0.0:%d", replicaPort)})
		if n := min(svc.Replicas, founders); n > 0 {
			var names []string
			for i := range n {
				names = append(names, fmt.Sprintf("%s-%d", svc.Name, i))
			}
			env = append(env, corev1.EnvVar{Name: "HOLDFAST_FOUNDERS", Value: strings.Join(names, ",")})
		}
	}
	if len(x.sys.Policies) > 0 {
		env = append(env, corev1.EnvVar{Name: "HOLDFAST_POLICIES", Value: policiesDir})
	}
	var secrets []string
	for _, key := range slices.Sorted(maps.Keys(svc.Env)) {
		env = slices.DeleteFunc(env, func(e corev1.EnvVar) bool { return e.Name == key }) // names are unique; what the system file says counts
		if !secret(key, svc.Env[key]) {
			env = append(env, corev1.EnvVar{Name: key, Value: escape(svc.Env[key])})
			continue
		}
		secrets = append(secrets, "--from-literal="+key+"=…")
		env = append(env, corev1.EnvVar{Name: key, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: x.sys.Name + "-" + svc.Name}, Key: key,
		}}})
	}
	if len(secrets) > 0 {
		x.note("needs a Secret: kubectl -n %s create secret generic %s-%s %s", x.opts.Namespace, x.sys.Name, svc.Name, strings.Join(secrets, " "))
	}
	return env
}

// escape is text that Kubernetes reads as v: in values and command lines it expands $(NAME), and $$ is a dollar.
func escape(v string) string { return strings.ReplaceAll(v, "$", "$$") }
