// Package ginrest lets Gin handlers return errors, which reach the client as application/problem+json.
//
// It changes nothing in an engine that is there already: [Handle] makes an ordinary gin.HandlerFunc out of a function that
// returns an error. [New] makes an engine whose other answers (no such route, wrong method, panic) are problems
// too. Deadline, body limit and drain come from package rest around the engine:
//
//	engine := ginrest.New()
//	engine.GET("/products/:id", ginrest.Handle(func(c *gin.Context) error {
//		p, err := store.Product(c, c.Param("id"))
//		if err != nil {
//			return err // failure.NotFound becomes a 404
//		}
//		c.JSON(http.StatusOK, p)
//		return nil
//	}))
//	server, err := rest.NewServer(engine, rest.ServerConfig{})
package ginrest

import (
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/lifecycle"
	"github.com/holdfast-go/holdfast/rest"
)

// New returns an engine that answers panics, unknown routes and wrong methods with problems. Its Context follows the
// request's context, so that it can be handed on as one; it takes a client's address from X-Forwarded-For if a
// proxy on this machine says so, such as the edge. It puts Gin into release mode, for the whole process,
// because Gin has no other way to be quiet; call gin.SetMode afterwards for another.
func New() *gin.Engine {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.ContextWithFallback = true
	e.HandleMethodNotAllowed = true
	_ = e.SetTrustedProxies([]string{"127.0.0.0/8", "::1/128"}) // constants that parse
	e.Use(recovery)
	e.NoRoute(func(c *gin.Context) {
		Error(c, failure.New(failure.NotFound, "there is nothing at this path"))
	})
	e.NoMethod(func(c *gin.Context) {
		rest.ErrorStatus(c.Writer, c.Request, http.StatusMethodNotAllowed,
			failure.New(failure.Unimplemented, "%s is not possible at this path", c.Request.Method))
		c.Abort()
	})
	return e
}

// recovery is for an engine that is served without rest.Wrap; with it, it does no more than answer a little earlier.
func recovery(c *gin.Context) {
	rest.Route(c.Request.Context(), c.FullPath())
	err := lifecycle.Recover(func() error {
		c.Next()
		return nil
	})
	var p *lifecycle.PanicError
	if errors.As(err, &p) {
		c.Abort()
		rest.Panicked(c.Writer, c.Request, c.Writer.Written(), p)
	}
}

// Handle makes a gin.HandlerFunc of h. An error of h is answered as by Error.
func Handle(h func(*gin.Context) error) gin.HandlerFunc {
	return func(c *gin.Context) {
		if err := h(c); err != nil {
			Error(c, err)
		}
	}
}

// Error answers with err as a problem, by rest.Error, aborts the chain and leaves err in c.Errors for middleware that logs.
// If an answer has begun, that is all: it cannot be taken back. Errors of Gin's own ShouldBind are explained as Bind does,
// but without the place in the text, which is not known any more.
func Error(c *gin.Context, err error) {
	_ = c.Error(err)
	c.Abort()
	if c.Writer.Written() {
		return
	}
	rest.Error(c.Writer, c.Request, explain(c.Request, err))
}
