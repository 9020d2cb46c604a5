package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// ReadJSON decodes the body of r, which must be one JSON value, into v, a pointer. What the client did wrong is a
// failure.InvalidArgument that names the place (line and column) of malformed JSON, or the field that has the wrong
// type; Error answers it with 400. Members that v has no place for are ignored. It reads as much as the server's
// MaxBodyBytes allows, outside of a Handler 1 MiB; more is an *http.MaxBytesError, which Error answers with 413.
func ReadJSON(r *http.Request, v any) error {
	if ct := r.Header.Get("Content-Type"); ct != "" && !isJSON(ct) {
		return failure.New(failure.InvalidArgument, "the body has to be application/json, not %.80s", ct)
	}
	limit := int64(DefaultMaxBodyBytes)
	if x, ok := r.Context().Value(exchangeKey{}).(*exchange); ok {
		limit = x.handler.cfg.MaxBodyBytes
	}
	body := r.Body
	if body == nil {
		body = http.NoBody
	}
	if limit >= 0 {
		body = http.MaxBytesReader(nil, body, limit)
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return readError(err)
	}
	return JSONError(data, json.Unmarshal(data, v))
}

func isJSON(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && (t == "application/json" || t == "text/json" || strings.HasSuffix(t, "+json"))
}

// readError is what ended the reading of a body early.
func readError(err error) error {
	var tooLarge *http.MaxBytesError
	var known *failure.Error
	if errors.As(err, &tooLarge) || errors.As(err, &known) {
		return err
	}
	return failure.Wrap(err, failure.InvalidArgument, "the body could not be read to its end")
}

// JSONError explains an error of encoding/json to whoever sent data, as ReadJSON does. data may be nil if it is not
// known any more: then the place is given in bytes from the beginning. It is nil for a nil err.
func JSONError(data []byte, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	var moment *time.ParseError
	switch {
	case err == nil:
		return nil
	case data != nil && len(bytes.TrimSpace(data)) == 0:
		return failure.Wrap(err, failure.InvalidArgument, "the body is empty; it has to be JSON")
	case errors.As(err, &syntax):
		return failure.Wrap(err, failure.InvalidArgument, "the body is not valid JSON: %s, at %s", syntax.Error(), place(data, syntax.Offset))
	case errors.As(err, &kind):
		field := fieldAt(data, kind.Offset)
		if field == "" {
			field = kind.Field
		}
		e := failure.Wrap(err, failure.InvalidArgument, "the request is not valid")
		return e.WithViolation(field, "has to be %s, not %s", wanted(kind.Type), got(kind.Value))
	case errors.As(err, &moment):
		return failure.Wrap(err, failure.InvalidArgument, "the body contains %.80q, which is not a time like 2006-01-02T15:04:05Z", moment.Value)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return failure.Wrap(err, failure.InvalidArgument, "the body is not valid JSON: it ends too early")
	}
	var invalid *json.InvalidUnmarshalError
	if errors.As(err, &invalid) {
		return failure.Wrap(err, failure.Internal, "internal error") // ours, not the client's
	}
	return failure.Wrap(err, failure.InvalidArgument, "the body does not have the expected form")
}

// place names an offset for people. encoding/json counts the offending byte in.
func place(data []byte, offset int64) string {
	if data == nil || offset > int64(len(data)) {
		return fmt.Sprintf("byte %d", offset)
	}
	before := data[:max(0, offset-1)]
	line := 1 + bytes.Count(before, []byte{'\n'})
	column := len(before) - bytes.LastIndexByte(before, '\n')
	return fmt.Sprintf("line %d, column %d", line, column)
}

// wanted names a type without telling about Go.
func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number" + within(t)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return "a whole number that is not negative" + within(t)
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		return "a list"
	default:
		return "an object"
	}
}

func within(t reflect.Type) string {
	if t.Bits() == 64 {
		return ""
	}
	return fmt.Sprintf(" of %d bits", t.Bits())
}

// got names what encoding/json met: "string", "number 1.5", "bool", "array", "object".
func got(value string) string {
	switch {
	case value == "bool":
		return "true or false"
	case value == "array":
		return "a list"
	case value == "object":
		return "an object"
	case strings.HasPrefix(value, "number "):
		return fmt.Sprintf("%.40s", strings.TrimPrefix(value, "number "))
	}
	return "a " + value
}

// fieldAt returns the path, such as "items[2].quantity", of the value that ends at or contains the offset. encoding/json
// knows the names, but not which element of a list it was in. Empty if the value is the whole, or data is not known.
func fieldAt(data []byte, offset int64) string {
	type level struct {
		list  bool
		key   string
		index int
		named bool // a key was read whose value has not come yet
	}
	var path []level
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	for {
		tok, err := dec.Token()
		if err != nil {
			return ""
		}
		top := len(path) - 1
		delim, isDelim := tok.(json.Delim)
		if closing := isDelim && (delim == '}' || delim == ']'); closing {
			path = path[:top]
			top--
		}
		value := !isDelim || delim == '{' || delim == '['
		if value && top >= 0 {
			l := &path[top]
			switch {
			case l.list:
				l.index++
			case !l.named:
				l.key, _ = tok.(string)
				l.named = true
				continue // the name alone is no value
			default:
				l.named = false
			}
		}
		if dec.InputOffset() >= offset {
			var b strings.Builder
			for _, l := range path {
				if l.list {
					b.WriteString("[" + strconv.Itoa(l.index) + "]")
					continue
				}
				if b.Len() > 0 {
					b.WriteByte('.')
				}
				b.WriteString(l.key)
			}
			return b.String()
		}
		if isDelim && value {
			path = append(path, level{list: delim == '[', index: -1})
		}
	}
}
