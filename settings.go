package holdfast

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/holdfast-go/holdfast/registry"
	"github.com/holdfast-go/holdfast/replica"
)

// Settings are what differs between the places a service runs in, and comes from the environment. Everything else is code.
type Settings struct {
	// Registry is where services find each other, as in the table; "" is in the memory of this process.
	Registry string
	// EtcdEndpoints follow from Registry: the host:port of its members if it is etcd.
	EtcdEndpoints []string
	// Instance tells the instances of a service apart. New makes one up when it is "".
	Instance string
	// GRPCAddr and HTTPAddr are listened on, each only if there is something to serve.
	GRPCAddr, HTTPAddr string
	// ReplicaAddr is listened on for the other members of replicated state, if there is any.
	ReplicaAddr string
	// Members is how many instances found replicated state. 0 is 3, or 1 where nobody else finds this instance.
	Members int
	// Founders are the instances that found replicated state, as many as Members; nil is the first that find each other.
	Founders []string
	// Advertise is the host by which others reach the listeners. "" is the listener's own, or for one on all
	// addresses the machine's first that is not loopback.
	Advertise string
	// DataDir is for what should outlive the process, such as the last known addresses of services. "" keeps nothing.
	DataDir string
	// Zone and Version are announced with the instance.
	Zone, Version string
	// DrainDelay is the time clients are given to notice that the instance is about to stop.
	DrainDelay time.Duration
	// LogFormat is "text" or "json".
	LogFormat string
	// LogLevel is the least that is logged.
	LogLevel slog.Level
	// Insecure allows plaintext beyond loopback, for every server and client of the Service.
	Insecure bool
	// Policies is a file or a directory with policies of services, as policy.Load reads it. "" is none.
	Policies string
	// Config is where live settings are, policies first: etcd://…, file:///DIR, one of Drivers, or "none". "" is the
	// registry's engine, beside its services.
	Config string
	// Lock is where locks and elections are kept: etcd://…, one of Drivers, "replica" for the replicated state of this
	// service (see Replicate for what it needs), or "memory" for this process alone. "" is the registry's engine, beside
	// its services.
	Lock string
	// Queue is the engine of messages: nats://…, one of Drivers (kafka://…, amqp://…), or "memory" for this process alone. ""
	// is memory, too, where there is no registry; with one, it is an error to need it.
	Queue string
	// AdminAddr is where the process can be looked at: health, metrics, profiles, settings, state (Config.Admin). "none" is
	// nowhere.
	AdminAddr string
	// Agent is the unix socket of the platform that has started this process, which sets it: it is told there how the process
	// is, and drills say what it is to suffer. "" is none.
	Agent string
}

// setting is one row of the table, which is what ReadSettings goes by and what WriteSettings prints.
type setting struct {
	key      string
	standard string // the value that is as good as none, or in parentheses what happens without one
	meaning  string
	set      func(s *Settings, value string) error
	get      func(s *Settings) string // what set took
}

