package kubernetes

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/holdfast-go/holdfast/platform/system"
	"github.com/holdfast-go/holdfast/scale"
)

const (
	replicaPort = 9100
	// founders is how many instances found replicated state: package replica's default.
	founders = 3
	// nobody is a user without rights, as minimal images have it.
	nobody = 65532
)

// ports are where containers listen, by protocol.
var ports = map[string]int32{system.GRPC: 9090, system.HTTP: 8080}

// drainDelay is how long a service goes on serving after it has said that it ends.
func drainDelay(svc system.Service) time.Duration {
	if d, err := time.ParseDuration(svc.Env["HOLDFAST_DRAIN_DELAY"]); err == nil && d >= 0 {
		return d
	}
	if svc.HTTP != "" {
		return OutsideDelay
	}
	return InsideDelay
}

// service makes all objects of a service.
func (x *exporter) service(svc system.Service) {
	if svc.State == system.Replicated {
		x.statefulSet(svc)
	} else {
		x.deployment(svc)
	}
	if svc.Replicas > 1 || svc.Autoscale != nil && svc.Autoscale.Min > 1 {
		x.disruptionBudget(svc)
	}
	if svc.HTTP != "" {
		x.publicService(svc)
	}
	if svc.Autoscale != nil {
		x.autoscale(svc)
	}
}

func (x *exporter) deployment(svc system.Service) {
	d := &appsv1.Deployment{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: x.meta(svc.Name, svc.Name),
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: x.selector(svc.Name)},
			Template: x.pod(svc),
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{
				MaxUnavailable: ptr(intstr.FromInt32(0)), MaxSurge: ptr(intstr.FromString("25%")),
			}},
			MinReadySeconds: 2,
		},
	}
	fields := x.podFields(svc)
	fields["spec.strategy"] = "One more is started and ready before one of the old ones is told to end."
	comment := svc.Name + "."
	if svc.Autoscale == nil {
		d.Spec.Replicas = ptr(int32(svc.Replicas)) //nolint:gosec // at most system.MaxReplicas
	} else {
		comment = svc.Name + ". How many there are is for its autoscaler alone, so that applying this again changes nothing about it."
	}
	x.add(comment, d, fields)
}

func (x *exporter) statefulSet(svc system.Service) {
	storage := resource.MustParse(x.opts.Storage) // checked by prepare
	claim := corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: storage}},
		},
	}
	if x.opts.StorageClass != "" {
		claim.Spec.StorageClassName = &x.opts.StorageClass
	}
	headless := svc.Name + "-members"
	x.add(fmt.Sprintf("What gives the instances of %s their names. They find each other in the registry.", svc.Name), &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: x.meta(headless, svc.Name),
		Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, PublishNotReadyAddresses: true, Selector: x.selector(svc.Name), Ports: []corev1.ServicePort{
			{Name: "replica", Port: replicaPort, TargetPort: intstr.FromString("replica")},
		}},
	}, nil)
	fields := x.podFields(svc)
	fields["spec.podManagementPolicy"] = "All at once: a majority has to be there before any of them is ready."
	fields["spec.persistentVolumeClaimRetentionPolicy"] = "A volume is a vote and a copy: it stays until somebody deletes it who knows why."
	ready := int32(5)
	if !x.opts.Insecure && !slices.Contains(svc.Protocols(), system.HTTP) {
		ready = 60
		fields["spec.minReadySeconds"] = "The probe sees whether it listens, not whether it has caught up: a minute for that before the next one is replaced."
	}
	x.add(svc.Name+". Its instances keep state among themselves: each has a name and a volume that stay.", &appsv1.StatefulSet{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"}, ObjectMeta: x.meta(svc.Name, svc.Name),
		Spec: appsv1.StatefulSetSpec{
			Replicas: ptr(int32(svc.Replicas)), //nolint:gosec // at most system.MaxReplicas
			Selector: &metav1.LabelSelector{MatchLabels: x.selector(svc.Name)}, ServiceName: headless,
			Template:             x.pod(svc),
			PodManagementPolicy:  appsv1.ParallelPodManagement,
			UpdateStrategy:       appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType},
			MinReadySeconds:      ready,
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{claim},
			PersistentVolumeClaimRetentionPolicy: &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
				WhenDeleted: appsv1.RetainPersistentVolumeClaimRetentionPolicyType, WhenScaled: appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
			},
		},
	}, fields)
	if svc.Replicas < founders {
		x.note("%s keeps replicated state in %d instances: the loss of one is the loss of the majority; 3 survive that", svc.Name, svc.Replicas)
	}
}

