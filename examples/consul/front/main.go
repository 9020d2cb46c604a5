// Command front is that of examples/greeter, and finds hello through Consul.
package main

import (
	"net/http/httputil"
	"net/url"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/config/consulconfig"
	"github.com/holdfast-go/holdfast/registry/consulregistry"
	"github.com/holdfast-go/holdfast/rest"
)

func main() {
	svc := holdfast.New("front", holdfast.Drivers(consulregistry.Opener{}, consulconfig.Opener{}))
	svc.Handle("GET /hello/", &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "hello"}) },
		Transport:    svc.HTTPClient().Transport,
		ErrorHandler: rest.Error,
	})
	holdfast.Main(svc)
}
