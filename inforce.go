package holdfast

import (
	"os"
	"slices"
	"strings"

	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/telemetry"
)

// inForce is what /settings says.
type inForce struct {
	Settings []settingInForce           `json:"settings"`
	OTel     []settingInForce           `json:"otel,omitempty"` // the standard variables of OpenTelemetry that are set
	Policies map[string][]policyInForce `json:"policies,omitempty"`
}

type settingInForce struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source string `json:"source"` // "environment", "code" or "default"
}

type policyInForce struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source string `json:"source"` // "default", "code", "file" or "live"
}

// hidden is what takes the place of a secret.
const hidden = "…"

// givenVariables are those of the table that the environment has.
func givenVariables(lookup func(string) (string, bool)) map[string]bool {
	given := make(map[string]bool)
	for _, row := range table() {
		if v, ok := lookup(row.key); ok && v != "" {
			given[row.key] = true
		}
	}
	return given
}

// settingsInForce are the settings and the policies that the Service goes by, and where each comes from.
func (s *Service) settingsInForce() inForce {
	var out inForce
	for _, row := range table() {
		now, was := row.get(&s.cfg.Settings), row.get(&s.read)
		source := "default"
		switch {
		case now != was && !(row.key == "HOLDFAST_INSTANCE" && s.madeUp):
			source = "code"
		case s.given[row.key]:
			source = "environment"
		}
		out.Settings = append(out.Settings, settingInForce{row.key, harmless(row.key, now), source})
	}
	for _, v := range os.Environ() {
		if key, value, ok := strings.Cut(v, "="); ok && strings.HasPrefix(key, "OTEL_") && value != "" {
			out.OTel = append(out.OTel, settingInForce{key, harmless(key, value), "environment"})
		}
	}
	slices.SortFunc(out.OTel, func(a, b settingInForce) int { return strings.Compare(a.Key, b.Key) })
	out.Policies = s.policiesInForce()
	return out
}

// harmless returns a value without what is nobody's business: all of it where the name says that it is a secret, and of a URL
// who logs in, and what follows the '?'.
func harmless(key, value string) string {
	switch {
	case value == "":
		return ""
	case telemetry.Secret(key):
		return hidden
	case key == "OTEL_RESOURCE_ATTRIBUTES":
		pairs := strings.Split(value, ",")
		for i, p := range pairs {
			if k, v, ok := strings.Cut(p, "="); ok {
				pairs[i] = k + "=" + harmless(strings.TrimSpace(k), v)
			}
		}
		return strings.Join(pairs, ",")
	case strings.Contains(value, "://"), strings.Contains(value, "@"):
		return redacted(value)
	}
	return value
}

// policiesInForce are the policies by service, value by value.
func (s *Service) policiesInForce() map[string][]policyInForce {
	live := s.policies.live
	out := make(map[string][]policyInForce)
	for _, name := range live.Names() {
		now, _ := live.Service(name)
		if now == nil {
			continue
		}
		code, file := valuesOf(s.cfg.Policies[name]), valuesOf(s.policies.file[name])
		for _, v := range policy.Values(*now) {
			source := "live"
			if of, ok := file[v.Key]; ok && of == v.Value {
				source = "file"
			} else if of, ok := code[v.Key]; ok && of == v.Value {
				source = "code"
			}
			if v.Value == "" {
				v.Value, source = v.Standard, "default"
			}
			out[name] = append(out[name], policyInForce{v.Key, v.Value, source})
		}
	}
	return out
}

// valuesOf are the values of a policy that it has, by key.
func valuesOf(s policy.Service) map[string]string {
	out := make(map[string]string)
	for _, v := range policy.Values(s) {
		if v.Value != "" {
			out[v.Key] = v.Value
		}
	}
	return out
}
