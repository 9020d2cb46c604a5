package sight

// The names of what spans and metrics say, by OpenTelemetry's semantic conventions and by package telemetry.
const (
	keyErrorType       = "error.type"
	keyErrorMessage    = "exception.message"
	keyErrorMessageOld = "error.message"
	keyStatusCode      = "rpc.response.status_code"
	keyGRPCStatus      = "rpc.grpc.status_code"
	keyHTTPStatus      = "http.response.status_code"
	keyServer          = "server.address"
	keyPeerService     = "peer.service"
	keyPeerAddress     = "network.peer.address"
	keyTopic           = "messaging.destination.name"

	keyCall        = "holdfast.call"
	keyAttempts    = "holdfast.call.attempts"
	keyHedged      = "holdfast.call.hedged"
	keyStopped     = "holdfast.call.stopped"
	keyRefusedBy   = "holdfast.call.refused_by"
	keyDeadline    = "holdfast.call.deadline_ms"
	keyRemaining   = "holdfast.call.remaining_ms"
	keyCriticality = "holdfast.call.criticality"
	keyKeep        = "holdfast.keep"

	keyAttempt    = "holdfast.attempt"
	keyHedge      = "holdfast.attempt.hedge"
	keySent       = "holdfast.attempt.sent"
	keyOutcome    = "holdfast.attempt.outcome"
	keyTimeout    = "holdfast.attempt.timeout_ms"
	keyWait       = "holdfast.attempt.wait_ms"
	keyLost       = "holdfast.attempt.lost"
	keyPeer       = "holdfast.peer.instance"
	keyCandidates = "holdfast.pick.candidates"
	keyEjected    = "holdfast.pick.ejected"
	keyWhy        = "holdfast.pick.why"
	keyTokens     = "holdfast.budget.tokens"
	keyThrottle   = "holdfast.throttle.refusing"

	keyAdmission    = "holdfast.admission"
	keyWaited       = "holdfast.waited_ms"
	keyWaited2      = "holdfast.admission.waited_ms"
	keyInFlight     = "holdfast.in_flight"
	keyLimit        = "holdfast.limit"
	keyDeadlineLeft = "holdfast.deadline_left_ms"

	keyMessageAttempt = "holdfast.message.attempt"
	keyVerdict        = "holdfast.message.verdict"
	keyMessageID      = "messaging.message.id"
)

// knownKeys are written as a number. Records do not outlive the process, so that the order may change.
var knownKeys = []string{
	keyErrorType, keyErrorMessage, keyErrorMessageOld, keyStatusCode, keyGRPCStatus, keyHTTPStatus, keyServer, keyPeerService,
	keyPeerAddress, keyTopic, keyCall, keyAttempts, keyHedged, keyStopped, keyRefusedBy, keyDeadline, keyRemaining, keyCriticality,
	keyKeep, keyAttempt, keyHedge, keySent, keyOutcome, keyTimeout, keyWait, keyLost, keyPeer, keyCandidates, keyEjected, keyWhy,
	keyTokens, keyThrottle, keyAdmission, keyWaited, keyWaited2, keyInFlight, keyLimit, keyDeadlineLeft, keyMessageAttempt, keyVerdict,
	"rpc.system", "rpc.system.name", "rpc.service", "rpc.method", "http.request.method", "http.route", "url.path", "url.scheme",
	"server.port", "network.peer.port", "messaging.system", "messaging.operation.name", "messaging.operation.type",
	keyMessageID, "messaging.consumer.group.name", "network.protocol.name", "network.protocol.version", "user_agent.original",
	"client.address", "exception.type", "exception.stacktrace", "http.request.resend_count", "url.full", "url.template",
}

var keyNumbers = func() map[string]int {
	m := make(map[string]int, len(knownKeys))
	for i, k := range knownKeys {
		m[k] = i
	}
	return m
}()
