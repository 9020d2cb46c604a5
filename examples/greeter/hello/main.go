// Command hello greets people. It is the smallest service: REST, and no interface description.
package main

import (
	"fmt"
	"net/http"

	"github.com/holdfast-go/holdfast"
)

func main() {
	svc := holdfast.New("hello")
	svc.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "Hello, %s! This is %s.\n", r.PathValue("name"), svc.Settings().Instance)
	})
	holdfast.Main(svc)
}