func table() []setting {
	return []setting{
		{
			"HOLDFAST_REGISTRY", "(memory)", "etcd://HOST:PORT,HOST:PORT[/PREFIX], static:SERVICE=HOST:PORT,…;…, or one of Drivers",
			func(s *Settings, v string) (err error) {
				if s.EtcdEndpoints, err = checkRegistry(v); err == nil {
					s.Registry = v
				}
				return err
			},
			func(s *Settings) string { return s.Registry },
		},
		{
			"HOLDFAST_CONFIG", "(registry's)", "where live settings are: etcd://HOST:PORT,HOST:PORT[/PREFIX], file:DIR, one of Drivers, or none",
			func(s *Settings, v string) (err error) {
				if err = checkConfig(v); err == nil {
					s.Config = v
				}
				return err
			},
			func(s *Settings) string { return s.Config },
		},
		{
			"HOLDFAST_LOCK", "(registry's)", "where locks are kept: etcd://HOST:PORT,HOST:PORT[/PREFIX], one of Drivers, replica, or memory",
			func(s *Settings, v string) (err error) {
				if err = checkLocks(v); err == nil {
					s.Lock = v
				}
				return err
			},
			func(s *Settings) string { return s.Lock },
		},
		{
			"HOLDFAST_QUEUE", "(memory)", "where messages are kept: nats://HOST:PORT,HOST:PORT[/PREFIX], one of Drivers, or memory, to be said where there is a registry",
			func(s *Settings, v string) (err error) {
				if err = checkQueue(v); err == nil {
					s.Queue = v
				}
				return err
			},
			func(s *Settings) string { return s.Queue },
		},
		{"HOLDFAST_POLICIES", "(none)", "file or directory with policies of services", func(s *Settings, v string) error {
			s.Policies = v
			return nil
		}, func(s *Settings) string { return s.Policies }},
		{"HOLDFAST_INSTANCE", "(made up)", "id of this instance, unique within its service", func(s *Settings, v string) error {
			if registry.ValidateID(v) != nil {
				return errors.New("is longer than 256 bytes, or has a '/' or a control character in it")
			}
			s.Instance = v
			return nil
		}, func(s *Settings) string { return s.Instance }},
		{"HOLDFAST_GRPC_ADDR", "127.0.0.1:0", "where to serve gRPC; port 0 is any free one", func(s *Settings, v string) error {
			return setAddr(&s.GRPCAddr, v)
		}, func(s *Settings) string { return s.GRPCAddr }},
		{"HOLDFAST_HTTP_ADDR", "127.0.0.1:0", "where to serve HTTP; port 0 is any free one", func(s *Settings, v string) error {
			return setAddr(&s.HTTPAddr, v)
		}, func(s *Settings) string { return s.HTTPAddr }},
		{"HOLDFAST_REPLICA_ADDR", "127.0.0.1:0", "where to listen for the other members of replicated state", func(s *Settings, v string) error {
			return setAddr(&s.ReplicaAddr, v)
		}, func(s *Settings) string { return s.ReplicaAddr }},
		{"HOLDFAST_MEMBERS", "(3)", "how many instances found replicated state; 1 without a registry", func(s *Settings, v string) error {
			n, err := strconv.ParseUint(v, 10, 8)
			if err != nil || n < 1 || n > 15 {
				return errors.New("is not a number from 1 to 15")
			}
			s.Members = int(n)
			return nil
		}, func(s *Settings) string { return number(s.Members) }},
		{"HOLDFAST_FOUNDERS", "(the first)", "instances that found replicated state, as many as members: ID,ID,ID", func(s *Settings, v string) error {
			names := strings.Split(v, ",")
			for i, n := range names {
				if replica.ValidateName(n) != nil || slices.Contains(names[:i], n) {
					return errors.New("is not ID,ID,… with each of them once")
				}
			}
			s.Founders = names
			return nil
		}, func(s *Settings) string { return strings.Join(s.Founders, ",") }},
		{"HOLDFAST_ADVERTISE", "(found out)", "host by which others reach this instance", func(s *Settings, v string) error {
			if strings.ContainsAny(v, "/ ") || strings.Contains(v, ":") && net.ParseIP(v) == nil {
				return errors.New("is not a host without a port")
			}
			if unspecified(v) {
				return errUnspecified
			}
			s.Advertise = v
			return nil
		}, func(s *Settings) string { return s.Advertise }},
		{"HOLDFAST_DATA_DIR", "(none)", "directory for what should outlive the process", func(s *Settings, v string) error {
			s.DataDir = v
			return nil
		}, func(s *Settings) string { return s.DataDir }},
		{"HOLDFAST_ZONE", "(none)", "where this instance runs, for balancing and for people", func(s *Settings, v string) error {
			s.Zone = v
			return nil
		}, func(s *Settings) string { return s.Zone }},
		{"HOLDFAST_VERSION", "(none)", "what this instance is, for people", func(s *Settings, v string) error {
			s.Version = v
			return nil
		}, func(s *Settings) string { return s.Version }},
		{"HOLDFAST_DRAIN_DELAY", "2s", "time for clients to notice that this instance stops", func(s *Settings, v string) error {
			d, err := time.ParseDuration(v)
			if err != nil || d < 0 {
				return errors.New(`is not a duration such as "2s"`)
			}
			s.DrainDelay = d
			return nil
		}, func(s *Settings) string { return s.DrainDelay.String() }},
		{"HOLDFAST_LOG", "text", "text or json", func(s *Settings, v string) error {
			if v != "text" && v != "json" {
				return errors.New("is neither text nor json")
			}
			s.LogFormat = v
			return nil
		}, func(s *Settings) string { return s.LogFormat }},
		{"HOLDFAST_LOG_LEVEL", "info", "debug, info, warn or error", func(s *Settings, v string) error {
			if s.LogLevel.UnmarshalText([]byte(v)) != nil {
				return errors.New("is none of debug, info, warn, error")
			}
			return nil
		}, func(s *Settings) string { return strings.ToLower(s.LogLevel.String()) }},
		{"HOLDFAST_INSECURE", "false", "allow plaintext beyond loopback", func(s *Settings, v string) (err error) {
			if s.Insecure, err = strconv.ParseBool(v); err != nil {
				return errors.New("is neither true nor false")
			}
			return nil
		}, func(s *Settings) string { return strconv.FormatBool(s.Insecure) }},
		{"HOLDFAST_ADMIN_ADDR", "127.0.0.1:0", "where to look at the process: health, metrics, profiles, settings, state; or none", func(s *Settings, v string) error {
			if v == noAdmin {
				s.AdminAddr = v
				return nil
			}
			return setAddr(&s.AdminAddr, v)
		}, func(s *Settings) string { return s.AdminAddr }},
		{"HOLDFAST_AGENT", "(none)", "socket of the platform, which sets it, for drills and autoscaling", func(s *Settings, v string) error {
			s.Agent = v
			return nil
		}, func(s *Settings) string { return s.Agent }},
	}
}

