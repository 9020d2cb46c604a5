package driver

import (
	"crypto/sha256"
	"encoding/hex"
	"iter"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// Bounds of a message's parts, as checked by package queue before anything is sent, and of what is read of messages that
// others have written. The sum of all headers of a message is at most about 64 KiB.
const (
	// MaxText is the most bytes of an ID, a source, a type, a content type.
	MaxText = 255
	// MaxKey is the most bytes of a key.
	MaxKey = 512
	// MaxAttributes is the most attributes of a message, dead letters' own among them.
	MaxAttributes = 48
	// MaxAttributeName is the most bytes of the name of an attribute.
	MaxAttributeName = 40
	// MaxAttribute is the most bytes of its value.
	MaxAttribute = 4096
	// MaxAttributesSize is the most bytes of all their names and values.
	MaxAttributesSize = 32 << 10
)

const (
	specVersion     = "1.0"
	partitionKey    = "partitionkey" // of CloudEvents' partitioning extension
	dataContentType = "datacontenttype"
)

// ToHeaders calls set for every attribute of m, by the name that CloudEvents 1.0 gives it in binary mode: prefix ("ce-" for
// NATS, "ce_" for Kafka, "cloudEvents_" for AMQP) and the attribute's name. The content type is called contentType, without
// the prefix, unless that is "": engines that have a place of their own for it. The key is the extension partitionkey.
// Empty ones are not set. Values are printable ASCII, others are percent-encoded as in CloudEvents' HTTP binding, so that
// they pass engines whose headers are lines of text.
//
// FromHeaders of what was set is m without its Data, if m is as package queue sends it.
func ToHeaders(m *Message, prefix, contentType string, set func(name, value string)) {
	n := namesWith(prefix)
	set(n.specversion, specVersion)
	for _, a := range [...]struct{ name, value string }{{n.id, m.ID}, {n.source, m.Source}, {n.kind, m.Type}, {n.key, m.Key}} {
		if a.value != "" {
			set(a.name, percent(a.value))
		}
	}
	if !m.Time.IsZero() {
		set(n.time, m.Time.UTC().Format(time.RFC3339Nano))
	}
	if contentType != "" && m.ContentType != "" {
		set(contentType, percent(m.ContentType))
	}
	for name, value := range m.Attributes {
		if AttributeName(name) {
			set(prefix+name, percent(value)) // an empty one, too: it is there
		}
	}
}

// names are those of the attributes that nearly all messages have, with a prefix.
type names struct{ prefix, specversion, id, source, kind, key, time string }

// latestNames are those that were asked for last: most programs have one engine.
var latestNames atomic.Pointer[names]

func namesWith(prefix string) *names {
	n := latestNames.Load()
	if n == nil || n.prefix != prefix {
		n = &names{
			prefix: prefix, specversion: prefix + "specversion", id: prefix + "id", source: prefix + "source", kind: prefix + "type",
			key: prefix + partitionKey, time: prefix + "time",
		}
		latestNames.Store(n)
	}
	return n
}

// FromHeaders returns the message that has these headers, as ToHeaders sets them or another publisher of CloudEvents.
// Names are compared without regard to case, and the content type may be called contentType or be an attribute. It bounds
// what it takes and never fails: what is no attribute, or beyond the bounds, is left out; what is no UTF-8 is repaired, an ID
// and a source as Identity does it; a message of somebody who knows nothing of CloudEvents has no ID and no source.
func FromHeaders(headers iter.Seq2[string, string], prefix, contentType string) *Message {
	m := &Message{}
	size := 0
	for name, value := range headers {
		if contentType != "" && strings.EqualFold(name, contentType) {
			m.ContentType = text(value, MaxText)
			continue
		}
		if len(name) <= len(prefix) || !strings.EqualFold(name[:len(prefix)], prefix) {
			continue
		}
		switch name = strings.ToLower(name[len(prefix):]); name {
		case "specversion":
		case "id":
			m.ID = Identity(plain(value))
		case "source":
			m.Source = Identity(plain(value))
		case "type":
			m.Type = text(value, MaxText)
		case partitionKey:
			m.Key = text(value, MaxKey)
		case "time":
			if t, err := time.Parse(time.RFC3339Nano, text(value, 64)); err == nil {
				m.Time = t.UTC()
			}
		case dataContentType:
			if m.ContentType == "" {
				m.ContentType = text(value, MaxText)
			}
		default:
			if !AttributeName(name) || len(m.Attributes) >= MaxAttributes {
				continue
			}
			value = text(value, MaxAttribute)
			if size+len(name)+len(value) > MaxAttributesSize {
				continue // what comes behind may be what Message has a field for
			}
			size += len(name) + len(value)
			if m.Attributes == nil {
				m.Attributes = make(map[string]string, 8)
			}
			m.Attributes[name] = value
		}
	}
	return m
}

// attributeName reports whether name can be that of an extension attribute.
func attributeName(name string) bool {
	if name == "" || len(name) > MaxAttributeName {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// AttributeName reports whether name can be that of an attribute in Message.Attributes: lower-case letters and digits, and
// not one that CloudEvents defines and Message has a field for.
func AttributeName(name string) bool {
	switch name {
	case "specversion", "id", "source", "type", "time", partitionKey, dataContentType, "data", "database64":
		return false
	}
	return attributeName(name)
}

const hexDigits = "0123456789ABCDEF"

// literal reports whether a byte stands for itself: CloudEvents' HTTP binding 1.0.2, 3.1.3.2.
func literal(c byte) bool { return c > ' ' && c < 0x7f && c != '"' && c != '%' }

// percent encodes a value.
func percent(s string) string {
	n := 0
	for i := range len(s) {
		if !literal(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 2*n)
	for i := range len(s) {
		if c := s[i]; literal(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}

// plain is the inverse of percent. What is no encoding is taken as it is.
func plain(s string) string {
	if strings.IndexByte(s, '%') >= 0 {
		if out, err := url.PathUnescape(s); err == nil {
			return out
		}
	}
	return s
}

// text is plain, of at most most bytes of valid UTF-8.
func text(s string, most int) string {
	if len(s) > 3*most { // all of it encoded, and yet too long
		s = s[:3*most]
	}
	s = plain(s)
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return Cut(s, most)
}

// identityDigest is how many bytes of a hash tell identities apart.
const identityDigest = 16

// Identity returns raw as the ID or the source of a message may be. One that is too long or no UTF-8 is not just cut and
// repaired, which would make different ones the same, and their messages copies of each other: in place of its end it has "~"
// and the beginning of its SHA-256 in hex. What Identity returns it leaves as it is.
func Identity(raw string) string {
	if len(raw) <= MaxText && utf8.ValidString(raw) {
		return raw
	}
	hash := sha256.Sum256([]byte(raw))
	const room = MaxText - 1 - 2*identityDigest
	return Cut(strings.ToValidUTF8(Cut(raw, room), "\uFFFD"), room) + "~" + hex.EncodeToString(hash[:identityDigest])
}

// Cut returns s, or as much of its beginning as most bytes have room for, in whole characters.
func Cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}
