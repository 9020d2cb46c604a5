package embed

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	nats "github.com/nats-io/nats-server/v2/server"
)

// natsLog hands a NATS server's log to a slog.Logger, warnings and errors only.
type natsLog struct {
	logger   *slog.Logger
	fatal    chan string // the first thing after which the server does not go on
	stopping atomic.Bool // what it says then of its connections is no error
	ready    atomic.Bool // before, there is nobody to elect
}

var _ nats.Logger = (*natsLog)(nil)

func newNATSLog(logger *slog.Logger) *natsLog {
	return &natsLog{logger: logger, fatal: make(chan string, 1)}
}

// passing are what is said of members that start, stop, or are not there, which the supervisor says better, and of what
// is so on purpose.
var passing = []string{
	"Error trying to connect to route",
	"Route", "Rid:", // a route that breaks: its member ended, or hangs
	"Filestore", // a store that is not there yet
	"JetStream cluster new", "Waiting for routing to be established",
	"Plaintext passwords detected",
	"Maximum Memory",
}

func (l *natsLog) log(level slog.Level, format string, args []any) {
	if l.stopping.Load() {
		return
	}
	text := fmt.Sprintf(format, args...)
	if !l.ready.Load() && strings.Contains(text, "meta leader") {
		return
	}
	for _, p := range passing {
		if strings.Contains(text, p) {
			return
		}
	}
	l.logger.Log(context.Background(), level, text)
}

// Noticef implements nats.Logger.
func (l *natsLog) Noticef(string, ...any) {}

// Debugf implements nats.Logger.
func (l *natsLog) Debugf(string, ...any) {}

// Tracef implements nats.Logger.
func (l *natsLog) Tracef(string, ...any) {}

// Warnf implements nats.Logger.
func (l *natsLog) Warnf(format string, args ...any) { l.log(slog.LevelWarn, format, args) }

// Errorf implements nats.Logger.
func (l *natsLog) Errorf(format string, args ...any) { l.log(slog.LevelError, format, args) }

// Fatalf implements nats.Logger. The server goes on or stays half started; the component ends.
func (l *natsLog) Fatalf(format string, args ...any) {
	select {
	case l.fatal <- fmt.Sprintf(format, args...):
	default:
	}
}
