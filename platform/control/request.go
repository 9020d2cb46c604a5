package control

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/system"
)

const (
	// MaxReplicas bounds what Scale takes, as it bounds the system file.
	MaxReplicas = system.MaxReplicas
	// MaxLogLines bounds how many kept lines one LogQuery may ask for.
	MaxLogLines = 10_000
	// maxName bounds names in requests; they come back in messages.
	maxName = 128
)

// targetRequest is the body of kill, freeze, thaw and restart.
type targetRequest struct {
	Target string `json:"target"`
	All    bool   `json:"all,omitempty"`
}

// scaleRequest is the body of scale: one of Replicas and Auto. Replicas is a pointer to tell 0 from nothing.
type scaleRequest struct {
	Service  string `json:"service"`
	Replicas *int   `json:"replicas,omitempty"`
	Auto     bool   `json:"auto,omitempty"`
}

func parseTarget(body io.Reader) (targetRequest, error) {
	var req targetRequest
	if err := decode(body, &req); err != nil {
		return targetRequest{}, err
	}
	return req, checkName("target", req.Target)
}

func parseScale(body io.Reader) (scaleRequest, error) {
	var req scaleRequest
	if err := decode(body, &req); err != nil {
		return scaleRequest{}, err
	}
	if err := checkName("service", req.Service); err != nil {
		return scaleRequest{}, err
	}
	switch {
	case req.Auto && req.Replicas != nil:
		return scaleRequest{}, failure.New(failure.InvalidArgument, "replicas and auto are both there; a service has a number or is scaled by its load")
	case req.Auto:
		return req, nil
	case req.Replicas == nil:
		return scaleRequest{}, failure.New(failure.InvalidArgument, "replicas is missing")
	}
	if n := *req.Replicas; n < 0 || n > MaxReplicas {
		return scaleRequest{}, failure.New(failure.InvalidArgument, "replicas must be from 0 to %d, not %d", MaxReplicas, n)
	}
	return req, nil
}

// parseLogQuery takes the query string of /v1/logs. Without lines, it asks for all that is kept.
func parseLogQuery(v url.Values) (LogQuery, error) {
	q := LogQuery{Service: v.Get("service"), Lines: MaxLogLines}
	if q.Service != "" {
		if err := checkName("service", q.Service); err != nil {
			return LogQuery{}, err
		}
	}
	if s := v.Get("follow"); s != "" {
		follow, err := strconv.ParseBool(s)
		if err != nil {
			return LogQuery{}, failure.New(failure.InvalidArgument, "follow must be true or false, not %.32q", s)
		}
		q.Follow = follow
	}
	if s := v.Get("lines"); s != "" {
		lines, err := strconv.Atoi(s)
		if err != nil || lines < 0 || lines > MaxLogLines {
			return LogQuery{}, failure.New(failure.InvalidArgument, "lines must be from 0 to %d, not %.32q", MaxLogLines, s)
		}
		q.Lines = lines
	}
	if q.Text = v.Get("q"); len(q.Text) > maxText {
		return LogQuery{}, failure.New(failure.InvalidArgument, "q is longer than %d bytes", maxText)
	}
	if q.Trace = v.Get("trace"); len(q.Trace) > maxName {
		return LogQuery{}, failure.New(failure.InvalidArgument, "trace is longer than %d bytes", maxName)
	}
	return q, nil
}

func logQueryValues(q LogQuery) url.Values {
	v := url.Values{"lines": {strconv.Itoa(min(max(q.Lines, 0), MaxLogLines))}}
	if q.Service != "" {
		v.Set("service", q.Service)
	}
	if q.Follow {
		v.Set("follow", "true")
	}
	if q.Text != "" {
		v.Set("q", q.Text)
	}
	if q.Trace != "" {
		v.Set("trace", q.Trace)
	}
	return v
}

// MaxEvents bounds how many kept events one EventQuery may ask for, and how many are kept.
const MaxEvents = 1000

// EventQuery selects events: at most Last that were kept, and with Follow what happens from now on.
type EventQuery struct {
	Last   int
	Follow bool
}

// parseEventQuery takes the query string of /v1/events. Without any it asks for what happens from now on.
func parseEventQuery(v url.Values) (EventQuery, error) {
	q := EventQuery{Follow: true}
	if s := v.Get("follow"); s != "" {
		follow, err := strconv.ParseBool(s)
		if err != nil {
			return EventQuery{}, failure.New(failure.InvalidArgument, "follow must be true or false, not %.32q", s)
		}
		q.Follow = follow
	}
	if s := v.Get("last"); s != "" {
		last, err := strconv.Atoi(s)
		if err != nil || last < 0 || last > MaxEvents {
			return EventQuery{}, failure.New(failure.InvalidArgument, "last must be from 0 to %d, not %.32q", MaxEvents, s)
		}
		q.Last = last
	}
	return q, nil
}

func eventQueryValues(q EventQuery) url.Values {
	return url.Values{"last": {strconv.Itoa(min(max(q.Last, 0), MaxEvents))}, "follow": {strconv.FormatBool(q.Follow)}}
}

// decode reads exactly one JSON object with known members into v.
func decode(body io.Reader, v any) error {
	dec := json.NewDecoder(body)
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("more than one JSON value")
			if more != nil {
				err = more
			}
		}
	}
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &tooLarge):
		return failure.New(failure.InvalidArgument, "the body is larger than %d bytes", tooLarge.Limit)
	case errors.Is(err, io.EOF):
		return failure.New(failure.InvalidArgument, "the body is empty; it must be a JSON object")
	default:
		return failure.New(failure.InvalidArgument, "the body is not the expected JSON object: %v", err)
	}
}

func checkName(field, name string) error {
	switch {
	case name == "":
		return failure.New(failure.InvalidArgument, "%s is missing", field)
	case len(name) > maxName:
		return failure.New(failure.InvalidArgument, "%s is longer than %d bytes", field, maxName)
	}
	return nil
}
