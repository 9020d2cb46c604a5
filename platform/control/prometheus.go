package control

import "net/http"

// ScrapeTarget is an instance as Prometheus wants to be told where it is (http_sd, and likewise file_sd).
type ScrapeTarget struct {
	Targets []string          `json:"targets"` // host:port of the admin listener, which has /metrics
	Labels  map[string]string `json:"labels"`
}

// ScrapeTargets returns those of instances that have an admin listener, in their order. Labels are named as Prometheus names
// what OpenTelemetry calls service.name and service.instance.id: job and instance; system is that of the system file.
func ScrapeTargets(system string, instances []LiveInstance) []ScrapeTarget {
	out := []ScrapeTarget{}
	for _, i := range instances {
		if i.Admin == "" {
			continue
		}
		out = append(out, ScrapeTarget{
			Targets: []string{i.Admin},
			Labels:  map[string]string{"job": i.Service, "instance": i.ID, "system": system},
		})
	}
	return out
}

// prometheus answers where there is something to scrape. Prometheus asks again and again, so what comes and goes is seen.
func (h *handler) prometheus(w http.ResponseWriter, _ *http.Request) {
	live := h.snapshot()
	h.answer(w, ScrapeTargets(live.Info.System, live.Instances))
}
