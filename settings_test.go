package holdfast_test

import (
	"context"
	"errors"
	"go/parser"
	"go/token"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/registry/driver"
	"github.com/holdfast-go/holdfast/registry/memregistry"
)

func read(env map[string]string) (holdfast.Settings, error) {
	return holdfast.ReadSettings(func(key string) (string, bool) {
		v, ok := env[key]
		return v, ok
	})
}

func TestSettings(t *testing.T) {
	defaults := holdfast.Settings{
		GRPCAddr: "127.0.0.1:0", HTTPAddr: "127.0.0.1:0", ReplicaAddr: "127.0.0.1:0", DrainDelay: 2 * time.Second, LogFormat: "text",
		AdminAddr: "127.0.0.1:0",
	}
	for name, test := range map[string]struct {
		env  map[string]string
		want holdfast.Settings
	}{
		"none":           {nil, defaults},
		"empty is unset": {map[string]string{"HOLDFAST_DRAIN_DELAY": "", "HOLDFAST_REGISTRY": "", "HOLDFAST_LOG": ""}, defaults},
		"all": {
			map[string]string{
				"HOLDFAST_REGISTRY": "etcd://10.0.0.1:2379,[::1]:2380/team/services/", "HOLDFAST_INSTANCE": "orders-2",
				"HOLDFAST_GRPC_ADDR": ":7001", "HOLDFAST_HTTP_ADDR": "[::1]:7002", "HOLDFAST_ADVERTISE": "::1",
				"HOLDFAST_DATA_DIR": "/data", "HOLDFAST_ZONE": "eu-1", "HOLDFAST_VERSION": "v7", "HOLDFAST_DRAIN_DELAY": "0s",
				"HOLDFAST_LOG": "json", "HOLDFAST_LOG_LEVEL": "warn", "HOLDFAST_INSECURE": "1", "HOLDFAST_OTHER": "x",
				"HOLDFAST_POLICIES": "/policies", "HOLDFAST_CONFIG": "file:///config", "HOLDFAST_LOCK": "consul://10.0.0.1:8500", "HOLDFAST_QUEUE": "kafka://10.0.0.1:9092",
				"HOLDFAST_REPLICA_ADDR": ":7003", "HOLDFAST_MEMBERS": "5", "HOLDFAST_FOUNDERS": "a,b,c,d,e",
				"HOLDFAST_ADMIN_ADDR": "none",
			},
			holdfast.Settings{
				Registry: "etcd://10.0.0.1:2379,[::1]:2380/team/services/", EtcdEndpoints: []string{"10.0.0.1:2379", "[::1]:2380"},
				Instance: "orders-2", GRPCAddr: ":7001", HTTPAddr: "[::1]:7002", ReplicaAddr: ":7003", Members: 5, Founders: []string{"a", "b", "c", "d", "e"}, Advertise: "::1", DataDir: "/data", Zone: "eu-1",
				Version: "v7", LogFormat: "json", LogLevel: slog.LevelWarn, Insecure: true,
				Policies: "/policies", Config: "file:///config", Lock: "consul://10.0.0.1:8500", Queue: "kafka://10.0.0.1:9092",
				AdminAddr: "none",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := read(test.env)
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v, %v\nwant %+v", got, err, test.want)
			}
		})
	}
}

func TestWrongSettings(t *testing.T) {
	_, err := read(map[string]string{
		"HOLDFAST_REGISTRY": "etcd://10.0.0.1", "HOLDFAST_GRPC_ADDR": "7001", "HOLDFAST_HTTP_ADDR": "h:http",
		"HOLDFAST_INSTANCE": "a/b", "HOLDFAST_ADVERTISE": "h:1", "HOLDFAST_DRAIN_DELAY": "-1s", "HOLDFAST_LOG": "xml", "HOLDFAST_LOG_LEVEL": "loud",
		"HOLDFAST_INSECURE": "maybe", "HOLDFAST_CONFIG": "off", "HOLDFAST_LOCK": "static:a=h:1", "HOLDFAST_QUEUE": "off",
	})
	var problems *holdfast.SettingsError
	if !errors.As(err, &problems) {
		t.Fatalf("got %v", err)
	}
	want := []string{
		`HOLDFAST_REGISTRY: "etcd://10.0.0.1" has a member "10.0.0.1" that is not HOST:PORT`,
		`HOLDFAST_CONFIG: "off" is not a URL such as etcd://127.0.0.1:2379 or file:///etc/holdfast, nor none`,
		`HOLDFAST_LOCK: "static:a=h:1" is not a URL such as etcd://127.0.0.1:2379, nor replica, nor memory`,
		`HOLDFAST_QUEUE: "off" is not a URL such as nats://127.0.0.1:4222, nor memory`,
		`HOLDFAST_INSTANCE: "a/b" is longer than 256 bytes, or has a '/' or a control character in it`,
		`HOLDFAST_GRPC_ADDR: "7001" is not HOST:PORT`,
		`HOLDFAST_HTTP_ADDR: "h:http" is not HOST:PORT`,
		`HOLDFAST_ADVERTISE: "h:1" is not a host without a port`,
		`HOLDFAST_DRAIN_DELAY: "-1s" is not a duration such as "2s"`,
		`HOLDFAST_LOG: "xml" is neither text nor json`,
		`HOLDFAST_LOG_LEVEL: "loud" is none of debug, info, warn, error`,
		`HOLDFAST_INSECURE: "maybe" is neither true nor false`,
	}
	if !slices.Equal(problems.Problems, want) {
		t.Errorf("got\n%v\nwant\n%s", err, strings.Join(want, "\n"))
	}
}

