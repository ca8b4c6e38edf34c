package auth0sim

import (
	"fmt"
	"net/http"
)

// apiError is an answer that says no, in the Management API's envelope.
type apiError struct {
	Status  int
	Message string
	Code    string // errorCode; absent from the answer when empty
	Header  http.Header
	Extra   map[string]any // further members of the envelope
}

// Error implements error.
func (e *apiError) Error() string { return fmt.Sprintf("%d %s", e.Status, e.Message) }

func (e *apiError) body() map[string]any {
	out := map[string]any{"statusCode": e.Status, "error": http.StatusText(e.Status), "message": e.Message}
	if e.Code != "" {
		out["errorCode"] = e.Code
	}
	for k, v := range e.Extra {
		out[k] = v
	}
	return out
}

func refuse(status int, code, format string, args ...any) *apiError {
	message := format
	if len(args) > 0 {
		message = fmt.Sprintf(format, args...)
	}
	return &apiError{Status: status, Message: message, Code: code}
}

func badRequest(format string, args ...any) *apiError {
	return refuse(http.StatusBadRequest, "invalid_body", format, args...)
}

func notFound(code, message string) *apiError {
	return refuse(http.StatusNotFound, code, "%s", message)
}

func conflict(code, message string) *apiError {
	return refuse(http.StatusConflict, code, "%s", message)
}

var errNoRoute = refuse(http.StatusNotFound, "", "Not Found")
