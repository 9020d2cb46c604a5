//go:build real && unix

package kafkaqueue_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/holdfast-go/holdfast/internal/kafkatest"
	"github.com/holdfast-go/holdfast/queue/driver"
	"github.com/holdfast-go/holdfast/queue/kafkaqueue"
)

// TestRealSecure: TLS and a password, by URL, of each mechanism; a wrong one is refused, and is in no error.
func TestRealSecure(t *testing.T) {
	const password = "p@ss/w:rd,geheim"
	b := startBroker(t, kafkatest.Config{Secure: &kafkatest.Secure{User: "alice", Password: password}})
	plain, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	set, err := kadm.NewClient(plain).AlterUserSCRAMs(t.Context(), nil, []kadm.UpsertSCRAM{
		{User: "alice", Mechanism: kadm.ScramSha256, Iterations: 4096, Password: password},
	})
	if err == nil {
		err = set.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ca := "ca-file=" + url.QueryEscape(b.CAFile())
	use := func(u string) error {
		t.Helper()
		if err := (kafkaqueue.Opener{}).CheckURL(u); err != nil {
			t.Fatal(err)
		}
		d, err := kafkaqueue.Opener{}.OpenQueue(u, driver.OpenOptions{})
		if err != nil {
			return err
		}
		defer d.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := d.Declare(ctx, driver.Topic{Name: "t", Groups: []string{"g"}}); err != nil {
			return err
		}
		return errors.Join(d.Publish(ctx, "t", []*driver.Message{message("k", 0)})...)
	}
	at := url.UserPassword("alice", password).String() + "@" + b.SecureAddr()
	for _, u := range []string{
		"kafka://" + at + "?tls=1&" + ca,
		"kafka://" + at + "?sasl=scram-sha-256&" + ca,
		"kafka://alice@" + b.SecureAddr() + "?sasl=plain&password-file=" + url.QueryEscape(file) + "&" + ca,
	} {
		if err := use(u); err != nil {
			t.Errorf("%v", err)
		}
	}
	for what, u := range map[string]string{
		"a wrong password":    "kafka://alice:geheim-too@" + b.SecureAddr() + "?" + ca,
		"an unknown server":   "kafka://" + at + "?tls=1",
		"plaintext":           "kafka://" + at,
		"a wrong mechanism":   "kafka://" + at + "?sasl=scram-sha-512&" + ca,
		"a file that is gone": "kafka://alice@" + b.SecureAddr() + "?password-file=/nowhere/geheim&tls=1",
	} {
		err := use(u)
		if err == nil {
			t.Errorf("with %s it works", what)
			continue
		}
		if what != "a file that is gone" && strings.Contains(err.Error(), "geheim") {
			t.Errorf("the error has the password: %v", err)
		}
		if what == "a wrong password" && !errors.Is(err, driver.ErrRefused) {
			t.Errorf("a wrong password: %v", err)
		}
	}
}
