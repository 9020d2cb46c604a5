package telemetry

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxScrapes is how many scrapes are answered at a time.
const maxScrapes = 4

// Metrics serves the metrics of this process as Prometheus and OpenMetrics read them: those of calls, queues and state,
// those that others make with MeterProvider, and those of the Go runtime and the process. A nil Telemetry serves the last two alone.
// It is for whoever may see them: it does not ask who that is.
func (t *Telemetry) Metrics() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	all := prometheus.Gatherers{registry}
	if t != nil {
		all = append(all, t.registry)
	}
	// An instrument that fails costs its own series, not the rest.
	return promhttp.HandlerFor(all, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes, EnableOpenMetrics: true,
	})
}