// pod is the pod of a service.
func (x *exporter) pod(svc system.Service) corev1.PodTemplateSpec {
	labels := x.selector(svc.Name)
	labels[labelManaged] = "holdfast"
	c := corev1.Container{
		Name: svc.Name, Image: strings.NewReplacer("{service}", svc.Name, "{system}", x.sys.Name).Replace(x.opts.Image),
		EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: x.settingsName()}}}},
		Env:     x.environment(svc),
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: ptr(false), ReadOnlyRootFilesystem: ptr(true),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
		Resources:    corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: processors(svc), corev1.ResourceMemory: resource.MustParse("128Mi")}},
		VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: dataDir}, {Name: "tmp", MountPath: "/tmp"}},
	}
	if words := svc.Words(); !x.goPackage(words) {
		for _, word := range words {
			c.Command = append(c.Command, escape(word))
		}
		x.note("%s runs a command line (%s): it has to be in the image, with these paths", svc.Name, svc.Run)
	}
	for _, p := range svc.Protocols() {
		c.Ports = append(c.Ports, corev1.ContainerPort{Name: p, ContainerPort: ports[p]})
	}
	if svc.State == system.Replicated {
		c.Ports = append(c.Ports, corev1.ContainerPort{Name: "replica", ContainerPort: replicaPort})
	}
	x.probes(svc, &c)
	grace := int64((drainDelay(svc) + StopTimeout + margin) / time.Second)
	pod := corev1.PodSpec{
		Containers: []corev1.Container{c}, TerminationGracePeriodSeconds: &grace, AutomountServiceAccountToken: ptr(false), EnableServiceLinks: ptr(false),
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: ptr(true), RunAsUser: ptr[int64](nobody), RunAsGroup: ptr[int64](nobody), FSGroup: ptr[int64](nobody),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		TopologySpreadConstraints: x.spread(svc),
		Volumes:                   []corev1.Volume{{Name: "tmp", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
	}
	if svc.State != system.Replicated {
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}})
	}
	x.registry.mount(x.sys.Name, &pod)
	x.queue.mount(x.sys.Name, &pod)
	if len(x.sys.Policies) > 0 {
		pod.Volumes = append(pod.Volumes, corev1.Volume{Name: "policies", VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: x.policiesName()}},
		}})
		pod.Containers[0].VolumeMounts = append(pod.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "policies", MountPath: policiesDir, ReadOnly: true})
	}
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod}
}

// goPackage reports whether what a service runs is a Go package, whose image runs it by itself: a directory. Of a system that is in
// no directory of its own, what looks like one.
func (x *exporter) goPackage(words []string) bool {
	if len(words) != 1 {
		return false
	}
	path := words[0]
	if x.sys.Dir == "" {
		return strings.HasPrefix(path, ".") || strings.HasPrefix(path, "/")
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(x.sys.Dir, path)
	}
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// processors is what a service is given at least: what it is scaled by, if that is processors.
func processors(svc system.Service) resource.Quantity {
	request := 0.1
	if svc.Autoscale != nil {
		for _, t := range svc.Autoscale.Targets {
			if t.Metric == scale.CPU {
				request = max(request, t.Value)
			}
		}
	}
	return *resource.NewMilliQuantity(int64(request*1000), resource.DecimalSI)
}

// probes adds the probes of a container: its first protocol is asked, or HTTP where gRPC speaks TLS, which the kubelet does
// not.
func (x *exporter) probes(svc system.Service, c *corev1.Container) {
	protocols := svc.Protocols()
	if len(protocols) == 0 {
		return
	}
	var ask corev1.ProbeHandler
	switch secure := !x.opts.Insecure; {
	case protocols[0] == system.GRPC && !secure:
		ask.GRPC = &corev1.GRPCAction{Port: ports[system.GRPC]}
	case slices.Contains(protocols, system.HTTP):
		ask.HTTPGet = &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString(system.HTTP)}
		if secure {
			ask.HTTPGet.Scheme = corev1.URISchemeHTTPS
			x.note("HTTP is probed by HTTPS: the kubelet checks no certificate, and has none to show, so a server that asks clients for one has to let /healthz pass without, or needs an exec probe of yours")
		}
	default:
		ask.TCPSocket = &corev1.TCPSocketAction{Port: intstr.FromString(system.GRPC)}
		x.note("gRPC is probed by whether its port takes connections, since the kubelet's own probe of it knows no TLS: one that listens and says that it is not ready counts as ready there (callers go by the registry and are not misled; a roll-out may be); for more, put an exec probe that speaks your TLS in its place")
	}
	c.ReadinessProbe = &corev1.Probe{ProbeHandler: ask, PeriodSeconds: 2, TimeoutSeconds: 2, FailureThreshold: 2}
	if svc.State != system.Replicated {
		c.StartupProbe = &corev1.Probe{ProbeHandler: ask, PeriodSeconds: 2, TimeoutSeconds: 2, FailureThreshold: 60}
		c.LivenessProbe = &corev1.Probe{ProbeHandler: ask, PeriodSeconds: 10, TimeoutSeconds: 5, FailureThreshold: 6}
	}
}

