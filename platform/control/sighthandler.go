package control

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// The answers of the API that are lists.
type (
	tracesAnswer struct {
		Traces []TraceSummary `json:"traces"`
	}
	ratesAnswer struct {
		Instances map[string]InstanceRates `json:"instances"`
	}
	seriesAnswer struct {
		Series []Series `json:"series"`
	}
)

// maxText bounds what is searched for.
const maxText = 256

// sightRoutes adds what a Sight is asked for.
func (h *handler) sightRoutes(mux *http.ServeMux) {
	sighted := func(serve func(w http.ResponseWriter, r *http.Request, s Sight)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if h.sight == nil {
				failure.WriteProblem(w, failure.New(failure.Unimplemented, "this system keeps neither traces nor metrics"))
				return
			}
			serve(w, r, h.sight)
		}
	}
	mux.HandleFunc("GET /v1/traces", sighted(func(w http.ResponseWriter, r *http.Request, s Sight) {
		q, err := parseTraceQuery(r.URL.Query())
		if err != nil {
			failure.WriteProblem(w, err)
			return
		}
		h.answer(w, tracesAnswer{notNil(s.Traces(q))})
	}))
	mux.HandleFunc("GET /v1/traces/{id}", sighted(func(w http.ResponseWriter, r *http.Request, s Sight) {
		t, err := s.Trace(r.PathValue("id"))
		if err != nil {
			failure.WriteProblem(w, err)
			return
		}
		h.answer(w, t)
	}))
	mux.HandleFunc("GET /v1/explain/{id}", sighted(func(w http.ResponseWriter, r *http.Request, s Sight) {
		e, err := s.Explain(r.PathValue("id"), r.URL.Query().Get("lang"))
		if err != nil {
			failure.WriteProblem(w, err)
			return
		}
		h.answer(w, e)
	}))
	mux.HandleFunc("GET /v1/graph", sighted(func(w http.ResponseWriter, _ *http.Request, s Sight) { h.answer(w, s.Graph()) }))
	mux.HandleFunc("GET /v1/rates", sighted(func(w http.ResponseWriter, _ *http.Request, s Sight) { h.answer(w, ratesAnswer{s.Rates()}) }))
	mux.HandleFunc("GET /v1/series", sighted(func(w http.ResponseWriter, r *http.Request, s Sight) {
		q, err := parseSeriesQuery(r.URL.Query())
		if err != nil {
			failure.WriteProblem(w, err)
			return
		}
		h.answer(w, seriesAnswer{notNil(s.Series(q))})
	}))
}

var statuses = []string{TraceOK, TraceError, TraceSlow, TraceRetried, TraceHedged}

func parseTraceQuery(v url.Values) (TraceQuery, error) {
	q := TraceQuery{Service: v.Get("service"), Status: v.Get("status"), Text: v.Get("text"), Limit: DefaultTraces}
	if q.Service != "" {
		if err := checkName("service", q.Service); err != nil {
			return TraceQuery{}, err
		}
	}
	if q.Status != "" && !slices.Contains(statuses, q.Status) {
		return TraceQuery{}, failure.New(failure.InvalidArgument, "status must be one of %s, not %.32q", strings.Join(statuses, ", "), q.Status)
	}
	if len(q.Text) > maxText {
		return TraceQuery{}, failure.New(failure.InvalidArgument, "text is longer than %d bytes", maxText)
	}
	if s := v.Get("min"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return TraceQuery{}, failure.New(failure.InvalidArgument, "min must be a duration such as 250ms, not %.32q", s)
		}
		q.Min = d
	}
	if s := v.Get("since"); s != "" {
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return TraceQuery{}, failure.New(failure.InvalidArgument, "since must be a time such as 2026-01-02T15:04:05Z, not %.64q", s)
		}
		q.Since = t
	}
	if s := v.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > MaxTraces {
			return TraceQuery{}, failure.New(failure.InvalidArgument, "limit must be from 1 to %d, not %.32q", MaxTraces, s)
		}
		q.Limit = n
	}
	return q, nil
}

func traceQueryValues(q TraceQuery) url.Values {
	v := url.Values{}
	set := func(key, value string) {
		if value != "" {
			v.Set(key, value)
		}
	}
	set("service", q.Service)
	set("status", q.Status)
	set("text", q.Text)
	if q.Min > 0 {
		v.Set("min", q.Min.String())
	}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.Format(time.RFC3339Nano))
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(min(q.Limit, MaxTraces)))
	}
	return v
}

func parseSeriesQuery(v url.Values) (SeriesQuery, error) {
	q := SeriesQuery{Name: v.Get("name"), Service: v.Get("service"), Instance: v.Get("instance"), Last: DefaultLast}
	if err := checkName("name", q.Name); err != nil {
		return SeriesQuery{}, err
	}
	for field, name := range map[string]string{"service": q.Service, "instance": q.Instance} {
		if len(name) > maxName {
			return SeriesQuery{}, failure.New(failure.InvalidArgument, "%s is longer than %d bytes", field, maxName)
		}
	}
	if s := v.Get("last"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil || d <= 0 || d > MaxLast {
			return SeriesQuery{}, failure.New(failure.InvalidArgument, "last must be a duration up to %s, not %.32q", MaxLast, s)
		}
		q.Last = d
	}
	return q, nil
}

func seriesQueryValues(q SeriesQuery) url.Values {
	v := url.Values{"name": {q.Name}}
	if q.Service != "" {
		v.Set("service", q.Service)
	}
	if q.Instance != "" {
		v.Set("instance", q.Instance)
	}
	if q.Last > 0 {
		v.Set("last", min(q.Last, MaxLast).String())
	}
	return v
}

// get asks for what is answered from memory.
func (c *Client) get(ctx context.Context, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return c.call(ctx, http.MethodGet, path, nil, out)
}
