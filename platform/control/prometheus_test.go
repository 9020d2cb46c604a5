package control_test

import (
	"encoding/json"
	"testing"

	"github.com/holdfast-go/holdfast/platform/control"
)

// What Prometheus reads is a list of lists of addresses with labels, and no instance without an admin listener is in it.
func TestScrapeTargets(t *testing.T) {
	at := func(id, admin string) control.LiveInstance {
		return control.LiveInstance{Instance: control.Instance{ID: id, Service: "orders"}, Condition: control.Condition{Admin: admin}}
	}
	for _, tc := range []struct {
		name      string
		instances []control.LiveInstance
		want      string
	}{
		{"nothing runs", nil, `[]`},
		{"a foreign program has none", []control.LiveInstance{at("orders-1", "")}, `[]`},
		{
			"each by itself, for each has a name of its own",
			[]control.LiveInstance{at("orders-1", "127.0.0.1:41"), at("orders-2", "127.0.0.1:42")},
			`[{"targets":["127.0.0.1:41"],"labels":{"instance":"orders-1","job":"orders","system":"shop"}},` +
				`{"targets":["127.0.0.1:42"],"labels":{"instance":"orders-2","job":"orders","system":"shop"}}]`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := json.Marshal(control.ScrapeTargets("shop", tc.instances))
			if err != nil || string(got) != tc.want {
				t.Errorf("got  %s, %v\nwant %s", got, err, tc.want)
			}
		})
	}
}
