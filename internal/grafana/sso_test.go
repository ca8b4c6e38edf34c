package grafana

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/secret"
)

// fakeSSO is Grafana's SSO settings API: PUT replaces, GET masks.
type fakeSSO struct {
	record map[string]any
	status int
	body   string
	puts   int
	drop   string // a setting that it accepts and forgets
}

func (f *fakeSSO) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path != "/grafana/api/v1/sso-settings/generic_oauth":
		http.NotFound(w, r)
		return
	case r.Header.Get("Authorization") != "Bearer glsa_token":
		w.WriteHeader(http.StatusUnauthorized)
		return
	case f.status != 0 && r.Method == http.MethodPut:
		w.WriteHeader(f.status)
		_, _ = w.Write([]byte(f.body))
		return
	}
	switch r.Method {
	case http.MethodGet:
		shown := map[string]any{}
		for k, v := range f.record {
			shown[k] = v
		}
		if shown["clientSecret"] != nil {
			shown["clientSecret"] = "*********"
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"provider": "generic_oauth", "source": "database", "settings": shown})
	case http.MethodPut:
		var body struct {
			Settings map[string]any `json:"settings"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		f.puts++
		f.record = body.Settings
		delete(f.record, f.drop)
		w.WriteHeader(http.StatusNoContent)
	case http.MethodDelete:
		if f.record == nil {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		f.record = nil
		w.WriteHeader(http.StatusNoContent)
	}
}

func ssoClient(t *testing.T, f http.Handler, token string) *SSOClient {
	t.Helper()
	server := httptest.NewTLSServer(f)
	t.Cleanup(server.Close)
	c, err := NewSSOClient(SSOConfig{URL: server.URL + "/grafana/", Token: secret.New(token), HTTP: server.Client()})
	require.NoError(t, err)
	return c
}

func TestPush(t *testing.T) {
	f := &fakeSSO{record: map[string]any{"teamsUrl": "https://teams.test", "clientSecret": "old", "name": "Old"}}
	c := ssoClient(t, f, "glsa_token")
	s := settings(t)
	for range 2 { // a retry ends in the same state
		require.NoError(t, c.Push(t.Context(), s, secret.New("hush")))
		require.Equal(t, "hush", f.record["clientSecret"])
		require.Equal(t, "https://teams.test", f.record["teamsUrl"], "a setting that is not ours was lost")
		require.Equal(t, "Acme", f.record["name"])
		require.Equal(t, true, f.record["usePkce"])
		require.Equal(t, s.RoleAttributePath, f.record["roleAttributePath"])
		require.Equal(t, s.SignoutRedirectURL, f.record["signoutRedirectUrl"])
	}
	require.NoError(t, c.Reset(t.Context()))
	require.Nil(t, f.record)
	require.NoError(t, c.Reset(t.Context()))
}

func TestPushRefuses(t *testing.T) {
	s := settings(t)
	t.Run("another secret would be erased", func(t *testing.T) {
		f := &fakeSSO{record: map[string]any{"tlsClientKey": "*********"}}
		err := ssoClient(t, f, "glsa_token").Push(t.Context(), s, secret.New("hush"))
		require.ErrorContains(t, err, "tlsClientKey")
		require.Zero(t, f.puts)
	})
	t.Run("settings that do not stick", func(t *testing.T) {
		f := &fakeSSO{drop: "usePkce"}
		err := ssoClient(t, f, "glsa_token").Push(t.Context(), s, secret.New("hush"))
		require.ErrorContains(t, err, "usePkce")
	})
	for status, want := range map[int]error{400: ErrInvalid, 401: ErrUnauthorized, 403: ErrForbidden, 404: ErrNoSSOAPI} {
		f := &fakeSSO{status: status, body: `{"message":"no: hush"}`}
		err := ssoClient(t, f, "glsa_token").Push(t.Context(), s, secret.New("hush"))
		require.ErrorIs(t, err, want)
		var answer *StatusError
		require.True(t, errors.As(err, &answer))
		require.Equal(t, status, answer.Status)
		require.NotContains(t, err.Error(), "hush", "the answer's echo of the secret is in the error")
	}
	err := ssoClient(t, &fakeSSO{}, "wrong").Push(t.Context(), s, secret.New("hush"))
	require.ErrorIs(t, err, ErrUnauthorized)
	require.NotContains(t, err.Error(), "wrong")
}

// The token goes to the configured Grafana and nowhere else.
func TestPushFollowsNoRedirect(t *testing.T) {
	stolen := false
	thief := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen = true }))
	t.Cleanup(thief.Close)
	c := ssoClient(t, http.RedirectHandler(thief.URL, http.StatusTemporaryRedirect), "glsa_token")
	require.ErrorContains(t, c.Push(t.Context(), settings(t), secret.New("hush")), "redirects")
	require.False(t, stolen)
}

func TestNewSSOClientRefuses(t *testing.T) {
	_, err := NewSSOClient(SSOConfig{URL: "http://grafana.test", Token: secret.New("x")})
	require.ErrorContains(t, err, "https://")
	_, err = NewSSOClient(SSOConfig{URL: "https://grafana.test"})
	require.ErrorContains(t, err, "token")
}
