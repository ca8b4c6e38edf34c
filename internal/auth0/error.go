package auth0

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Class says what an error means for whoever must decide whether to try again.
type Class string

// The classes. Only RateLimited and Unavailable heal by themselves.
const (
	// Credentials: the tenant does not accept who we are, or we do not accept it
	// (TLS).
	Credentials Class = "credentials"
	// Scope: the token lacks a Management API scope.
	Scope Class = "scope"
	// Entitlement: the tenant's plan or quota does not include it.
	Entitlement Class = "entitlement"
	// Invalid: the request can never succeed as it is.
	Invalid Class = "invalid"
	// NotFound: the object does not exist.
	NotFound Class = "not-found"
	// Conflict: another object is in the way.
	Conflict Class = "conflict"
	// RateLimited: the tenant asks to wait for RetryAfter.
	RateLimited Class = "rate-limited"
	// Unavailable: network error, 5xx, or an answer that made no sense. The request
	// may have taken effect.
	Unavailable Class = "unavailable"
	// UnknownTenant: the domain is not configured on this worker.
	UnknownTenant Class = "unknown-tenant"
)

// Retryable reports whether an error of the class may heal by itself.
func (c Class) Retryable() bool { return c == RateLimited || c == Unavailable }

// Error is a call that failed.
type Error struct {
	Class Class
	// Status is the HTTP status, 0 if there was none.
	Status int
	// Code is Auth0's errorCode, or the OAuth error.
	Code string
	// Message is Auth0's, with secrets of the request removed.
	Message string
	// Operation says what was tried, in a few words: "create client".
	Operation string
	// RetryAfter is how long the tenant asks to wait; for RateLimited only.
	RetryAfter time.Duration
	// Err is the cause, if the failure came from below HTTP.
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Operation != "" {
		b.WriteString(e.Operation + ": ")
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, "%d ", e.Status)
	}
	b.WriteString(string(e.Class))
	if e.Code != "" {
		b.WriteString(" (" + e.Code + ")")
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ClassOf returns the class of an error, "" if it is none of this package's.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return ""
}

// maxMessage bounds what a server can put into our errors and histories.
const maxMessage = 600

// errorFromResponse reads the Management API's error envelope, or the OAuth
// one of the token endpoint.
func errorFromResponse(status int, header http.Header, body []byte) *Error {
	var envelope struct {
		Error            string `json:"error"`
		ErrorDescription string `json:"error_description"`
		Message          string `json:"message"`
		ErrorCode        string `json:"errorCode"`
	}
	e := &Error{Status: status, Class: Unavailable, Message: http.StatusText(status)}
	if err := json.Unmarshal(body, &envelope); err == nil {
		e.Code = envelope.ErrorCode
		switch {
		case envelope.Message != "":
			e.Message = envelope.Message
		case envelope.ErrorDescription != "":
			e.Message, e.Code = envelope.ErrorDescription, envelope.Error
		case envelope.Error != "":
			e.Message = envelope.Error
		}
	}
	if len(e.Message) > maxMessage {
		e.Message = strings.ToValidUTF8(e.Message[:maxMessage], "") + "…"
	}
	e.Class = classify(status, e.Code, e.Message)
	return e
}

func classify(status int, code, message string) Class {
	lower := strings.ToLower(message)
	switch {
	case status == http.StatusTooManyRequests:
		return RateLimited
	case status >= 500, status == http.StatusRequestTimeout:
		return Unavailable
	case status == http.StatusUnauthorized:
		return Credentials
	case status == http.StatusPaymentRequired:
		return Entitlement
	case status == http.StatusForbidden:
		switch {
		case strings.Contains(lower, "upgrade your subscription"), code == "insufficient_entitlement",
			strings.Contains(lower, "limit of entities"), strings.Contains(lower, "credit card"):
			return Entitlement
		case code == "access_denied", code == "invalid_client", code == "unauthorized_client", code == "invalid_grant":
			return Credentials
		case code == "insufficient_scope", strings.Contains(lower, "insufficient scope"):
			return Scope
		}
		return Entitlement
	case status == http.StatusNotFound, status == http.StatusGone:
		return NotFound
	case status == http.StatusConflict && strings.Contains(lower, "try again later"):
		return Unavailable // "a connection with the same name is being deleted"
	case status == http.StatusConflict:
		return Conflict
	case status >= 400:
		return Invalid
	}
	return Unavailable
}

// errorFromNetwork classifies what happened below HTTP. A certificate that we do
// not trust will not heal by trying again.
func errorFromNetwork(err error) *Error {
	e := &Error{Class: Unavailable, Message: "no answer: " + err.Error(), Err: err}
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		e.Class, e.Message = Credentials, "the tenant's certificate is not trusted: "+cert.Err.Error()
	}
	return e
}
