package sight

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const maxJSONDepth = 64

var errJSON = errors.New("not OTLP as JSON")

// fromJSON makes protobuf of OTLP's JSON, in which IDs are hexadecimal, enums numbers, and names in lower camel case. What is
// unknown is left out. It takes no more memory than a few times the body, whatever is in it.
func fromJSON(body []byte, as protoreflect.MessageDescriptor) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	out, err := jsonMessage(dec, nil, as, 0)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err == nil {
		return nil, errJSON
	}
	return out, nil
}

// jsonMessage appends the fields of the object that comes next; null is an empty one.
func jsonMessage(dec *json.Decoder, out []byte, as protoreflect.MessageDescriptor, depth int) ([]byte, error) {
	if depth > maxJSONDepth {
		return nil, errJSON
	}
	open, err := dec.Token()
	if err != nil || open == nil {
		return out, err
	}
	if open != json.Delim('{') {
		return nil, errJSON
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if !ok {
			return nil, errJSON
		}
		field := as.Fields().ByJSONName(name)
		if field == nil {
			field = as.Fields().ByName(protoreflect.Name(name))
		}
		if field == nil {
			if err := skip(dec, depth); err != nil {
				return nil, err
			}
			continue
		}
		if out, err = jsonField(dec, out, field, depth); err != nil {
			return nil, err
		}
	}
	_, err = dec.Token()
	return out, err
}

func jsonField(dec *json.Decoder, out []byte, field protoreflect.FieldDescriptor, depth int) ([]byte, error) {
	if !field.IsList() {
		return jsonValue(dec, out, field, depth)
	}
	open, err := dec.Token()
	if err != nil || open == nil {
		return out, err
	}
	if open != json.Delim('[') {
		return nil, errJSON
	}
	packed := field.IsPacked()
	var items []byte
	for dec.More() {
		if packed {
			items, err = jsonScalar(dec, items, field, false)
		} else {
			out, err = jsonValue(dec, out, field, depth)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(items) > 0 {
		out = protowire.AppendBytes(protowire.AppendTag(out, field.Number(), protowire.BytesType), items)
	}
	_, err = dec.Token()
	return out, err
}

func jsonValue(dec *json.Decoder, out []byte, field protoreflect.FieldDescriptor, depth int) ([]byte, error) {
	if field.Kind() != protoreflect.MessageKind {
		return jsonScalar(dec, out, field, true)
	}
	sub, err := jsonMessage(dec, nil, field.Message(), depth+1)
	if err != nil {
		return nil, err
	}
	return protowire.AppendBytes(protowire.AppendTag(out, field.Number(), protowire.BytesType), sub), nil
}

func jsonScalar(dec *json.Decoder, out []byte, field protoreflect.FieldDescriptor, tag bool) ([]byte, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	if token == nil { // null is the default
		return out, nil
	}
	begin := func(t protowire.Type) {
		if tag {
			out = protowire.AppendTag(out, field.Number(), t)
		}
	}
	var word string
	switch v := token.(type) {
	case string:
		word = v
	case json.Number:
		word = v.String()
	case bool:
		if field.Kind() != protoreflect.BoolKind {
			return nil, errJSON
		}
		begin(protowire.VarintType)
		return protowire.AppendVarint(out, protowire.EncodeBool(v)), nil
	default:
		return nil, errJSON
	}
	switch field.Kind() { //nolint:exhaustive // OTLP has no others here
	case protoreflect.StringKind:
		begin(protowire.BytesType)
		return protowire.AppendString(out, word), nil
	case protoreflect.BytesKind:
		var b []byte
		if strings.HasSuffix(field.JSONName(), "Id") { // traceId, spanId, parentSpanId
			b, err = hex.DecodeString(word)
		} else {
			b, err = base64.StdEncoding.DecodeString(word)
		}
		if err != nil {
			return nil, errJSON
		}
		begin(protowire.BytesType)
		return protowire.AppendBytes(out, b), nil
	case protoreflect.DoubleKind:
		f, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return nil, errJSON
		}
		begin(protowire.Fixed64Type)
		return protowire.AppendFixed64(out, math.Float64bits(f)), nil
	case protoreflect.EnumKind:
		n, err := strconv.ParseInt(word, 10, 32)
		if err != nil {
			value := field.Enum().Values().ByName(protoreflect.Name(word))
			if value == nil {
				return nil, errJSON
			}
			n = int64(value.Number())
		}
		begin(protowire.VarintType)
		return protowire.AppendVarint(out, uint64(n)), nil
	}
	var bits uint64
	if n, err := strconv.ParseInt(word, 10, 64); err == nil {
		bits = uint64(n)
	} else if bits, err = strconv.ParseUint(word, 10, 64); err != nil {
		return nil, errJSON
	}
	switch field.Kind() { //nolint:exhaustive // OTLP has no others here
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		begin(protowire.Fixed64Type)
		return protowire.AppendFixed64(out, bits), nil
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		begin(protowire.Fixed32Type)
		return protowire.AppendFixed32(out, uint32(bits)), nil
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		begin(protowire.VarintType)
		return protowire.AppendVarint(out, protowire.EncodeZigZag(int64(bits))), nil
	case protoreflect.Int32Kind, protoreflect.Int64Kind, protoreflect.Uint32Kind, protoreflect.Uint64Kind:
		begin(protowire.VarintType)
		return protowire.AppendVarint(out, bits), nil
	}
	return nil, errJSON
}

// skip leaves out the value that comes next.
func skip(dec *json.Decoder, depth int) error {
	for level := 0; ; {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			if level++; level+depth > maxJSONDepth {
				return errJSON
			}
		case json.Delim('}'), json.Delim(']'):
			level--
		}
		if level == 0 {
			return nil
		}
	}
}
