// Package kubernetes writes what a system file says as objects of Kubernetes: the same services, unchanged, on more than one
// machine.
//
//	in the system file                   becomes
//	a service                            a Deployment, or with state: replicated a StatefulSet with a volume for each
//	http                                 a Service, for an ingress of your own in front of it
//	replicas of 2 or more                a PodDisruptionBudget, and spread over nodes and zones
//	autoscale                            a HorizontalPodAutoscaler, or with messages that wait a ScaledObject of KEDA
//	registry, queue                      a ConfigMap; what they need of files (password-file=, ca-file=) is mounted from Secrets
//	policies                             a ConfigMap, mounted
//	env                                  the environment; what looks like a secret, by name or value, is taken from one
//	the system                           a Namespace, and NetworkPolicies: what is not http is for the system alone
//
// It writes no Secret: those are named, and what has to be in them is said ([Export.Notes]). It writes no etcd and no broker
// either: a system whose registry is the platform's own (control members) needs one of its own there.
//
// # How a pod ends
//
// Kubernetes takes a pod that ends out of its Services and sends SIGTERM at the same time, so that whoever does not know yet goes
// on calling. Usually a preStop hook sleeps through that. It is not needed here: a Holdfast process that is told to end
// says so in the registry and in its health, goes on serving for HOLDFAST_DRAIN_DELAY, and only then stops taking calls. So that
// delay is as long as the news takes: [InsideDelay] among services, which watch the registry, and [OutsideDelay] for those
// behind a Service, since proxies and load balancers take longer. terminationGracePeriodSeconds is that and [StopTimeout],
// within which everything is finished or given up, and a margin; a kill then means that something hangs.
//
// # What it does not do
//
// There is no liveness probe for what keeps replicated state: without a majority it is not ready, and a restart of all would
// not help. Egress is not restricted: nobody but you knows what your services call outside. Without --insecure,
// processes refuse to speak plaintext beyond loopback, so they have to bring TLS in their code. They are then probed by HTTPS, and
// those that serve gRPC alone by whether they take connections: the kubelet's gRPC probe knows no TLS.
package kubernetes
