package natsqueue_test

import (
	"context"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/natsqueue"
)

// A connection that was refused, again and again, is made when the token is right.
func TestATokenThatIsRightLater(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	file := filepath.Join(t.TempDir(), "token")
	refused := make(refusals, 100)
	e := open(t, func(c *natsqueue.Config) { c.Token, c.TokenFile, c.Logger = "", file, refused.logger() }, s.cfg.ClientAddr)
	ctx := soon(t)
	declared := make(chan error, 1)
	go func() { declared <- e.Declare(ctx, driver.Topic{Name: "t"}) }()
	refused.wait(t, 4) // there is no token yet
	check(t, os.WriteFile(file, []byte(token), 0o600))
	check(t, <-declared)
	s.stop()
	s.cfg.Token = "another"
	s.start()
	refused.wait(t, 4)
	check(t, os.WriteFile(file, []byte("another"), 0o600))
	if errs := e.Publish(ctx, "t", []*driver.Message{text(1)}); errs != nil {
		t.Fatal(errs[0])
	}
}

// The file of a certificate authority may be written after the connection was first asked for.
func TestACAFileThatIsThereLater(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ca")
	cfg, err := natsqueue.Parse("nats://127.0.0.1:1?ca-file=" + file)
	check(t, err)
	e, err := natsqueue.Open(cfg)
	check(t, err)
	t.Cleanup(func() { check(t, e.Close()) })
	fails := func(want string) bool {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		err := e.Declare(ctx, driver.Topic{Name: "t"})
		return err != nil && strings.Contains(err.Error(), want)
	}
	if !fails("ca-file") {
		t.Error("the error does not say what is missing")
	}
	web := httptest.NewTLSServer(nil)
	web.Close()
	check(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600))
	for ctx := soon(t); !fails("connect") || fails("ca-file"); {
		check(t, ctx.Err())
	}
}
