package queue

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/queue/driver"
)

const (
	maxName = 100
	// maxAttributes is what publishers may set: dead letters need room for their own.
	maxAttributes = 32
	// reserved begins the names of attributes that are this package's.
	reserved = "holdfast"
)

// ValidateName reports why a topic or a group cannot have that name: it is 1 to 100 letters, digits, '-', '_' and '.', the
// first of them a letter or digit.
func ValidateName(name string) error {
	switch {
	case name == "":
		return errors.New("a name that is empty")
	case len(name) > maxName:
		return fmt.Errorf("a name of %d bytes: more than %d", len(name), maxName)
	}
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case i > 0 && (c == '-' || c == '_' || c == '.'):
		default:
			return fmt.Errorf("the name %q: only letters, digits, '-', '_' and '.', beginning with a letter or digit", name)
		}
	}
	return nil
}

// validateNames reports what is wrong with the names of a topic and of groups.
func validateNames(topic string, groups ...string) error {
	var errs []error
	if err := ValidateName(topic); err != nil {
		errs = append(errs, fmt.Errorf("topic: %w", err))
	}
	for _, g := range groups {
		if err := ValidateName(g); err != nil {
			errs = append(errs, fmt.Errorf("group: %w", err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return failure.Wrap(err, failure.InvalidArgument, "names")
	}
	return nil
}

// Validate reports why a message cannot be sent, whatever the engine: Publish and PublishMessages refuse it with
// INVALID_ARGUMENT, however often it is tried. For those who keep messages to send them later, such as an outbox. How large
// Data may be depends on the engine (driver.Capabilities.MaxMessage) and is not looked at.
func Validate(m *driver.Message) error {
	if m == nil {
		return errors.New("no message")
	}
	for _, f := range []struct {
		name, value string
		most        int
		required    bool
	}{
		{"ID", m.ID, driver.MaxText, true},
		{"source", m.Source, driver.MaxText, true},
		{"type", m.Type, driver.MaxText, false},
		{"content type", m.ContentType, driver.MaxText, false},
		{"key", m.Key, driver.MaxKey, false},
	} {
		switch {
		case f.value == "" && f.required:
			return fmt.Errorf("%s: empty", f.name)
		case len(f.value) > f.most:
			return fmt.Errorf("%s of %d bytes: more than %d", f.name, len(f.value), f.most)
		case !utf8.ValidString(f.value):
			return fmt.Errorf("%s: not UTF-8", f.name)
		}
	}
	if y := m.Time.Year(); y < 1 || y > 9999 {
		return fmt.Errorf("time: the year %d", y)
	}
	return validateAttributes(m.Attributes)
}

func validateAttributes(attributes map[string]string) error {
	size, count := 0, 0
	for name, value := range attributes {
		switch {
		case !driver.AttributeName(name):
			return fmt.Errorf("attribute %.60q: not a name of an extension attribute (lower-case letters and digits, at most %d)", name, driver.MaxAttributeName)
		case len(value) > driver.MaxAttribute:
			return fmt.Errorf("attribute %s of %d bytes: more than %d", name, len(value), driver.MaxAttribute)
		case !utf8.ValidString(value):
			return fmt.Errorf("attribute %s: not UTF-8", name)
		}
		size += len(name) + len(value)
		if !strings.HasPrefix(name, reserved) {
			count++
		}
	}
	switch {
	case count > maxAttributes:
		return fmt.Errorf("%d attributes: more than %d", count, maxAttributes)
	case size > driver.MaxAttributesSize/2:
		return fmt.Errorf("%d bytes of attributes: more than %d", size, driver.MaxAttributesSize/2)
	}
	return nil
}
