package queue

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	typeProto = "application/protobuf"
	typeJSON  = "application/json"
	typeBytes = "application/octet-stream"
)

// NewMessage returns value as the message that Publish would send: for those who keep it and send it later with
// PublishMessages, such as an outbox. source is that of Config.Source. What belongs to ctx's request goes with it, by
// propagator (nil: TraceContext). The error is INVALID_ARGUMENT.
func NewMessage(ctx context.Context, source, topic string, value any, propagator Propagator, opts ...PublishOption) (*driver.Message, error) {
	m := &driver.Message{Source: source}
	if err := encode(m, value); err != nil {
		return nil, failure.Wrap(err, failure.InvalidArgument, "encode a message for %s", topic)
	}
	if m.Type == "" {
		m.Type = topic
	}
	for _, o := range opts {
		o(m)
	}
	for name := range m.Attributes {
		if own(name) {
			return nil, failure.New(failure.InvalidArgument, "message for %s: attribute %.60s: names with %q at the beginning are not for publishers", topic, name, reserved)
		}
	}
	if m.ID == "" {
		m.ID = rand.Text()
	}
	if m.Time.IsZero() {
		m.Time = time.Now()
	}
	m.Time = m.Time.UTC().Round(0)
	inject(ctx, propagator, m)
	if err := Validate(m); err != nil {
		return nil, failure.Wrap(err, failure.InvalidArgument, "message for %s", topic)
	}
	return m, nil
}

func encode(m *driver.Message, value any) (err error) {
	switch v := value.(type) {
	case proto.Message:
		m.ContentType = typeProto
		if r := v.ProtoReflect(); r.IsValid() {
			m.Type = string(r.Descriptor().FullName())
			m.Data, err = proto.Marshal(v)
			return err
		}
		return errors.New("a nil proto.Message")
	case []byte:
		m.ContentType, m.Data = typeBytes, bytes.Clone(v)
	default:
		m.ContentType = typeJSON
		m.Data, err = json.Marshal(v)
	}
	return err
}

// decode reads the value of a message, which shares nothing with it: a handler may change what it is given, and the next attempt, or
// the dead letter, has what was published.
func decode[T any](m *driver.Message) (value T, err error) {
	var target any = value
	if p, ok := target.(proto.Message); ok {
		target = p.ProtoReflect().New().Interface()
		if media(m.ContentType) == typeJSON {
			err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(m.Data, target.(proto.Message))
		} else {
			err = proto.Unmarshal(m.Data, target.(proto.Message))
		}
		if err != nil {
			return value, fmt.Errorf("not a %s: %w", p.ProtoReflect().Descriptor().FullName(), err)
		}
		return target.(T), nil
	}
	if _, ok := target.([]byte); ok {
		return any(bytes.Clone(m.Data)).(T), nil
	}
	if media(m.ContentType) == typeProto {
		return value, fmt.Errorf("%s, where JSON of a %T is read", typeProto, value)
	}
	if err := json.Unmarshal(m.Data, &value); err != nil {
		return value, fmt.Errorf("not a %T: %w", value, err)
	}
	return value, nil
}

// media is the content type without its parameters. CloudEvents' structured suffixes (application/cloudevents+json) are no
// concern of binary mode.
func media(contentType string) string {
	if i := strings.IndexByte(contentType, ';'); i >= 0 {
		if t, _, err := mime.ParseMediaType(contentType); err == nil {
			return t
		}
	}
	return contentType
}
