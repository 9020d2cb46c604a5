package control

import "net/http"

// Handler returns what s serves, for tests that decide themselves when a request is given up.
func (s *Server) Handler() http.Handler { return s.http.Handler }
