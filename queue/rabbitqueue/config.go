package rabbitqueue

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// DefaultPrefix begins the names of all exchanges and queues unless Config.Prefix says otherwise.
	DefaultPrefix = "holdfast"
	// DefaultHeartbeat is Config.Heartbeat where that is 0.
	DefaultHeartbeat = 5 * time.Second

	maxPrefix   = 32
	maxMessage  = 16 << 20 // RabbitMQ 4's own default of max_message_size; before, it was more
	minInterval = time.Second
)

// Config says where RabbitMQ is. Endpoints is required.
type Config struct {
	// Endpoints are host:port of the nodes of one cluster. One that does not answer is left for the next.
	Endpoints []string
	// VHost is the virtual host; default "/".
	VHost string
	// Username and Password; default guest and guest, which RabbitMQ takes from loopback only.
	Username, Password string
	// PasswordFile, when set, is read before each connection and counts instead of Password: without the line's end.
	PasswordFile string
	// TLS for the connections. Without it, plaintext is refused beyond loopback unless Insecure is set.
	TLS      *tls.Config
	Insecure bool
	// Prefix begins the names of all exchanges and queues: letters, digits, '-', '_' and '.', at most 32 bytes; default
	// DefaultPrefix.
	Prefix string
	// Name tells people who is connected, such as "orders/orders-1".
	Name string
	// Heartbeat is within about which a broker that fell silent is noticed, and by it a client that did: at most twice as
	// long. At least 1 s, whole seconds, default DefaultHeartbeat. Short ones take a busy machine for a dead one.
	Heartbeat time.Duration
	// Logger takes what happens to the connections; nil discards it.
	Logger *slog.Logger
	// Dial makes the connections, as net.Dialer.DialContext does, which it is if nil.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	var errs []error
	if len(c.Endpoints) == 0 {
		errs = append(errs, errors.New("no endpoint"))
	}
	for _, e := range c.Endpoints {
		host, port, err := net.SplitHostPort(e)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		switch {
		case err != nil || host == "":
			errs = append(errs, fmt.Errorf("endpoint %q is not HOST:PORT", e))
		case c.TLS == nil && !c.Insecure && !loopback(host):
			errs = append(errs, fmt.Errorf("endpoint %s is beyond loopback, and there is no TLS: use amqps, or set Insecure", e))
		}
	}
	if c.Prefix != "" && (len(c.Prefix) > maxPrefix || !plainName(c.Prefix)) {
		errs = append(errs, fmt.Errorf("prefix %q is not at most %d letters, digits, '-', '_' and '.'", c.Prefix, maxPrefix))
	}
	if c.Heartbeat != 0 && (c.Heartbeat < minInterval || c.Heartbeat%time.Second != 0 || c.Heartbeat > time.Hour) {
		errs = append(errs, fmt.Errorf("heartbeat %v is not whole seconds from 1 s to 1 h", c.Heartbeat))
	}
	if c.Password != "" && c.PasswordFile != "" {
		errs = append(errs, errors.New("both a password and a file of one"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("RabbitMQ: %w", err)
	}
	return nil
}

func (c Config) withDefaults() Config {
	set := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	set(&c.VHost, "/")
	set(&c.Prefix, DefaultPrefix)
	if c.Username == "" && c.Password == "" && c.PasswordFile == "" {
		c.Username, c.Password = "guest", "guest"
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = DefaultHeartbeat
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// password returns what to log in with.
func (c Config) password() (string, error) {
	if c.PasswordFile == "" {
		return c.Password, nil
	}
	b, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("password file: %w", err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func plainName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return s != ""
}
