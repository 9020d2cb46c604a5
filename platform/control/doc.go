// Package control is the API of a running system: what `holdfast ps`, `logs`, `kill`, `freeze`, `restart`,
// `scale` and `down` talk to, and what the web console and drills are built on. It has a [Server], which
// shows and steers a [System], and a typed [Client].
//
// The API is JSON over HTTP under /v1:
//
//	GET  /v1/system                                     Info
//	GET  /v1/instances?service=S                        {"instances": [Instance, …]}
//	GET  /v1/logs?service=S&follow=true&lines=N         one LogLine a line (application/x-ndjson)
//	GET  /v1/events                                     one Event a line, from now on
//	POST /v1/kill     {"target": "orders-1"}            {"instances": ["orders-1"]}
//	POST /v1/freeze   {"target": "orders", "all": true} {"instances": ["orders-1", "orders-2"]}
//	POST /v1/thaw     {"target": "orders"}              {"instances": ["orders-1", "orders-2"]}
//	POST /v1/restart  {"target": "orders"}              {"instances": ["orders-1", "orders-2"]}
//	POST /v1/scale    {"service": "orders", "replicas": 3}  {"service": "orders", "replicas": 3}
//	POST /v1/scale    {"service": "orders", "auto": true}   {"service": "orders", "replicas": 3}
//	POST /v1/down     {}                                {}
//	GET  /v1/stats                                      Stats
//	GET  /v1/faults                                     {"faults": [Fault, …]}
//	POST /v1/faults        FaultRequest                 Fault
//	PUT  /v1/faults/ID     {}                           Fault, with a new lease
//	DELETE /v1/faults/ID                                {}
//	POST /v1/wipe     {"target": "control-1"}           {"instances": ["control-1"]}
//
// What is broken on purpose is under a lease, of 5 s unless the request says otherwise, which has to be renewed: nothing stays
// broken when whoever broke it is gone. See [Breaker].
//
// A target is an instance ("orders-1"), a service ("orders"), or "control" and "control-1" for the members of
// the control plane. To kill or to freeze a service of several instances takes "all": true, so that nobody
// takes a whole service away by leaving out a number.
//
// Errors are problem+json (RFC 9457). Wrong names and wrong values are answered with 400 or 404 and a message
// that says what would have been right.
//
// # Who may call it
//
// The API can kill processes and it has no passwords, so it listens on loopback only (anything else takes mutual
// TLS), and it refuses what a web page in the user's browser could send to it: a Host that is not loopback (DNS
// rebinding), an Origin that is not its own, and a body that is not application/json (a plain form). Other users
// of the same machine can call it.
package control
