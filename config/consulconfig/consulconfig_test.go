package consulconfig_test

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/config/consulconfig"
	"github.com/holdfast-go/holdfast/config/driver"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests on a real Consul wait for timers and compute little; more of them at once than processors is right.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func TestURL(t *testing.T) {
	for url, want := range map[string]string{
		"consul://127.0.0.1:8500":                "",
		"consul://127.0.0.1:8500,[::1]:8501/dc1": "",
		"consul://127.0.0.1:8500?prefix=shop-":   "",
		"consul://127.0.0.1":                     `agent "127.0.0.1" is not HOST:PORT`,
		"consul://127.0.0.1:8500?token=secret":   "has a token in it",
		"consul://me@127.0.0.1:8500":             "has credentials in it",
		"consul://127.0.0.1:8500?color=red":      `an option other than ca-file, prefix`,
		"etcd://127.0.0.1:8500":                  "does not begin with consul://",
	} {
		err := consulconfig.Opener{}.CheckURL(url)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: got %v, want %q", url, err, want)
		}
		d, err := consulconfig.Opener{}.OpenStore(url, driver.OpenOptions{})
		if (err == nil) != (want == "") {
			t.Errorf("%s: OpenStore = %v", url, err)
		}
		if err == nil {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := (consulconfig.Opener{}).OpenStore("consul://10.0.0.1:8500", driver.OpenOptions{}); err == nil || !strings.Contains(err.Error(), "Insecure") {
		t.Errorf("plaintext beyond loopback: %v", err)
	}
}

// The error page of a proxy before Consul does not say that all settings are gone.
func TestOnlyConsulSaysThatThereIsNothing(t *testing.T) {
	for name, test := range map[string]struct {
		status      int
		index, body string
		empty       bool
	}{
		"Consul":             {http.StatusNotFound, "7", "", true},
		"Consul, with a key": {http.StatusOK, "7", `[{"Key":"other/a","Value":"MQ==","ModifyIndex":7}]`, true},
		"a proxy's page":     {http.StatusNotFound, "", "<html>not found</html>", false},
		"another index":      {http.StatusNotFound, "none", "", false},
		"a proxy's list":     {http.StatusOK, "", "[]", false},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if test.index != "" {
				w.Header().Set("X-Consul-Index", test.index)
			}
			w.WriteHeader(test.status)
			fmt.Fprint(w, test.body)
		}))
		d, err := consulconfig.Open(consulconfig.Config{Agents: []string{server.Listener.Addr().String()}})
		if err != nil {
			t.Fatal(err)
		}
		l, err := d.List(t.Context(), "policies/")
		if (err == nil) != test.empty || len(l.Entries) != 0 {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		server.Close()
	}
}

// The copy on disk goes by it.
func TestIdentity(t *testing.T) {
	of := func(c consulconfig.Config) string {
		t.Helper()
		d, err := consulconfig.Open(c)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		return d.Identity()
	}
	agents := []string{"127.0.0.1:2", "127.0.0.1:1"}
	one := of(consulconfig.Config{Agents: agents, Token: "secret"})
	if one != "consul://127.0.0.1:1,127.0.0.1:2/?prefix=holdfast/config" {
		t.Error(one)
	}
	for _, c := range []consulconfig.Config{{Agents: agents[:1]}, {Agents: agents, Prefix: "p"}, {Agents: agents, Datacenter: "dc2"}} {
		if of(c) == one {
			t.Errorf("%+v: the same", c)
		}
	}
}