// TestAnUnspecifiedHostIsNotAdvertised: everybody who dials it reaches itself.
func TestAnUnspecifiedHostIsNotAdvertised(t *testing.T) {
	for _, host := range []string{"0.0.0.0", "::", "::ffff:0.0.0.0"} {
		if s, err := read(map[string]string{"HOLDFAST_ADVERTISE": host}); err == nil || s.Advertise != "" {
			t.Errorf("%s is taken: %q, %v", host, s.Advertise, err)
		}
		svc := newInstance(t, memregistry.New(), "alpha", "alpha-1", func(c *holdfast.Config) { c.Settings.Advertise = host }).both(nil)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := svc.Run(ended); err == nil || !strings.Contains(err.Error(), "HOLDFAST_ADVERTISE") {
			t.Errorf("%s out of an option: %v", host, err)
		}
	}
}

// TestALoopbackAddressInAnothersRegistryIsToldOf: others that find it there dial themselves.
func TestALoopbackAddressInAnothersRegistryIsToldOf(t *testing.T) {
	t.Parallel()
	for registry, told := range map[string]int{"etcd://192.0.2.1:1": 1, "etcd://192.0.2.1:1,127.0.0.1:1": 0, "static:beta=192.0.2.1:1": 0} {
		i := newInstance(t, nil, "alpha", "alpha-1", func(c *holdfast.Config) {
			c.Settings.Registry, c.Settings.Insecure = registry, true
		}).both(nil).run(t)
		eventually(t, "it serves", func() bool { return !refusing(i.http) })
		i.stop(t)
		if n := strings.Count(i.logs.String(), "others dial themselves"); n != told {
			t.Errorf("%s: told %d times", registry, n)
		}
	}
}

func TestWrongRegistries(t *testing.T) {
	for url, want := range map[string]string{
		"127.0.0.1":            "is not a URL",
		"127.0.0.1:2379":       "is not a URL",
		"a\nb:c":               "is not a URL",
		":":                    "is not a URL",
		"etcd:127.0.0.1:2379":  "does not begin with etcd://",
		"etcd://":              `a member "" that is not HOST:PORT`,
		"etcd://h:1,":          `a member "" that is not HOST:PORT`,
		"etcd://h":             `a member "h" that is not HOST:PORT`,
		"etcd://h:99999":       `a member "h:99999" that is not HOST:PORT`,
		"etcd://me:secret@h:1": "credentials",
		"static:orders":        "no '='",
		"static:a=;b":          "; ", // all of its problems, in one line
	} {
		_, err := read(map[string]string{"HOLDFAST_REGISTRY": url})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %q in one line", url, err, want)
		}
	}
}

// A password that was put where it does not belong is not repeated in the error, which goes to the log.
func TestWrongRegistriesKeepSecrets(t *testing.T) {
	for _, url := range []string{
		"etcd://me:secret@h:1", "etcd://me:se/cret@h:1", "consul://secret@h:1", "etcd://me:secret@@h:1,h:2", "consul://h:1?token=secret",
		"consul://h:1?token=secret@secret", "etcd://me:se?cret@h:1",
		"consul:me:secret@?h:1", "consul:h:1?token=secret", "me:secret@h?:1", "secret?@h:1", "etcd:secret@?h:1", "etcd://h:1?token=secret",
	} {
		var errs []error
		if strings.HasPrefix(url, "etcd:") {
			_, err := read(map[string]string{"HOLDFAST_REGISTRY": url})
			errs = append(errs, err)
		}
		for _, linked := range [][]holdfast.Driver{nil, {fakeEngine{"consul"}}} {
			svc := holdfast.New("alpha", holdfast.Drivers(linked...), func(c *holdfast.Config) { c.Settings.Registry = url })
			errs = append(errs, svc.Run(t.Context()))
		}
		for _, err := range errs {
			if err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "cret@") ||
				!strings.Contains(err.Error(), "h:1") && !strings.Contains(url, "?") {
				t.Errorf("%s: got %v", url, err)
			}
		}
	}
}

