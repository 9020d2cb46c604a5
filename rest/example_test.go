package rest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/registry/memregistry"
	"github.com/holdfast-go/holdfast/rest"
)

// Any handler gets a deadline, and answers errors with problems.
func ExampleWrap() {
	h := rest.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest.Error(w, r, failure.New(failure.NotFound, "no product %s", r.URL.Query().Get("id")))
	}), rest.ServerConfig{})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/product?id=7", nil))
	fmt.Println(w.Code, w.Body)
	// Output: 404 {"type":"about:blank","title":"Not Found","status":404,"detail":"no product 7","instance":"/product","code":"NOT_FOUND"}
}

// A service that says where it is, and a client that finds it by its name.
func ExampleTransport() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	reg := registry.New(memregistry.New(), registry.Config{})
	defer reg.Close()

	server, err := rest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "7 left")
	}), rest.ServerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	stop := run(server)
	defer stop()
	defer run(reg.Announce(registry.Instance{
		Service: "inventory", ID: "inventory-1", Endpoints: map[string]string{"http": server.Addr().String()},
	}))()

	transport := rest.NewTransport(reg, rest.ClientConfig{})
	defer transport.Close()
	client := &http.Client{Transport: transport}
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://inventory/stock/sock", nil)
	resp, err := client.Do(req)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, string(body))
	// Output: 200 7 left
}

// run stands for lifecycle.Run.
func run(c interface{ Run(context.Context) error }) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}