// podFields are the comments for a pod.
func (x *exporter) podFields(svc system.Service) map[string]string {
	const pod = "spec.template.spec."
	fields := map[string]string{
		pod + "terminationGracePeriodSeconds": fmt.Sprintf("%s in which callers notice (HOLDFAST_DRAIN_DELAY), %s in which everything is finished or given up, and %s to spare.\n"+
			"No preStop: a process that is told to end goes on serving while it says so.", drainDelay(svc), StopTimeout, margin),
		pod + "containers.0.resources": "What it asks for at least: measure, and put what you see here.",
	}
	if svc.State == system.Replicated {
		fields[pod+"containers.0.readinessProbe"] = "No other probe: without a majority none of them is ready, and restarting them all would not help."
	} else if len(svc.Protocols()) > 0 {
		fields[pod+"containers.0.livenessProbe"] = "For a process that hangs. A minute: one that is only busy is not to be killed for it."
	}
	return fields
}

// spread keeps the instances of a service apart.
func (x *exporter) spread(svc system.Service) []corev1.TopologySpreadConstraint {
	if svc.Replicas < 2 && svc.Autoscale == nil {
		return nil
	}
	constraint := func(key string, unsatisfiable corev1.UnsatisfiableConstraintAction) corev1.TopologySpreadConstraint {
		c := corev1.TopologySpreadConstraint{
			MaxSkew: 1, TopologyKey: key, WhenUnsatisfiable: unsatisfiable,
			LabelSelector: &metav1.LabelSelector{MatchLabels: x.selector(svc.Name)},
		}
		if svc.State != system.Replicated {
			c.MatchLabelKeys = []string{"pod-template-hash"} // each roll-out by itself
		}
		return c
	}
	nodes := corev1.ScheduleAnyway
	if svc.State == system.Replicated {
		nodes = corev1.DoNotSchedule // two of three members on one node are one machine away from losing the majority
		x.note("%s needs as many nodes as it has instances (%d) to keep them apart", svc.Name, svc.Replicas)
	}
	return []corev1.TopologySpreadConstraint{constraint(corev1.LabelHostname, nodes), constraint(corev1.LabelTopologyZone, corev1.ScheduleAnyway)}
}

// disruptionBudget lets nodes be emptied one instance at a time.
func (x *exporter) disruptionBudget(svc system.Service) {
	b := &policyv1.PodDisruptionBudget{
		TypeMeta: metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"}, ObjectMeta: x.meta(svc.Name, svc.Name),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: ptr(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: x.selector(svc.Name)},
		},
	}
	comment := "Nodes are emptied one instance of " + svc.Name + " at a time"
	if svc.State == system.Replicated {
		x.add(comment+", and only while all others are well.", b, nil)
		return
	}
	b.Spec.UnhealthyPodEvictionPolicy = ptr(policyv1.AlwaysAllow)
	x.add(comment+"; one that is not well holds nobody up.", b, nil)
}

// scheme is what a public service speaks.
func (x *exporter) scheme() string {
	if x.opts.Insecure {
		return "http"
	}
	return "https"
}

// publicService makes a public service reachable from outside of the system.
func (x *exporter) publicService(svc system.Service) {
	_, port, _ := strings.Cut(svc.HTTP[strings.LastIndexByte(svc.HTTP, ':'):], ":") // it was checked
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		number = int64(ports[system.HTTP])
	}
	comment := fmt.Sprintf("Where %s is reached from outside of the system: put your ingress in front of it.", svc.Name)
	if svc.Idempotency {
		comment += "\nIt does things once per Idempotency-Key, so an ingress may repeat requests that have one."
	}
	x.add(comment, &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: x.meta(svc.Name, svc.Name),
		Spec: corev1.ServiceSpec{Selector: x.selector(svc.Name), Ports: []corev1.ServicePort{
			{Name: system.HTTP, Port: int32(number), TargetPort: intstr.FromString(system.HTTP), AppProtocol: ptr(x.scheme())},
		}},
	}, nil)
}
