//go:build unix

package host

import (
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/etcdtest"
	"github.com/holdfast-go/holdfast/registry/driver"
	"github.com/holdfast-go/holdfast/registry/etcdregistry"
)

// The edges look where the services are, who get the same URL.
func TestTheRegistrysURLMayHaveAPrefix(t *testing.T) {
	server := etcdtest.Start(t)
	edges, err := openDriver("etcd://"+server.Addr()+"/team/services", false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer edges.Close()
	services, err := etcdregistry.Open(etcdregistry.Config{Endpoints: []string{server.Addr()}, Prefix: "team/services"})
	if err != nil {
		t.Fatal(err)
	}
	defer services.Close()
	rec := driver.Record{Owner: "o", Instance: driver.Instance{
		Service: "web", ID: "web-1", Endpoints: map[string]string{"http": "127.0.0.1:1"},
	}}
	if _, err := services.Register(t.Context(), rec, 10*time.Second, true); err != nil {
		t.Fatal(err)
	}
	if list, err := edges.List(t.Context(), "web"); err != nil || len(list.Records) != 1 {
		t.Errorf("got %+v, %v", list, err)
	}
}

func TestOpenDriverKnowsItsSchemes(t *testing.T) {
	for url, ok := range map[string]bool{
		"static:web=http@127.0.0.1:1": true, "etcd://127.0.0.1:1,127.0.0.1:2": true, "etcd://127.0.0.1:1/": true,
		"etcd://127.0.0.1": false, "consul://127.0.0.1:1/dc1?prefix=x-": true, "consul://127.0.0.1": false, "nats://127.0.0.1:1": false, "": false,
	} {
		d, err := openDriver(url, false, nil)
		if (err == nil) != ok {
			t.Errorf("%q: %v", url, err)
		}
		if err == nil {
			_ = d.Close()
		}
	}
}
