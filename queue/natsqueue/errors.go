package natsqueue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-go/holdfast/queue/driver"
)

// Codes of the server's that nats.go has no names for.
const (
	codeReplicasNotSupported = 10074
	codeStorageExceeded      = 10047
	codeMemoryExceeded       = 10028
	codeInsufficient         = 10023
	codeStoreFailed          = 10077
	codeSubjectOverlap       = 10065
	codeTooLarge             = 10054
	codeLimitStreams         = 10027
)

var errNoStream = errors.New("the topic does not exist at the server, or nobody leads it now")

// translate puts what the contract calls it under what the server said.
func translate(err error) error {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrMaxPayload):
		return errors.Join(driver.ErrTooLarge, err)
	case errors.Is(err, nats.ErrNoResponders):
		return errors.Join(errNoStream, err)
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrPermissionViolation):
		return errors.Join(driver.ErrRefused, err)
	case errors.As(err, &api):
		return apiError(int(api.ErrorCode), api.Description)
	}
	return err
}

func apiError(code int, description string) error {
	err := fmt.Errorf("nats: %s (%d)", description, code)
	switch code {
	case codeStoreFailed, codeStorageExceeded, codeMemoryExceeded, codeInsufficient:
		if code == codeStoreFailed && !strings.Contains(description, "maximum") {
			return err // the store is broken, not full
		}
		return fmt.Errorf("%w: %w", driver.ErrFull, err)
	case codeTooLarge:
		return fmt.Errorf("%w: %w", driver.ErrTooLarge, err)
	case codeSubjectOverlap, codeLimitStreams:
		return fmt.Errorf("%w: %w", driver.ErrRefused, err)
	case int(jetstream.JSErrCodeStreamNotFound):
		return fmt.Errorf("%w: %w", errNoStream, err)
	case int(jetstream.JSErrCodeJetStreamNotEnabled), int(jetstream.JSErrCodeJetStreamNotEnabledForAccount):
		return fmt.Errorf("%w: %w", driver.ErrRefused, err)
	}
	return err
}

// pubAck reads the answer to a message that was published.
type pubAck struct {
	Error *struct {
		Code        int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
	Stream    string `json:"stream"`
	Seq       uint64 `json:"seq"`
	Duplicate bool   `json:"duplicate"`
}

func readAck(msg *nats.Msg) (seq uint64, err error) {
	if noResponders(msg) {
		return 0, errNoStream
	}
	if seq, ok := quickAck(msg.Data); ok {
		return seq, nil
	}
	var a pubAck
	if err := json.Unmarshal(msg.Data, &a); err != nil {
		return 0, errors.New("nats: an answer that is none")
	}
	if a.Error != nil {
		return 0, apiError(a.Error.Code, a.Error.Description)
	}
	if a.Stream == "" {
		return 0, errors.New("nats: an answer that is none")
	}
	return a.Seq, nil
}

// quickAck reads the confirmation exactly as servers write it, {"stream":"NAME","seq":N} or with a mark of a duplicate, since
// there is one for every message. Whatever else is JSON, too, is for json.Unmarshal.
func quickAck(b []byte) (seq uint64, ok bool) {
	rest, ok := bytes.CutPrefix(b, []byte(`{"stream":"`))
	if !ok {
		return 0, false
	}
	name, rest, ok := bytes.Cut(rest, []byte(`"`))
	if !ok || len(name) == 0 || bytes.IndexByte(name, '\\') >= 0 {
		return 0, false
	}
	rest, ok = bytes.CutPrefix(rest, []byte(`,"seq":`))
	if !ok {
		return 0, false
	}
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' && digits < 19 {
		seq = seq*10 + uint64(rest[digits]-'0')
		digits++
	}
	switch string(rest[digits:]) {
	case `}`, `,"duplicate": true}`:
		return seq, digits > 0
	}
	return 0, false
}
