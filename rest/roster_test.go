package rest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/balance"
)

func TestInstancesAsPeopleSeeThem(t *testing.T) {
	w := newWorld(t)
	w.good("a")
	w.good("b")
	w.add("c", refusedAddr(t))
	client := w.client(ClientConfig{Balance: balance.Config{Policy: balance.RoundRobin, SlowStart: -1}})
	get := call{method: http.MethodGet, path: "/"}
	eventually(t, "each has been tried", func() bool {
		if status, _, err := send(client, get.request(t, t.Context())); status != http.StatusOK || err != nil {
			t.Fatal(status, err)
		}
		all := client.Transport.(*Transport).Instances()["shop"]
		return len(all) == 3 && all[2].State == balance.StateUnreachable && all[0].State == balance.StateReady && all[1].State == balance.StateReady
	})
	all := client.Transport.(*Transport).Instances()["shop"]
	if all[0].ID != "a" || all[0].Addr == "" || all[0].Why != "" || !strings.Contains(all[2].Why, "refused") {
		t.Errorf("%+v", all)
	}
}
