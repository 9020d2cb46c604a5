package kafkaqueue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// classes are the errors that mean something to a caller; all others pass.
var classes = map[error][]error{
	driver.ErrTooLarge: {kerr.MessageTooLarge, kerr.RecordListTooLarge},
	driver.ErrFull:     {kgo.ErrMaxBuffered, kerr.ThrottlingQuotaExceeded},
	driver.ErrRefused: {
		kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.SaslAuthenticationFailed,
		kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState, kerr.SecurityDisabled, kerr.InvalidTopicException, kerr.PolicyViolation,
		kerr.InvalidRequiredAcks, kerr.InvalidConfig, kerr.InvalidGroupID, kerr.InvalidSessionTimeout, kerr.InconsistentGroupProtocol,
	},
}

// meaning returns err with the driver's error of its class, if it has one.
func meaning(err error) error {
	if err == nil {
		return nil
	}
	for class, members := range classes {
		for _, m := range members {
			if errors.Is(err, m) {
				return fmt.Errorf("%w: %w", class, err)
			}
		}
	}
	return err
}

// wrong returns err as that of an operation, nil for nil. When ctx has ended that is the reason.
func wrong(ctx context.Context, err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	if c := ctx.Err(); c != nil && !errors.Is(err, c) {
		err = fmt.Errorf("%w: %w", c, err)
	}
	return fmt.Errorf("kafka: "+format+": %w", append(args, meaning(err))...)
}

// unknown reports whether a topic is not what it was: it was not created yet, or the broker was wiped.
func unknown(err error) bool {
	return errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.InconsistentTopicID)
}

// backoff is that of requests and records: full jitter, and short in the end, since a broker that is back should be found
// soon.
func backoff(tries int) time.Duration {
	d := min(100*time.Millisecond<<min(tries, 8), maxBackoff)
	return d/2 + rand.N(d/2)
}

// logger is a kgo.Logger. What the client calls an error is mostly a broker that is away, which it gets over.
type logger struct{ l *slog.Logger }

func (l logger) Level() kgo.LogLevel {
	ctx := context.Background()
	switch {
	case l.l.Enabled(ctx, slog.LevelDebug):
		return kgo.LogLevelInfo // the debug level of the client is a line for each request
	case l.l.Enabled(ctx, slog.LevelWarn):
		return kgo.LogLevelWarn
	case l.l.Enabled(ctx, slog.LevelError):
		return kgo.LogLevelError
	}
	return kgo.LogLevelNone
}

func (l logger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	to := slog.LevelDebug
	if level <= kgo.LogLevelWarn {
		to = slog.LevelWarn
	}
	l.l.Log(context.Background(), to, "kafka: "+msg, keyvals...)
}
