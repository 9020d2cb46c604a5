package supervise

import (
	"slices"
	"testing"
)

func TestProcessesSayWhoTheyAre(t *testing.T) {
	const variable = "OTEL_RESOURCE_ATTRIBUTES="
	for before, want := range map[string]string{
		"A=b":                                   variable + "service.instance.id=orders-1",
		variable:                                variable + "service.instance.id=orders-1",
		variable + "team=shop,":                 variable + "team=shop,service.instance.id=orders-1",
		variable + "a=b, service.instance.id=7": variable + "a=b, service.instance.id=7",
	} {
		if got := named([]string{before}, "orders-1"); !slices.Contains(got, want) || slices.Contains(got, before) != (before == "A=b" || before == want) {
			t.Errorf("%q became %q", before, got)
		}
	}
}
