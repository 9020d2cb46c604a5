package kubernetes

import (
	"fmt"
	"math"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-go/holdfast/platform/system"
	"github.com/holdfast-go/holdfast/scale"
)

const (
	// upPeriod is how far apart two steps up are, as Kubernetes does it by default.
	upPeriod = 15
	// maxPeriod is the longest period of a scaling rule, and maxStabilization the longest window.
	maxPeriod        = 1800
	maxStabilization = 3600
	// cpuShare is the share of the requested processors that a service is kept at when none of its targets can be had.
	cpuShare = 60
)

// autoscale makes what scales a service.
func (x *exporter) autoscale(svc system.Service) {
	p := svc.Autoscale.Resolved()
	var metrics []autoscalingv2.MetricSpec
	var triggers []map[string]any
	for _, t := range p.Targets {
		switch metric := x.opts.Metrics[t.Metric]; {
		case t.Metric == scale.CPU:
			metrics = append(metrics, autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
				Name: corev1.ResourceCPU, Target: average(t.Value),
			}})
			triggers = append(triggers, trigger("cpu", "AverageValue", map[string]any{"value": average(t.Value).AverageValue.String()}))
		case t.Metric == scale.Lag:
			if lag := x.lag(svc, t); lag != nil {
				triggers = append(triggers, lag)
			}
		case metric != "":
			metrics = append(metrics, autoscalingv2.MetricSpec{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{
				Metric: autoscalingv2.MetricIdentifier{Name: metric}, Target: average(t.Value),
			}})
		default:
			x.note("%s is scaled by %s, which Kubernetes does not know: name the metric that an adapter of yours serves with --metric %s=NAME", svc.Name, t.Metric, t.Metric)
		}
	}
	if len(triggers) > count(p.Targets, scale.CPU) { // there is one on messages
		for _, t := range p.Targets {
			if metric := x.opts.Metrics[t.Metric]; metric != "" && t.Metric != scale.CPU && t.Metric != scale.Lag {
				x.note("%s is scaled by messages, which takes KEDA, and %s (%s) is not in its ScaledObject: add a trigger of KEDA for it", svc.Name, t.Metric, metric)
			}
		}
		x.scaledObject(svc, p, triggers)
		return
	}
	comment := svc.Name + " is scaled by its load, as the system file says."
	if len(metrics) == 0 {
		comment = fmt.Sprintf("%s is scaled by processors, because Kubernetes does not know what the system file names: a stopgap.", svc.Name)
		metrics = append(metrics, autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
			Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr[int32](cpuShare)},
		}})
	}
	x.add(comment, &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta: metav1.TypeMeta{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler"}, ObjectMeta: x.meta(svc.Name, svc.Name),
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: svc.Name},
			MinReplicas:    ptr(int32(p.Min)), MaxReplicas: int32(p.Max), //nolint:gosec // at most system.MaxReplicas
			Metrics: metrics, Behavior: behavior(p),
		},
	}, nil)
}

func count(targets []scale.Target, m scale.Metric) (n int) {
	for _, t := range targets {
		if t.Metric == m {
			n++
		}
	}
	return n
}

func average(v float64) autoscalingv2.MetricTarget {
	return autoscalingv2.MetricTarget{
		Type: autoscalingv2.AverageValueMetricType, AverageValue: resource.NewMilliQuantity(int64(math.Ceil(v*1000)), resource.DecimalSI),
	}
}

