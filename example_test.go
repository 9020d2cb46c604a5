package holdfast_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"

	"github.com/holdfast-go/holdfast"
)

// A service that calls itself by its name, as any other service would, and stops.
func Example() {
	svc := holdfast.New("hello", func(c *holdfast.Config) {
		c.Settings.DrainDelay = 0
		c.Logger = slog.New(slog.DiscardHandler)
	})
	svc.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "Hello, %s!", r.PathValue("name"))
	})
	ctx, stop := context.WithCancel(context.Background())
	client := svc.HTTPClient()
	svc.Go("greet", func(context.Context) error {
		defer stop()
		resp, err := client.Get("http://hello/hello/world")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(os.Stdout, resp.Body)
		return err
	})
	if err := svc.Run(ctx); err != nil { // a program's last line is holdfast.Main(svc)
		fmt.Println(err)
	}
	// Output: Hello, world!
}
