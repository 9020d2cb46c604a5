// Command front asks one of the instances of hello, found by its name, and passes on what it says.
package main

import (
	"net/http/httputil"
	"net/url"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/rest"
)

func main() {
	svc := holdfast.New("front")
	svc.Handle("GET /hello/", &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "hello"}) },
		Transport:    svc.HTTPClient().Transport,
		ErrorHandler: rest.Error,
	})
	holdfast.Main(svc)
}
