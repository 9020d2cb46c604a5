// Package control is the API of a running system: what `holdfast ps`, `logs`, `kill`, `freeze`, `restart`,
// `scale` and `down` talk to, and what the web console and drills are built on. It has a [Server], which
// shows and steers a [System], and a typed [Client].
//
// The API is JSON over HTTP under /v1:
//
//	GET  /v1/system                                     Info
//	GET  /v1/instances?service=S                        {"instances": [Instance, …]}
//	GET  /v1/logs?service=S&follow=true&lines=N&q=T&trace=ID   one LogLine a line (application/x-ndjson)
//	GET  /v1/events?last=N&follow=true                  one Event a line: N that were kept, and from now on
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
//	GET  /v1/live                                       server-sent events: "live", a Live, and "event", an Event
//	GET  /v1/snapshot                                   Live
//	GET  /v1/groups                                     {"groups": [Group, …]}
//	GET  /v1/locks                                      {"locks": [Lock, …], "missing": "…"}
//	GET  /v1/policies?service=S                         {"policies": [PolicyInForce, …]}
//	GET  /v1/queues                                     {"queues": [Queue, …], "missing": "…"}
//	GET  /v1/queues/TOPIC/GROUP/dead?after=P&limit=N    {"letters": [DeadLetter, …], "next": "P"}
//	POST /v1/queues/TOPIC/GROUP/replay   {"positions": ["17"]}   {"count": 1}
//	POST /v1/queues/TOPIC/GROUP/discard  {"all": true}           {"count": 3}
//	GET  /v1/prometheus/targets                         [ScrapeTarget, …]
//	POST /v1/tokens        {"right": "view"}            Token
//	POST /v1/invitations   {"right": "operate"}         Invitation
//	POST /v1/session       {"code": "…"}                Session, and a cookie
//	GET  /v1/session                                    Session, without its key
//	DELETE /v1/session                                  {}
//	GET  /v1/traces?service=S&status=error&text=T&min=250ms&since=TIME&limit=N   {"traces": [TraceSummary, …]}
//	GET  /v1/traces/ID                                  Trace
//	GET  /v1/explain/ID?lang=zh                         Explanation
//	GET  /v1/graph                                      Graph
//	GET  /v1/rates                                      {"instances": {"orders-1": InstanceRates, …}}
//	GET  /v1/series?name=N&service=S&instance=I&last=5m {"series": [Series, …]}
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
// GET / is the console for a browser, if there is one, and a list of all this for anybody else.
//
// # Who may call it
//
// The API can kill processes. On loopback everybody at this machine may look; whoever changes something needs a token with the right
// "operate". Beyond loopback the API takes TLS, and looking takes a token, too.
//
// The system's own token is made when it starts, and lies in a file that only its user can read, in the user's cache directory under
// the address; a [Client] of the same user finds it there. HOLDFAST_TOKEN comes before that. Further tokens, of which some may only
// look, are made on demand and are void after a day. A browser gets in by the link of an [Invitation], once, and has a
// session then: a cookie to look, and with it a key in a header to change something.
//
// It refuses what a web page in the user's browser could send to it: a Host that is not loopback (DNS rebinding), an Origin that is not
// its own, a body that is not application/json (a plain form), a cookie without its key.
package control
