package failure

import "net/http"

// statusClientClosedRequest is nginx's number for a caller that went away; net/http has no name for it.
const statusClientClosedRequest = 499

// table is the mapping, and the only one: a code's wire number is its index, its wire name and HTTP status are its row.
// The names and most of the statuses are google.rpc.Code's; FailedPrecondition is 409 and not 400, because the request
// was well formed and a later one may succeed.
var table = [...]struct {
	name string
	http int
}{
	OK:                 {"OK", http.StatusOK},
	Canceled:           {"CANCELLED", statusClientClosedRequest},
	Unknown:            {"UNKNOWN", http.StatusInternalServerError},
	InvalidArgument:    {"INVALID_ARGUMENT", http.StatusBadRequest},
	DeadlineExceeded:   {"DEADLINE_EXCEEDED", http.StatusGatewayTimeout},
	NotFound:           {"NOT_FOUND", http.StatusNotFound},
	AlreadyExists:      {"ALREADY_EXISTS", http.StatusConflict},
	PermissionDenied:   {"PERMISSION_DENIED", http.StatusForbidden},
	ResourceExhausted:  {"RESOURCE_EXHAUSTED", http.StatusTooManyRequests},
	FailedPrecondition: {"FAILED_PRECONDITION", http.StatusConflict},
	Aborted:            {"ABORTED", http.StatusConflict},
	OutOfRange:         {"OUT_OF_RANGE", http.StatusBadRequest},
	Unimplemented:      {"UNIMPLEMENTED", http.StatusNotImplemented},
	Internal:           {"INTERNAL", http.StatusInternalServerError},
	Unavailable:        {"UNAVAILABLE", http.StatusServiceUnavailable},
	DataLoss:           {"DATA_LOSS", http.StatusInternalServerError},
	Unauthenticated:    {"UNAUTHENTICATED", http.StatusUnauthorized},
}

// HTTPStatus is the HTTP status that carries c. A number that is no code is answered as Unknown.
func HTTPStatus(c Code) int { return table[c.valid()].http }

// FromHTTPStatus is the code of an answer that names none itself: one that no Holdfast service wrote. Several codes
// share a status, so this is not the inverse of HTTPStatus; it chooses the code that promises the caller least.
// A 2xx is OK; 1xx and 3xx are Unknown; a 4xx that is not listed is FailedPrecondition, a 5xx Internal.
func FromHTTPStatus(status int) Code {
	switch status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return InvalidArgument
	case http.StatusUnauthorized:
		return Unauthenticated
	case http.StatusForbidden:
		return PermissionDenied
	case http.StatusNotFound, http.StatusGone:
		return NotFound
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return Unimplemented
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return DeadlineExceeded
	case http.StatusConflict:
		return Aborted
	case http.StatusRequestedRangeNotSatisfiable:
		return OutOfRange
	case http.StatusTooManyRequests:
		return ResourceExhausted
	case statusClientClosedRequest:
		return Canceled
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return Unavailable
	}
	switch {
	case status >= 200 && status < 300:
		return OK
	case status >= 400 && status < 500:
		return FailedPrecondition
	case status >= 500 && status < 600:
		return Internal
	default:
		return Unknown
	}
}
