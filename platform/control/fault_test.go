package control_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/platform/control"
)

func TestFaultRequestValidate(t *testing.T) {
	one, many := 1, 1000
	two := []string{"orders-1", "orders-2"}
	cut := control.Shape{CutOut: true}
	link := func(from, to string, s control.Shape) []control.Link {
		return []control.Link{{From: []string{from}, To: []string{to}, Shape: s}}
	}
	for name, tc := range map[string]struct {
		req  control.FaultRequest
		want string // part of the message; "" is right
	}{
		"freeze":          {control.FaultRequest{Kind: control.FaultFreeze, Targets: two, TTL: control.MaxTTL, Note: "drill leaders-die"}, ""},
		"slow":            {control.FaultRequest{Kind: control.FaultSlowCPU, Targets: two, Share: 0.1}, ""},
		"net":             {control.FaultRequest{Kind: control.FaultNet, Links: link("orders-1", "broker.example:9092", cut)}, ""},
		"everybody":       {control.FaultRequest{Kind: control.FaultNet, Links: link("*", "registry", control.Shape{Delay: time.Second})}, ""},
		"calls":           {control.FaultRequest{Kind: control.FaultCalls, Targets: two, Calls: []control.Calls{{Share: 1, Code: "UNAVAILABLE", Methods: []string{"POST /api", "/a.B/C"}}}}, ""},
		"disk":            {control.FaultRequest{Kind: control.FaultDisk, Targets: two, Disk: &control.Disk{Full: true}}, ""},
		"memory":          {control.FaultRequest{Kind: control.FaultMemory, Targets: two, Bytes: 1 << 20}, ""},
		"scale":           {control.FaultRequest{Kind: control.FaultScale, Targets: []string{"orders"}, Replicas: &one}, ""},
		"clock":           {control.FaultRequest{Kind: control.FaultClock, Targets: two, Jump: -time.Hour}, ""},
		"no kind":         {control.FaultRequest{}, "kind is missing"},
		"unknown kind":    {control.FaultRequest{Kind: "frieze"}, "there are freeze, slow-cpu, net"},
		"nobody":          {control.FaultRequest{Kind: control.FaultFreeze}, "targets must have from 1 to"},
		"no name":         {control.FaultRequest{Kind: control.FaultFreeze, Targets: []string{""}}, "empty"},
		"not of the kind": {control.FaultRequest{Kind: control.FaultFreeze, Targets: two, Bytes: 1}, "freeze takes no bytes"},
		"long lease":      {control.FaultRequest{Kind: control.FaultFreeze, Targets: two, TTL: time.Hour}, "ttl must be"},
		"two lines":       {control.FaultRequest{Kind: control.FaultFreeze, Targets: two, Note: "a\nb"}, "note must be a line"},
		"all of the time": {control.FaultRequest{Kind: control.FaultSlowCPU, Targets: two, Share: 1}, "share must be"},
		"no time":         {control.FaultRequest{Kind: control.FaultSlowCPU, Targets: two}, "share must be"},
		"nothing happens": {control.FaultRequest{Kind: control.FaultNet, Links: link("orders-1", "*", control.Shape{})}, "says nothing"},
		"an engine calls": {control.FaultRequest{Kind: control.FaultNet, Links: link("registry", "orders-1", cut)}, "makes no connections"},
		"an address":      {control.FaultRequest{Kind: control.FaultNet, Links: link("orders-1", "broker:", cut)}, "host:port"},
		"negative":        {control.FaultRequest{Kind: control.FaultNet, Links: link("orders-1", "*", control.Shape{Delay: -1, Rate: -1, Loss: 2})}, "rate must not be negative"},
		"no rule":         {control.FaultRequest{Kind: control.FaultCalls, Targets: two}, "calls must have"},
		"no share":        {control.FaultRequest{Kind: control.FaultCalls, Targets: two, Calls: []control.Calls{{Code: "INTERNAL"}}}, "share must be"},
		"no code":         {control.FaultRequest{Kind: control.FaultCalls, Targets: two, Calls: []control.Calls{{Share: 1, Code: "OK"}}}, "none that a call can fail with"},
		"no effect":       {control.FaultRequest{Kind: control.FaultCalls, Targets: two, Calls: []control.Calls{{Share: 1}}}, "code or delay"},
		"no method":       {control.FaultRequest{Kind: control.FaultCalls, Targets: two, Calls: []control.Calls{{Share: 1, Delay: 1, Methods: []string{"Get"}}}}, "neither"},
		"a good disk":     {control.FaultRequest{Kind: control.FaultDisk, Targets: two, Disk: &control.Disk{}}, "disk says nothing"},
		"no memory":       {control.FaultRequest{Kind: control.FaultMemory, Targets: two, Bytes: -1}, "bytes must be"},
		"two services":    {control.FaultRequest{Kind: control.FaultScale, Targets: two, Replicas: &one}, "one service"},
		"the members":     {control.FaultRequest{Kind: control.FaultScale, Targets: []string{"control"}, Replicas: &one}, "control members"},
		"no number":       {control.FaultRequest{Kind: control.FaultScale, Targets: []string{"orders"}}, "replicas is missing"},
		"too many":        {control.FaultRequest{Kind: control.FaultScale, Targets: []string{"orders"}, Replicas: &many}, "replicas must be"},
		"no jump":         {control.FaultRequest{Kind: control.FaultClock, Targets: two}, "jump must be"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.req.Validate()
			if tc.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if failure.CodeOf(err) != failure.InvalidArgument || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q in it", err, tc.want)
			}
		})
	}
}

