package authapi

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

const (
	requestURIPrefix = "urn:ietf:params:oauth:request_uri:"
	parLifetime      = 30 * time.Second
)

// pushAuthorization keeps an authorization request that its client sends
// directly (RFC 9126).
func (c *call) pushAuthorization() error {
	p, err := c.apiParams()
	if err != nil {
		return err
	}
	client, err := c.authenticate(p, false)
	if err != nil {
		return err
	}
	if p.str("request_uri") != "" {
		return oauthErr(http.StatusBadRequest, "invalid_request", "request_uri is not allowed in a pushed authorization request")
	}
	id := ""
	kept := Doc{}
	for k, v := range p {
		switch k {
		case "client_secret", "client_assertion", "client_assertion_type":
		default:
			kept[k] = v
		}
	}
	kept["client_id"] = str(client, "client_id")
	err = c.update(func(tx *state.Tx) error {
		settings, err := singleton(tx, "tenants/settings")
		if err != nil {
			return err
		}
		if _, err := c.parseAuthorize(client, settings, kept); err != nil {
			return asAPIError(err)
		}
		if err := purge(tx, "oauth/requests", "id"); err != nil {
			return err
		}
		id = tx.NewID(state.Token)
		return tx.Put("oauth/requests", id, Doc{
			"id": id, "client_id": str(client, "client_id"), "params": kept, "expires_at": c.now.Add(parLifetime).Unix(),
		})
	})
	if err != nil {
		return err
	}
	writeJSON(c.w, http.StatusCreated, map[string]any{
		"request_uri": requestURIPrefix + id, "expires_in": int(parLifetime.Seconds()),
	})
	return nil
}

// asAPIError says what a page would have said to a client that asked directly.
func asAPIError(err error) error {
	var a *authError
	var p *pageError
	switch {
	case errors.As(err, &a):
		return oauthErr(http.StatusBadRequest, a.code, "%s", a.description)
	case errors.As(err, &p) && p.code != "invalid_request":
		return oauthErr(http.StatusBadRequest, "invalid_request", "%s", p.description)
	case errors.As(err, &p):
		return oauthErr(http.StatusBadRequest, p.code, "%s", p.description)
	}
	return err
}

func (c *call) pushedRequest(tx *state.Tx, uri, clientID string) (params, error) {
	bad := pageErr(http.StatusBadRequest, "invalid_request_uri", "The request_uri is invalid, expired or was already used")
	id, ok := strings.CutPrefix(uri, requestURIPrefix)
	if !ok {
		return nil, bad
	}
	d, ok, err := tx.Get("oauth/requests", id)
	if err != nil {
		return nil, err
	}
	if !ok || expired(d, c.now) {
		return nil, bad
	}
	client, known, err := findClient(tx, clientID)
	if err != nil {
		return nil, err
	}
	if !known || str(client, "client_id") != str(d, "client_id") {
		return nil, bad
	}
	return params(sub(d, "params")), nil
}

// takePushed makes a request_uri work once.
func (c *call) takePushed(uri string) error {
	return c.update(func(tx *state.Tx) error {
		there, err := tx.Delete("oauth/requests", strings.TrimPrefix(uri, requestURIPrefix))
		if err == nil && !there {
			err = pageErr(http.StatusBadRequest, "invalid_request_uri", "The request_uri is invalid, expired or was already used")
		}
		return err
	})
}
