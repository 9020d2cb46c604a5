package kubernetes

import (
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/holdfast-go/holdfast/platform/system"
)

// networkPolicies lets in what belongs in: the system itself everywhere, everybody at what is public, nobody else.
func (x *exporter) networkPolicies() {
	typeMeta := metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}
	all := metav1.LabelSelector{MatchLabels: map[string]string{labelPartOf: x.sys.Name}}
	x.add("Pods of the system take connections from each other, and from nobody else. What they call is not restricted.", &networkingv1.NetworkPolicy{
		TypeMeta: typeMeta, ObjectMeta: x.meta(x.sys.Name+"-inside", ""),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: all, PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &all}}}},
		},
	}, nil)
	for _, svc := range x.sys.Services {
		if svc.HTTP == "" {
			continue
		}
		x.add(svc.Name+" is public: everybody may call it over HTTP.", &networkingv1.NetworkPolicy{
			TypeMeta: typeMeta, ObjectMeta: x.meta(svc.Name+"-public", svc.Name),
			Spec: networkingv1.NetworkPolicySpec{
				PodSelector: metav1.LabelSelector{MatchLabels: x.selector(svc.Name)}, PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
				Ingress: []networkingv1.NetworkPolicyIngressRule{{Ports: []networkingv1.NetworkPolicyPort{{Port: ptr(intstr.FromString(system.HTTP))}}}},
			},
		}, nil)
	}
}
