package system

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/holdfast-go/holdfast/internal/strictyaml"
)

// queues are the schemes of outside engines for messages.
var queues = []string{"nats", "kafka", "amqp", "amqps"}

// queue reads the URL of an engine for messages, or none.
func (p *parser) queue(n *yaml.Node) string {
	s, ok := p.Text(n, "queue")
	if !ok {
		return ""
	}
	if err := CheckQueue(s); err != nil {
		p.Problem(n, "queue: %v", err)
		return ""
	}
	return s
}

// CheckQueue says what is wrong with a value of queue: in a system file: nats://host:port,…, kafka://host:port,…,
// amqp://host:port,…, their variants with TLS, all but NATS with USER@ before the hosts, each with what its driver takes
// after them, or none. What stands there is for the driver to check. A password is refused, and so is whatever NATS could
// take for a token. The error repeats nothing that could be a secret.
func CheckQueue(s string) error {
	if s == NoQueue {
		return nil
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || !slices.Contains(queues, scheme) {
		return fmt.Errorf("bad URL %s: want nats://host:port, kafka://host:port or amqp://host:port, or none", strictyaml.Quote(withoutSecrets(s)))
	}
	rest, options, _ := strings.Cut(rest, "?")
	user, rest, named := cutLast(rest)
	hosts, _, _ := strings.Cut(rest, "/")
	query, err := url.ParseQuery(options)
	switch {
	case strings.Contains(user, ":") || named && scheme == "nats" || query.Has("token") || query.Has("password"):
		return errors.New("the URL has credentials in it, which do not belong into a file, nor into the environment of every process; name a file that has them (USER@…?password-file=, or token-file= of NATS)")
	case err != nil:
		return errors.New("the URL's options cannot be read")
	}
	for _, addr := range strings.Split(hosts, ",") {
		host, port, err := net.SplitHostPort(addr)
		if strings.Contains(options, "@") && (err != nil || portProblem(port) != "") { // a password with a '?', up to there
			return errors.New("bad address: want host:port")
		}
		switch {
		case err != nil || host == "":
			return fmt.Errorf("bad address %s: want host:port", strictyaml.Quote(addr))
		case portProblem(port) != "":
			return fmt.Errorf("bad address %s: %s", strictyaml.Quote(addr), portProblem(port))
		}
	}
	return nil
}

// cutLast cuts at the last '@': one within a password that nobody escaped must not make the rest of it a host, which is
// shown.
func cutLast(s string) (user, rest string, found bool) {
	at := strings.LastIndexByte(s, '@')
	return s[:max(at, 0)], s[at+1:], at >= 0
}
