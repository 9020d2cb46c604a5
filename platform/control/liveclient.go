package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// The answers of the API that are lists.
type (
	queuesAnswer struct {
		Queues  []Queue `json:"queues"`
		Missing string  `json:"missing,omitempty"`
	}
	deadAnswer struct {
		Letters []DeadLetter `json:"letters"`
		// Next is what to pass as after to list on, empty if there are no more.
		Next string `json:"next,omitempty"`
	}
	countAnswer struct {
		Count int `json:"count"`
	}
	locksAnswer struct {
		Locks   []Lock `json:"locks"`
		Missing string `json:"missing,omitempty"`
	}
	groupsAnswer struct {
		Groups []Group `json:"groups"`
	}
	policiesAnswer struct {
		Policies []PolicyInForce `json:"policies"`
	}
)

// lettersRequest is the body of replay and discard: one of Positions and All.
type lettersRequest struct {
	Positions []string `json:"positions,omitempty"`
	All       bool     `json:"all,omitempty"`
}

// rightRequest is the body of invitations and tokens.
type rightRequest struct {
	Right Right `json:"right"`
}

// Live hands to emit how the system is: at once, then once a second, and within 100 ms of every change of an instance's state,
// until ctx ends (its error is returned), or the system has stopped (nil) or broke off (ErrGone), or the client's token is void
// (failure.Unauthenticated). A consumer that is slow gets the newest only. event, if it is not nil, is handed each Event in between. An error of either ends it and is returned.
func (c *Client) Live(ctx context.Context, emit func(Live) error, event func(Event) error) error {
	resp, err := c.do(ctx, http.MethodGet, "/v1/live", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var stop error // of whoever is told
	err = readFrames(resp.Body, func(name string, data []byte) error {
		switch {
		case name == "live":
			stop = decodeFrame(data, emit)
		case name == "event" && event != nil:
			stop = decodeFrame(data, event)
		}
		return stop
	})
	if stop != nil {
		return stop
	}
	return c.streamEnd(ctx, "/v1/live", err)
}

func decodeFrame[T any](data []byte, emit func(T) error) error {
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		return fmt.Errorf("GET /v1/live: %w", err)
	}
	return emit(v)
}

// readFrames reads server-sent events until the end. It takes what the API sends: events of one line of data, and comments.
func readFrames(body io.Reader, emit func(name string, data []byte) error) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 64<<10), maxAnswer)
	var name string
	var data []byte
	for lines.Scan() {
		line := lines.Bytes()
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch {
		case len(line) == 0 && data != nil:
			if err := emit(name, data); err != nil {
				return err
			}
			fallthrough
		case len(line) == 0:
			name, data = "", nil
		case string(field) == "event":
			name = string(value)
		case string(field) == "data":
			data = append(data, value...)
			if len(data) > maxAnswer {
				return bufio.ErrTooLong
			}
		}
	}
	return lines.Err()
}

// Snapshot is how the system is now: one Live.
func (c *Client) Snapshot(ctx context.Context) (Live, error) {
	var live Live
	err := c.get(ctx, "/v1/snapshot", &live)
	return live, err
}

// Groups lists the groups of replicated state by service and name.
func (c *Client) Groups(ctx context.Context) ([]Group, error) {
	var answer groupsAnswer
	err := c.get(ctx, "/v1/groups", &answer)
	return answer.Groups, err
}

// Locks lists what is held, by name. missing says why that is not all, or not known at all.
func (c *Client) Locks(ctx context.Context) (locks []Lock, missing string, err error) {
	var answer locksAnswer
	err = c.get(ctx, "/v1/locks", &answer)
	return answer.Locks, answer.Missing, err
}

// Queues lists how far consumer groups are, by topic and group. missing says why that is not known.
func (c *Client) Queues(ctx context.Context) (queues []Queue, missing string, err error) {
	var answer queuesAnswer
	err = c.get(ctx, "/v1/queues", &answer)
	return answer.Queues, answer.Missing, err
}

// Dead lists dead letters of a group, oldest first, at most limit (0: DefaultDead, at most MaxDead) after the one whose
// position is after; "" is the beginning.
func (c *Client) Dead(ctx context.Context, topic, group, after string, limit int) ([]DeadLetter, error) {
	q := url.Values{}
	if after != "" {
		q.Set("after", after)
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(min(limit, MaxDead)))
	}
	var answer deadAnswer
	err := c.get(ctx, queuePath(topic, group)+"/dead?"+q.Encode(), &answer)
	return answer.Letters, err
}

// Replay gives dead letters to their group again and says how many there were: those at positions (at most MaxPositions), or
// all of the group if there are none. It takes as long as that takes.
func (c *Client) Replay(ctx context.Context, topic, group string, positions ...string) (int, error) {
	return c.letters(ctx, queuePath(topic, group)+"/replay", positions)
}

// Discard removes dead letters for good, likewise.
func (c *Client) Discard(ctx context.Context, topic, group string, positions ...string) (int, error) {
	return c.letters(ctx, queuePath(topic, group)+"/discard", positions)
}

func (c *Client) letters(ctx context.Context, path string, positions []string) (int, error) {
	var answer countAnswer
	err := c.call(ctx, http.MethodPost, path, lettersRequest{Positions: positions, All: len(positions) == 0}, &answer)
	return answer.Count, err
}

// Policies are those in force, of the services of the system, or of the one that is named.
func (c *Client) Policies(ctx context.Context, service string) ([]PolicyInForce, error) {
	path := "/v1/policies"
	if service != "" {
		path += "?service=" + url.QueryEscape(service)
	}
	var answer policiesAnswer
	err := c.get(ctx, path, &answer)
	return answer.Policies, err
}

// Invite makes a link to the console that lets a browser in once, with this right.
func (c *Client) Invite(ctx context.Context, right Right) (Invitation, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var in Invitation
	err := c.call(ctx, http.MethodPost, "/v1/invitations", rightRequest{right}, &in)
	return in, err
}

// Token makes a token with this right; see [Token] for when it is void.
func (c *Client) Token(ctx context.Context, right Right) (Token, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var token Token
	err := c.call(ctx, http.MethodPost, "/v1/tokens", rightRequest{right}, &token)
	return token, err
}

func queuePath(topic, group string) string {
	return "/v1/queues/" + url.PathEscape(topic) + "/" + url.PathEscape(group)
}
