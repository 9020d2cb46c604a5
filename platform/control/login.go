package control

import (
	"net/http"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

const sessionPath = "/v1/session"

// loginRequest is the body of POST /v1/session.
type loginRequest struct {
	Code string `json:"code"`
}

// loginRoutes adds how people and programs come by rights.
func (h *handler) loginRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST "+sessionPath, h.login)
	mux.HandleFunc("DELETE "+sessionPath, h.logout)
	mux.HandleFunc("GET "+sessionPath, h.session)
	mux.HandleFunc("POST /v1/invitations", func(w http.ResponseWriter, r *http.Request) {
		right, err := parseRight(r)
		if err != nil {
			failure.WriteProblem(w, err)
			return
		}
		h.answer(w, h.server.invite(r.Host, right))
	})
	mux.HandleFunc("POST /v1/tokens", func(w http.ResponseWriter, r *http.Request) {
		right, err := parseRight(r)
		if err != nil {
			failure.WriteProblem(w, err)
			return
		}
		h.answer(w, Token{h.server.keys.addToken(right), right})
	})
}

func parseRight(r *http.Request) (Right, error) {
	var req rightRequest
	if err := decode(r.Body, &req); err != nil {
		return "", err
	}
	if req.Right != View && req.Right != Operate {
		return "", failure.New(failure.InvalidArgument, "right must be %s or %s, not %.32q", View, Operate, req.Right)
	}
	return req.Right, nil
}

// login takes the code of an invitation for a cookie, and tells the page its key.
func (h *handler) login(w http.ResponseWriter, r *http.Request) {
	var req loginRequest
	if err := decode(r.Body, &req); err != nil {
		failure.WriteProblem(w, err)
		return
	}
	cookie, s, err := h.server.keys.login(req.Code)
	if err != nil {
		failure.WriteProblem(w, err)
		return
	}
	h.setCookie(w, r, cookie, int(time.Until(s.Until).Seconds()))
	h.answer(w, s)
}

func (h *handler) logout(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(h.server.keys.name); err == nil {
		h.server.keys.logout(c.Value)
	}
	h.setCookie(w, r, "", -1)
	h.answer(w, struct{}{})
}

// session tells whoever asks what it may do. The key is told once, at the login: what is sent along by itself must not be enough
// to come by it.
func (h *handler) session(w http.ResponseWriter, r *http.Request) {
	switch has := grantOf(r); {
	case has.by != nil:
		has.by.Key = ""
		h.answer(w, *has.by)
	case has.right == "": // on loopback
		h.answer(w, Session{Right: View})
	default:
		h.answer(w, Session{Right: has.right})
	}
}

// setCookie keeps the cookie from scripts and from what other sites make the browser send, and to the API's paths.
func (h *handler) setCookie(w http.ResponseWriter, r *http.Request, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: h.server.keys.name, Value: value, Path: "/v1/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	})
}
