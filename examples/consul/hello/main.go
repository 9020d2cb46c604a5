// Command hello is that of examples/greeter, and is found through Consul.
package main

import (
	"fmt"
	"net/http"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/config/consulconfig"
	"github.com/holdfast-go/holdfast/registry/consulregistry"
)

func main() {
	svc := holdfast.New("hello", holdfast.Drivers(consulregistry.Opener{}, consulconfig.Opener{}))
	svc.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "Hello, %s! This is %s.\n", r.PathValue("name"), svc.Settings().Instance)
	})
	holdfast.Main(svc)
}
