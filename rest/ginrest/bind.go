package ginrest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/gin-gonic/gin/binding"
	"github.com/go-playground/validator/v10"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/rest"
)

// Bind decodes the request's JSON body into v, a pointer, by rest.ReadJSON, and checks it by its `binding` tags with Gin's
// validator, custom validations included. What is wrong is a failure.InvalidArgument with a violation for each
// field, by its name in JSON.
func Bind(c *gin.Context, v any) error {
	if err := rest.ReadJSON(c.Request, v); err != nil {
		return err
	}
	return check(v, "json")
}

// BindQuery is Bind for the query string, by `form` tags.
func BindQuery(c *gin.Context, v any) error {
	query := c.Request.URL.Query()
	if err := binding.MapFormWithTag(v, query, "form"); err != nil {
		return queryError(query, v, err)
	}
	return check(v, "form")
}

func check(v any, tag string) error {
	if binding.Validator == nil { // switched off by the user
		return nil
	}
	return violations(binding.Validator.ValidateStruct(v), reflect.TypeOf(v), tag)
}

// explain finds out what Gin's own binding met. Only bare errors are taken for its own: what a handler wrapped
// comes from somewhere else, such as an answer of another service.
func explain(r *http.Request, err error) error {
	switch e := err.(type) { //nolint:errorlint // see above
	case *json.SyntaxError, *json.UnmarshalTypeError:
		return rest.JSONError(nil, err)
	case validator.ValidationErrors, binding.SliceValidationError:
		return violations(e, nil, "json")
	}
	switch {
	case err == io.EOF && r.ContentLength == 0: //nolint:errorlint // see above
		return rest.JSONError([]byte{}, err)
	case err == io.ErrUnexpectedEOF && r.ContentLength != 0: //nolint:errorlint // see above
		return rest.JSONError(nil, err)
	}
	return err
}

// violations turns what the validator found into an InvalidArgument. t may be nil, then fields have their names in Go.
func violations(err error, t reflect.Type, tag string) error {
	if err == nil {
		return nil
	}
	out := failure.Wrap(err, failure.InvalidArgument, "the request is not valid")
	var found bool
	add := func(prefix string, fields validator.ValidationErrors) {
		for _, f := range fields {
			found = true
			out = out.WithViolation(prefix+fieldName(f.StructNamespace(), t, tag), "%s", describe(f))
		}
	}
	var fields validator.ValidationErrors
	var list binding.SliceValidationError
	switch {
	case errors.As(err, &list):
		for _, err := range list { // the index of the element is lost: valid ones are left out
			if errors.As(err, &fields) {
				add("[].", fields)
			}
		}
	case errors.As(err, &fields):
		add("", fields)
	}
	if !found {
		return failure.Wrap(err, failure.Internal, "internal error") // a type that cannot be checked is our fault
	}
	return out
}

// fieldName turns the validator's path in Go, "Order.Items[0].Quantity", into the client's, "items[0].quantity".
func fieldName(path string, t reflect.Type, tag string) string {
	t = elem(t)
	if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
		t = elem(t.Elem())
	}
	// The path begins with the name of the type, if it has one.
	if _, rest, ok := strings.Cut(path, "."); ok && (t == nil || t.Name() != "") {
		path = rest
	}
	var out []string
	for part := range strings.SplitSeq(path, ".") {
		name, index, _ := strings.Cut(part, "[")
		if index != "" {
			index = "[" + index
		}
		if t == nil || t.Kind() != reflect.Struct {
			out = append(out, part)
			t = nil
			continue
		}
		f, ok := t.FieldByName(name)
		if !ok {
			out = append(out, part)
			t = nil
			continue
		}
		t = elem(f.Type)
		for range strings.Count(index, "[") {
			if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array || t.Kind() == reflect.Map) {
				t = elem(t.Elem())
			}
		}
		wire, _, _ := strings.Cut(f.Tag.Get(tag), ",")
		switch {
		case wire == "" && f.Anonymous:
			continue // its fields are the outer one's
		case wire == "" || wire == "-":
			wire = name
		}
		out = append(out, wire+index)
	}
	return strings.Join(out, ".")
}

func elem(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// describe says in words what a field has to be.
func describe(f validator.FieldError) string {
	p := f.Param()
	switch f.Tag() {
	case "required", "required_if", "required_unless", "required_with", "required_without":
		return "is required"
	case "min", "gte":
		return "has to be " + amount(f.Kind(), "at least", p)
	case "max", "lte":
		return "has to be " + amount(f.Kind(), "at most", p)
	case "gt":
		return "has to be " + amount(f.Kind(), "more than", p)
	case "lt":
		return "has to be " + amount(f.Kind(), "less than", p)
	case "len":
		return "has to be " + amount(f.Kind(), "exactly", p)
	case "eq":
		return "has to be " + p
	case "ne":
		return "must not be " + p
	case "oneof":
		return "has to be one of " + strings.Join(strings.Fields(p), ", ")
	case "unique":
		return "must not contain anything twice"
	case "email", "url", "uri", "uuid", "hostname", "ip", "ipv4", "ipv6":
		return "has to be a valid " + f.Tag()
	}
	if p != "" {
		return fmt.Sprintf("does not satisfy %s=%s", f.Tag(), p)
	}
	return "does not satisfy " + f.Tag()
}

// amount knows that the validator compares the length of some kinds and the value of others.
func amount(k reflect.Kind, relation, n string) string {
	switch k {
	case reflect.String:
		return fmt.Sprintf("%s %s characters long", relation, n)
	case reflect.Slice, reflect.Array, reflect.Map:
		return fmt.Sprintf("%s %s elements long", relation, n)
	default:
		return relation + " " + n
	}
}

// queryError finds the parameters that do not fit, which Gin does not tell: each one is tried alone.
func queryError(query url.Values, v any, err error) error {
	out := failure.Wrap(err, failure.InvalidArgument, "the query is not valid")
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Pointer {
		return failure.Wrap(err, failure.Internal, "internal error")
	}
	eachTag(t.Elem(), "form", func(name string, f reflect.StructField) {
		values, ok := query[name]
		if !ok {
			return
		}
		if binding.MapFormWithTag(reflect.New(t.Elem()).Interface(), url.Values{name: values}, "form") != nil {
			out = out.WithViolation(name, "has to be %s", kindName(f.Type))
		}
	})
	return out
}

func eachTag(t reflect.Type, tag string, visit func(string, reflect.StructField)) {
	t = elem(t)
	if t.Kind() != reflect.Struct {
		return
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get(tag), ",")
		switch {
		case name != "" && name != "-":
			visit(name, f)
		case f.Anonymous:
			eachTag(f.Type, tag, visit)
		case name == "" && f.IsExported():
			visit(f.Name, f)
		}
	}
}

func kindName(t reflect.Type) string {
	t = elem(t)
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if t.PkgPath() == "time" {
			return "a duration like 1m30s"
		}
		return "a whole number"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number that is not negative"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "a list; each element " + kindName(t.Elem())
	case reflect.Struct:
		if t.PkgPath() == "time" {
			return "a time like 2006-01-02T15:04:05Z"
		}
	default:
	}
	return "of another form"
}