func TestFaultsOverTheAPI(t *testing.T) {
	f := &fakeSystem{}
	client, addr := serve(t, f)
	fault, err := client.Inject(t.Context(), control.FaultRequest{Kind: control.FaultFreeze, Targets: []string{"orders-1"}, TTL: time.Second})
	if err != nil || fault.ID != "f1" || fault.TTL != time.Second || fault.Targets[0] != "orders-1" {
		t.Errorf("%+v, %v", fault, err)
	}
	if _, err := client.Renew(t.Context(), "f1"); err != nil {
		t.Error(err)
	}
	if err := client.Mend(t.Context(), "a/b"); err != nil { // what is no ID comes through, to be refused by the system
		t.Error(err)
	}
	equal(t, "calls", f.called(), []string{"inject freeze", "renew f1", "mend a/b"})
	if _, err := client.Inject(t.Context(), control.FaultRequest{Kind: control.FaultFreeze}); failure.CodeOf(err) != failure.InvalidArgument {
		t.Error(err)
	}
	if faults, err := client.Faults(t.Context()); err != nil || len(faults) != 0 {
		t.Errorf("%v, %v", faults, err)
	}
	if stats, err := client.Stats(t.Context()); err != nil || stats.Instances == nil {
		t.Errorf("%+v, %v", stats, err)
	}
	if ids, err := client.Wipe(t.Context(), "control"); err != nil || len(ids) != 2 {
		t.Errorf("%v, %v", ids, err)
	}
	if _, err := client.Wipe(t.Context(), "orders"); failure.CodeOf(err) != failure.InvalidArgument {
		t.Error(err)
	}
	equal(t, "calls", f.called(), []string{"wipe control-1,control-2"})

	// A page elsewhere cannot break anything by a form, in any method that a form or a script has without asking.
	for method, path := range map[string]string{http.MethodPost: "/v1/faults", http.MethodPut: "/v1/faults/f1"} {
		req, err := http.NewRequestWithContext(context.Background(), method, "http://"+addr+path, strings.NewReader(`{"kind":"freeze","targets":["orders-1"]}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "text/plain")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", method, resp.Status)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	equal(t, "calls", f.called(), nil)
}
