package control

import (
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/holdfast-go/holdfast/failure"
)

const (
	// maxGroupName bounds the name of a topic or a group, and maxPosition that of a dead letter.
	maxGroupName = 128
	maxPosition  = 256
)

// steeringRoutes adds what a Steering is asked for, and the stream of all that is known.
func (h *handler) steeringRoutes(mux *http.ServeMux) {
	steered := func(serve func(w http.ResponseWriter, r *http.Request, s Steering) error) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			err := error(failure.New(failure.Unimplemented, "this system tells nothing of groups, queues, locks and policies"))
			if h.steering != nil {
				err = serve(w, r, h.steering)
			}
			if err != nil {
				failure.WriteProblem(w, err)
			}
		}
	}
	mux.HandleFunc("GET /v1/live", h.live)
	mux.HandleFunc("GET /v1/snapshot", func(w http.ResponseWriter, _ *http.Request) { h.answer(w, h.snapshot()) })
	mux.HandleFunc("GET /v1/groups", steered(func(w http.ResponseWriter, _ *http.Request, s Steering) error {
		h.answer(w, groupsAnswer{notNil(s.Groups())})
		return nil
	}))
	mux.HandleFunc("GET /v1/locks", steered(func(w http.ResponseWriter, _ *http.Request, s Steering) error {
		locks, missing := s.Locks()
		h.answer(w, locksAnswer{notNil(locks), missing})
		return nil
	}))
	mux.HandleFunc("GET /v1/queues", steered(func(w http.ResponseWriter, _ *http.Request, s Steering) error {
		queues, missing := s.Queues()
		h.answer(w, queuesAnswer{notNil(queues), missing})
		return nil
	}))
	mux.HandleFunc("GET /v1/queues/{topic}/{group}/dead", steered(h.dead))
	mux.HandleFunc("POST /v1/queues/{topic}/{group}/replay", steered(func(w http.ResponseWriter, r *http.Request, s Steering) error {
		return h.letters(w, r, func(topic, group string, positions []string) (int, error) {
			return s.Replay(r.Context(), topic, group, positions...)
		})
	}))
	mux.HandleFunc("POST /v1/queues/{topic}/{group}/discard", steered(func(w http.ResponseWriter, r *http.Request, s Steering) error {
		return h.letters(w, r, func(topic, group string, positions []string) (int, error) {
			return s.Discard(r.Context(), topic, group, positions...)
		})
	}))
	mux.HandleFunc("GET /v1/policies", steered(func(w http.ResponseWriter, r *http.Request, s Steering) error {
		service := r.URL.Query().Get("service")
		if service != "" {
			if err := checkService(h.system.Info(), nil, service); err != nil {
				return err
			}
		}
		policies, err := s.Policies(r.Context(), service)
		if err != nil {
			return err
		}
		h.answer(w, policiesAnswer{notNil(policies)})
		return nil
	}))
}

func (h *handler) dead(w http.ResponseWriter, r *http.Request, s Steering) error {
	topic, group, err := parseGroup(r)
	if err != nil {
		return err
	}
	after, limit, err := parseDeadQuery(r.URL.Query())
	if err != nil {
		return err
	}
	found, err := s.Dead(r.Context(), topic, group, after, limit)
	if err != nil {
		return err
	}
	done := deadAnswer{Letters: notNil(found)}
	if len(found) == limit {
		done.Next = found[limit-1].Position
	}
	h.answer(w, done)
	return nil
}

// letters does something to some dead letters of a group, or to all.
func (h *handler) letters(w http.ResponseWriter, r *http.Request, do func(topic, group string, positions []string) (int, error)) error {
	topic, group, err := parseGroup(r)
	if err != nil {
		return err
	}
	req, err := parseLetters(r.Body)
	if err != nil {
		return err
	}
	n, err := do(topic, group, req.Positions)
	if err != nil {
		return err
	}
	h.answer(w, countAnswer{n})
	return nil
}

func parseGroup(r *http.Request) (topic, group string, err error) {
	topic, group = r.PathValue("topic"), r.PathValue("group")
	for field, name := range map[string]string{"the topic": topic, "the group": group} {
		if len(name) > maxGroupName {
			return "", "", failure.New(failure.InvalidArgument, "%s is longer than %d bytes", field, maxGroupName)
		}
	}
	return topic, group, nil
}

func parseDeadQuery(v url.Values) (after string, limit int, err error) {
	limit = DefaultDead
	if s := v.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > MaxDead {
			return "", 0, failure.New(failure.InvalidArgument, "limit must be from 1 to %d, not %.32q", MaxDead, s)
		}
		limit = n
	}
	if after = v.Get("after"); len(after) > maxPosition {
		return "", 0, failure.New(failure.InvalidArgument, "after is longer than %d bytes", maxPosition)
	}
	return after, limit, nil
}

func parseLetters(body io.Reader) (lettersRequest, error) {
	var req lettersRequest
	if err := decode(body, &req); err != nil {
		return lettersRequest{}, err
	}
	switch {
	case req.All && len(req.Positions) > 0:
		return lettersRequest{}, failure.New(failure.InvalidArgument, "positions and all are both there; name some letters, or take all")
	case !req.All && len(req.Positions) == 0:
		return lettersRequest{}, failure.New(failure.InvalidArgument, "positions are missing; name some letters, or set \"all\"")
	case len(req.Positions) > MaxPositions:
		return lettersRequest{}, failure.New(failure.InvalidArgument, "%d positions are too many at once; %d are allowed", len(req.Positions), MaxPositions)
	}
	for _, p := range req.Positions {
		if p == "" || len(p) > maxPosition {
			return lettersRequest{}, failure.New(failure.InvalidArgument, "positions must have from 1 to %d bytes", maxPosition)
		}
	}
	return req, nil
}
