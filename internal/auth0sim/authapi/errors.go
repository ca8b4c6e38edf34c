package authapi

import (
	"fmt"
	"net/http"
)

// An oauthError is an answer of the Authentication API, in Auth0's words.
type oauthError struct {
	status      int
	code        string // "error"
	description string // "error_description"
	header      map[string]string
	extra       map[string]any // members besides the two
	bare        map[string]any // the whole body, where its form is another
}

func (e *oauthError) Error() string { return fmt.Sprintf("%s: %s", e.code, e.description) }

func (e *oauthError) body() map[string]any {
	if e.bare != nil {
		return e.bare
	}
	m := map[string]any{"error": e.code}
	if e.description != "" {
		m["error_description"] = e.description
	}
	for k, v := range e.extra {
		m[k] = v
	}
	return m
}

func oauthErr(status int, code, format string, args ...any) *oauthError {
	if len(args) > 0 {
		format = fmt.Sprintf(format, args...)
	}
	return &oauthError{status: status, code: code, description: format}
}

// The answers that several endpoints share.
func errUnauthorized() *oauthError {
	return oauthErr(http.StatusUnauthorized, "access_denied", "Unauthorized")
}

func errMissing(parameter string) *oauthError {
	return oauthErr(http.StatusBadRequest, "invalid_request", "Missing required parameter: %s", parameter)
}

func errInvalidGrant(description string) *oauthError {
	return oauthErr(http.StatusForbidden, "invalid_grant", "%s", description)
}

func errGrantNotAllowed(grant string) *oauthError {
	return oauthErr(http.StatusForbidden, "unauthorized_client", "Grant type '%s' not allowed for the client.", grant)
}

// A pageError is what a person sees when a request cannot go on and there is
// no address to send them back to that can be trusted.
type pageError struct {
	status      int
	code        string
	description string
}

func (e *pageError) Error() string { return fmt.Sprintf("%s: %s", e.code, e.description) }

func pageErr(status int, code, format string, args ...any) *pageError {
	if len(args) > 0 {
		format = fmt.Sprintf(format, args...)
	}
	return &pageError{status: status, code: code, description: format}
}
