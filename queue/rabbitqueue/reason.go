package rabbitqueue

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/holdfast-go/holdfast/queue/driver"
)

var (
	errClosed = errors.New("RabbitMQ: the engine is closed")
	// errMissing is of what is not on the broker, and is declared again before the next try.
	errMissing = errors.New("not declared at the broker, or not any more")
	// errLocked is of what another connection has for itself.
	errLocked = errors.New("in use by another connection")
	// errUnknown is of what was sent and not confirmed: it may have been taken.
	errUnknown = errors.New("not confirmed")
	// errLogin is of a broker that closed the connection without a word while we logged in.
	errLogin = errors.New("closed the connection during login")
)

// explain says what a reason for which a channel or a connection was closed means for callers. An error that is neither
// driver.ErrRefused nor driver.ErrTooLarge goes away by itself, or by declaring again.
func explain(err error) error {
	var e *amqp.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	because := func(kind error) error { return fmt.Errorf("%w: %s (%d)", kind, e.Reason, e.Code) }
	if !e.Server { // the client's own: a broken connection, most of all
		switch {
		case errors.Is(err, amqp.ErrCredentials), errors.Is(err, amqp.ErrVhost):
			return fmt.Errorf("%w: wrong credentials or virtual host, unless it is going down", errLogin)
		case errors.Is(err, amqp.ErrSASL), e == amqp.ErrFieldType:
			return because(driver.ErrRefused)
		}
		return fmt.Errorf("connection lost: %s", e.Reason)
	}
	switch e.Code {
	case amqp.ContentTooLarge:
		return because(driver.ErrTooLarge)
	case amqp.NoRoute, amqp.NoConsumers, amqp.NotFound:
		return because(errMissing)
	case amqp.ResourceLocked:
		return because(errLocked)
	case amqp.AccessRefused, amqp.InvalidPath, amqp.NotAllowed, amqp.NotImplemented:
		return because(driver.ErrRefused)
	case amqp.PreconditionFailed:
		switch {
		case strings.Contains(e.Reason, "message size"):
			return because(driver.ErrTooLarge)
		case strings.Contains(e.Reason, "delivery tag"), strings.Contains(e.Reason, "acknowledgement"):
			// An unknown tag, or one that was held longer than the broker's consumer_timeout.
			return because(driver.ErrLost)
		}
		return because(driver.ErrRefused)
	case amqp.ConnectionForced: // the node goes down, or its people closed the connection
		return fmt.Errorf("the broker closed the connection: %s", e.Reason)
	case amqp.ResourceError:
		return because(driver.ErrFull)
	}
	return fmt.Errorf("the broker closed the channel: %s (%d)", e.Reason, e.Code)
}

var maxSize = regexp.MustCompile(`max size:? (\d+)`)

// largest returns how many bytes the broker takes, of the error with which it refused more; 0 if that is not said.
func largest(err error) int {
	m := maxSize.FindStringSubmatch(err.Error())
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1]) // 0 for what is no number
	return n
}