// behavior is how fast a service grows and shrinks: windows and steps as package scale has them.
func behavior(p scale.Policy) *autoscalingv2.HorizontalPodAutoscalerBehavior {
	seconds := func(d time.Duration, most int32) int32 {
		return int32(min(max(1, math.Ceil(d.Seconds())), float64(most)))
	}
	b := &autoscalingv2.HorizontalPodAutoscalerBehavior{
		ScaleUp: &autoscalingv2.HPAScalingRules{
			StabilizationWindowSeconds: ptr(seconds(p.UpAfter, maxStabilization)), SelectPolicy: ptr(autoscalingv2.MaxChangePolicySelect),
			Policies: []autoscalingv2.HPAScalingPolicy{
				{Type: autoscalingv2.PercentScalingPolicy, Value: int32(math.Ceil((p.MaxUp - 1) * 100)), PeriodSeconds: upPeriod},
				{Type: autoscalingv2.PodsScalingPolicy, Value: 1, PeriodSeconds: upPeriod},
			},
		},
		ScaleDown: &autoscalingv2.HPAScalingRules{
			StabilizationWindowSeconds: ptr(seconds(p.DownAfter, maxStabilization)), SelectPolicy: ptr(autoscalingv2.MaxChangePolicySelect),
			Policies: []autoscalingv2.HPAScalingPolicy{
				{Type: autoscalingv2.PercentScalingPolicy, Value: 50, PeriodSeconds: seconds(p.DownAfter, maxPeriod)},
				{Type: autoscalingv2.PodsScalingPolicy, Value: 1, PeriodSeconds: seconds(p.DownAfter, maxPeriod)},
			},
		},
	}
	if p.Tolerance != scale.DefaultTolerance { // that is the default there, too
		b.ScaleUp.Tolerance = resource.NewMilliQuantity(int64(p.Tolerance*1000), resource.DecimalSI)
		b.ScaleDown.Tolerance = resource.NewMilliQuantity(int64(p.Tolerance*1000), resource.DecimalSI)
	}
	return b
}

func trigger(kind, metricType string, metadata map[string]any) map[string]any {
	return map[string]any{"type": kind, "metricType": metricType, "metadata": metadata}
}

// lag is KEDA's trigger for messages that wait, nil where it cannot be had.
func (x *exporter) lag(svc system.Service, t scale.Target) map[string]any {
	brokers, ok := strings.CutPrefix(x.queue.url, "kafka://")
	if !ok {
		x.note("%s is scaled by messages that wait, which is written for Kafka alone: for another engine, write a ScaledObject of KEDA by hand", svc.Name)
		return nil
	}
	brokers, options, _ := strings.Cut(brokers, "?")
	brokers, _, _ = strings.Cut(brokers, "/")
	out := trigger("kafka", "AverageValue", map[string]any{
		"bootstrapServers": brokers[strings.LastIndexByte(brokers, '@')+1:], "topic": t.Topic, "consumerGroup": t.Topic + "/" + t.Group,
		"lagThreshold": fmt.Sprint(int64(math.Ceil(t.Value))),
	})
	if options != "" || strings.Contains(brokers, "@") {
		auth := x.queue.secretName(x.sys.Name)
		out["authenticationRef"] = map[string]any{"name": auth}
		x.note("needs a TriggerAuthentication of KEDA, %s, with how to log on to Kafka (sasl, username, password, tls, ca)", auth)
	}
	return out
}

// scaledObject makes KEDA scale a service: for messages, an autoscaler has to look into the engine.
func (x *exporter) scaledObject(svc system.Service, p scale.Policy, triggers []map[string]any) {
	x.note("%s needs KEDA in the cluster", svc.Name)
	x.add(svc.Name+" is scaled as the system file says, by KEDA: it knows how many messages wait.", map[string]any{
		"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": x.meta(svc.Name, svc.Name),
		"spec": map[string]any{
			"scaleTargetRef": map[string]any{"name": svc.Name}, "minReplicaCount": p.Min, "maxReplicaCount": p.Max, "pollingInterval": 5,
			"fallback": map[string]any{"failureThreshold": 6, "replicas": p.Min, "behavior": "currentReplicasIfHigher"},
			"advanced": map[string]any{"horizontalPodAutoscalerConfig": map[string]any{"behavior": behavior(p)}},
			"triggers": triggers,
		},
	}, map[string]string{"spec.fallback": "When the engine cannot be asked, nothing is taken away."})
}
