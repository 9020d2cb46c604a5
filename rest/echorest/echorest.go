// Package echorest lets Echo (v5) handlers return errors that reach the client as application/problem+json.
//
// Echo's handlers return errors anyway; [ErrorHandler] turns them into problems, so an engine that is there already takes
// one line: e.HTTPErrorHandler = echorest.ErrorHandler. [New] makes an Echo that has it, and whose Bind says which
// field of a JSON body is wrong. Deadline, body limit, panics and drain are the business of package rest around it:
//
//	e := echorest.New()
//	e.GET("/products/:id", func(c *echo.Context) error {
//		p, err := store.Product(c.Request().Context(), c.Param("id"))
//		if err != nil {
//			return err // failure.NotFound becomes a 404
//		}
//		return c.JSON(http.StatusOK, p)
//	})
//	server, err := rest.NewServer(e, rest.ServerConfig{})
package echorest

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v5"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/lifecycle"
	"github.com/holdfast-go/holdfast/rest"
)

// New returns an Echo whose errors are problems: those of handlers, of Bind, of routes and methods that are not there, and
// panics. It takes a client's address from X-Forwarded-For if a proxy on this machine or network says so, such as the edge.
func New() *echo.Echo {
	e := echo.New()
	e.HTTPErrorHandler = ErrorHandler
	e.JSONSerializer = serializer{}
	e.IPExtractor = echo.ExtractIPFromXFFHeader()
	e.Use(recovery)
	return e
}

// recovery is for an Echo that is served without rest.Wrap; with it, it does no more than answer a little earlier.
func recovery(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c *echo.Context) error {
		rest.Route(c.Request().Context(), c.Path())
		err := lifecycle.Recover(func() error { return next(c) })
		var p *lifecycle.PanicError
		if errors.As(err, &p) {
			rest.Panicked(c.Response(), c.Request(), committed(c), p)
			return nil
		}
		return err
	}
}

// serializer is Echo's own, but reads bodies by rest.ReadJSON.
type serializer struct{ echo.DefaultJSONSerializer }

func (serializer) Deserialize(c *echo.Context, target any) error {
	return rest.ReadJSON(c.Request(), target)
}

// ErrorHandler is an echo.HTTPErrorHandler that answers with err as a problem, by rest.Error. Echo's own errors keep their
// status, and those of Bind name the field. When an answer has begun it does nothing: it cannot be taken back.
func ErrorHandler(c *echo.Context, err error) {
	if committed(c) {
		return
	}
	w, r := c.Response(), c.Request()
	var own *failure.Error
	var field *echo.BindingError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &own), errors.As(err, &tooLarge):
		rest.Error(w, r, err)
		return
	case errors.As(err, &field):
		rest.Error(w, r, failure.Wrap(err, failure.InvalidArgument, "the request is not valid").
			WithViolation(field.Field, "does not have the expected form"))
		return
	}
	status := echo.StatusCode(err)
	if status == 0 {
		rest.Error(w, r, err)
		return
	}
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	if status == http.StatusBadRequest && (errors.As(err, &syntax) || errors.As(err, &kind)) {
		rest.Error(w, r, rest.JSONError(nil, err)) // of Echo's own serializer, which has lost the text
		return
	}
	if name := parameter(err); status == http.StatusBadRequest && name != "" {
		rest.Error(w, r, failure.Wrap(err, failure.InvalidArgument, "the request is not valid").
			WithViolation(name, "does not have the expected form"))
		return
	}
	rest.ErrorStatus(w, r, status, failure.Wrap(err, failure.FromHTTPStatus(status), "%s", message(err, status)))
}

// parameter is the name of the path, query or form value that Bind could not convert. Echo puts it before the
// error of strconv, and nowhere else.
func parameter(err error) string {
	var number *strconv.NumError
	var own *echo.HTTPError
	if !errors.As(err, &number) || !errors.As(err, &own) {
		return ""
	}
	name, _, _ := strings.Cut(own.Unwrap().Error(), ": ")
	if strings.HasPrefix(name, "strconv.") {
		return ""
	}
	return name
}

// message is what an echo.HTTPError says, which is meant for the client.
func message(err error, status int) string {
	var own *echo.HTTPError
	switch {
	case errors.As(err, &own) && own.Message != "":
		return own.Message
	case status == http.StatusNotFound:
		return "there is nothing at this path"
	case status == http.StatusMethodNotAllowed:
		return "this method is not possible at this path"
	}
	return http.StatusText(status)
}

func committed(c *echo.Context) bool {
	r, err := echo.UnwrapResponse(c.Response())
	return err == nil && r.Committed
}
