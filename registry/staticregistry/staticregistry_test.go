package staticregistry_test

import (
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/registry/driver"
	"github.com/holdfast-go/holdfast/registry/registrytest"
	"github.com/holdfast-go/holdfast/registry/staticregistry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	registrytest.RunFixed(t, func(t testing.TB) driver.Registry {
		d, err := staticregistry.Parse("static:orders=10.0.0.2:1,10.0.0.1:1;payment=http@10.0.0.3:80")
		if err != nil {
			t.Fatal(err)
		}
		return d
	}, "orders", []string{"10.0.0.1:1", "10.0.0.2:1"})
}

func TestParse(t *testing.T) {
	if _, err := staticregistry.Parse("static:none="); err == nil {
		t.Error("a service without addresses was accepted")
	}
	d, err := staticregistry.Parse("static:orders=h1:1+http@h1:2, h2:1 ;payment=http@[::1]:80;")
	if err != nil {
		t.Fatal(err)
	}
	l, err := d.List(t.Context(), "orders")
	if err != nil || len(l.Records) != 2 {
		t.Fatalf("orders = %+v, %v", l, err)
	}
	if first := l.Records[0]; first.ID != "h1:1" || first.Endpoints["grpc"] != "h1:1" || first.Endpoints["http"] != "h1:2" {
		t.Errorf("first = %+v", first)
	}
	l, err = d.List(t.Context(), "payment")
	if err != nil || len(l.Records) != 1 || l.Records[0].Endpoints["http"] != "[::1]:80" || l.Records[0].Service != "payment" {
		t.Errorf("payment = %+v, %v", l, err)
	}
	if _, err := staticregistry.Parse("static:"); err != nil {
		t.Errorf("an empty registry: %v", err)
	}
}

// TestParseReportsAll shows that every problem is in the error.
func TestParseReportsAll(t *testing.T) {
	_, err := staticregistry.Parse("static:orders;bad name=h:1;x=nonsense,h:1,h:1;y=@h:1;y=h:1+h:2;z=:1")
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		`"orders": no '='`, `"bad name"`, `"nonsense"`, `address "h:1" given twice`, `"@h:1"`, `"y" given twice`, `protocol "grpc" given twice`, `":1"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not mention %s:\n%v", want, err)
		}
	}
	if _, err := staticregistry.Parse("etcd://h:1"); err == nil {
		t.Error("another scheme was accepted")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"static:", "static:a=h:1,h:2;b=http@h:3", "static:a=h:1+http@h:2", "static:;=;,@+", "x", "static:a=[::1]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := staticregistry.Parse(s)
		if err != nil {
			return
		}
		defer d.Close()
		for entry := range strings.SplitSeq(strings.TrimPrefix(s, "static:"), ";") {
			name, _, ok := strings.Cut(strings.TrimSpace(entry), "=")
			if !ok {
				continue
			}
			l, err := d.List(t.Context(), name)
			if err != nil || len(l.Records) == 0 {
				t.Fatalf("%q: service %q has %d records, %v", s, name, len(l.Records), err)
			}
			if slices.ContainsFunc(l.Records, func(r driver.Record) bool { return r.ID == "" || len(r.Endpoints) == 0 }) {
				t.Fatalf("%q: a record without id or endpoint: %+v", s, l.Records)
			}
		}
	})
}