// The registry may be set in code too, and is then held to the same rules.
func TestRegistrySetInCode(t *testing.T) {
	svc := holdfast.New("alpha", func(c *holdfast.Config) { c.Settings.Registry = "etcd://127.0.0.1:1,127.0.0.1:2" })
	if got := svc.Settings().EtcdEndpoints; !slices.Equal(got, []string{"127.0.0.1:1", "127.0.0.1:2"}) {
		t.Errorf("endpoints are %v", got)
	}
	if err := svc.Close(); err != nil {
		t.Error(err)
	}
	svc = holdfast.New("alpha", func(c *holdfast.Config) { c.Settings.Registry = "consul://h:1" })
	if err := svc.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "consulregistry") {
		t.Errorf("got %v", err)
	}
	svc = holdfast.New("alpha", func(c *holdfast.Config) { c.Settings.Registry = "etcd://10.255.255.1:2379" })
	if err := svc.Run(t.Context()); err == nil {
		t.Error("plaintext to etcd beyond loopback")
	}
	svc = holdfast.New("alpha", func(c *holdfast.Config) {
		c.Settings.Registry, c.Settings.Insecure = "etcd://10.255.255.1:2379", true
	})
	if err := svc.Close(); err != nil {
		t.Error(err)
	}
}

// The package's documentation and the code have the same table.
func TestTheTableIsDocumented(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := holdfast.WriteSettings(&b); err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for line := range strings.Lines(b.String()) {
		want.WriteString("\t" + line)
	}
	if doc := f.Doc.Text(); !strings.Contains(doc, want.String()) {
		t.Errorf("doc.go should contain\n%s\nbut says\n%s", &want, doc)
	}
}

func FuzzReadSettings(f *testing.F) {
	for _, v := range []string{"etcd://h:1,[::1]:2/p", "static:a=h:1,grpc@h:2+http@h:3;b=", "consul://", "127.0.0.1:0", "2s", "json", "true", ":", "a\nb:c"} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v string) {
		s, err := holdfast.ReadSettings(func(string) (string, bool) { return v, true })
		var problems *holdfast.SettingsError
		if err != nil && !errors.As(err, &problems) {
			t.Fatal(err)
		}
		if problems != nil {
			for _, p := range problems.Problems {
				if !strings.HasPrefix(p, "HOLDFAST_") || strings.Contains(p, "\n") {
					t.Errorf("problem is %q", p)
				}
			}
		}
		if s.GRPCAddr == "" || s.HTTPAddr == "" || s.DrainDelay < 0 || s.LogFormat != "text" && s.LogFormat != "json" {
			t.Errorf("settings are %+v", s)
		}
		if strings.HasPrefix(s.Registry, "etcd:") != (len(s.EtcdEndpoints) > 0) {
			t.Errorf("settings are %+v", s)
		}
	})
}

// fakeEngine opens URLs that end with "good".
type fakeEngine struct{ scheme string }

func (e fakeEngine) Scheme() string { return e.scheme }

func (e fakeEngine) CheckURL(url string) error {
	if !strings.HasSuffix(url, "good") {
		return errors.New("does not end well")
	}
	return nil
}

func (e fakeEngine) OpenRegistry(string, driver.OpenOptions) (driver.Registry, error) {
	return memregistry.New(), nil
}

// An engine that the program does not have is said with what to do about it; one that it has is opened, unless its URL
// is wrong.
func TestDrivers(t *testing.T) {
	for name, test := range map[string]struct {
		url    string
		linked []holdfast.Driver
		want   string // "" runs
	}{
		"not linked":     {"consul://10.0.0.1:8500", nil, "import its driver (by convention github.com/holdfast-go/holdfast/registry/consulregistry)"},
		"another linked": {"nats://h:1", []holdfast.Driver{fakeEngine{"fake"}}, `for "nats", import its driver`},
		"wrong":          {"fake:bad", []holdfast.Driver{fakeEngine{"fake"}}, `HOLDFAST_REGISTRY: "fake:bad" does not end well`},
		"linked":         {"fake:good", []holdfast.Driver{fakeEngine{"other"}, fakeEngine{"fake"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("HOLDFAST_REGISTRY", test.url)
			svc := holdfast.New("alpha", holdfast.Drivers(test.linked...))
			ctx, stop := context.WithCancel(t.Context())
			stop()
			err := svc.Run(ctx)
			var settings *holdfast.SettingsError
			if test.want == "" && err != nil || test.want != "" && (!errors.As(err, &settings) || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