// ReadSettings reads the environment by lookup, which is os.LookupEnv or has its form. A variable that is empty counts
// as not set. The error is a *SettingsError with every problem there is; the Settings have defaults in place of those.
func ReadSettings(lookup func(key string) (string, bool)) (Settings, error) {
	var s Settings
	var problems []string
	for _, row := range table() {
		if !strings.HasPrefix(row.standard, "(") {
			if err := row.set(&s, row.standard); err != nil {
				return s, fmt.Errorf("settings: default of %s: %w", row.key, err)
			}
		}
		if v, ok := lookup(row.key); ok && v != "" {
			if err := row.set(&s, v); err != nil {
				problems = append(problems, wrongSetting(row.key, v, err).Problems...)
			}
		}
	}
	if len(problems) > 0 {
		return s, &SettingsError{Problems: problems}
	}
	return s, nil
}

// WriteSettings writes the table of the environment variables, as it stands in the package's documentation.
func WriteSettings(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "variable\tdefault\tmeaning")
	for _, row := range table() {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", row.key, row.standard, row.meaning)
	}
	return tw.Flush()
}

// SettingsError says what is wrong with the environment.
type SettingsError struct {
	// Problems are one line each, beginning with the variable's name.
	Problems []string
}

func wrongSetting(key, value string, err error) *SettingsError {
	return &SettingsError{Problems: []string{fmt.Sprintf("%s: %q %v", key, redacted(value), err)}}
}

// Error has a line for each problem.
func (e *SettingsError) Error() string { return strings.Join(e.Problems, "\n") }

func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func setAddr(to *string, v string) error {
	_, port, err := net.SplitHostPort(v)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return errors.New("is not HOST:PORT")
	}
	*to = v
	return nil
}

func (s Settings) logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: s.LogLevel}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
