// Command front passes on to the ledger what it is asked, as any service calls another one: a sale has no idempotency key, and
// so may not be made twice.
package main

import (
	"net/http/httputil"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/rest"
)

func main() {
	svc := holdfast.New("front")
	svc.Handle("/", &httputil.ReverseProxy{
		Transport: svc.HTTPClient().Transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", "ledger", ""
		},
		ErrorHandler: rest.Error,
	})
	holdfast.Main(svc)
}
