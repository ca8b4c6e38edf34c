package authapi_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tenonhq/tenon/internal/auth0sim/authapi"
	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// One machine-to-machine token, without the network.
func BenchmarkClientCredentials(b *testing.B) {
	store, err := state.Open(state.Config{})
	require.NoError(b, err)
	defer store.Close()
	tenant := store.Tenant("acme")
	require.NoError(b, tenant.Update(context.Background(), func(tx *state.Tx) error {
		for _, d := range []struct {
			family, id string
			doc        doc
		}{
			{"clients", "m2m", doc{"client_id": "m2m", "client_secret": "secret"}},
			{"resource-servers", "rs", doc{"id": "rs", "identifier": api}},
			{"client-grants", "g", doc{"id": "g", "client_id": "m2m", "audience": api, "scope": []any{"a", "b"}}},
		} {
			if err := tx.Put(d.family, d.id, d.doc); err != nil {
				return err
			}
		}
		return nil
	}))
	srv, err := authapi.New(authapi.Config{Tenant: func(*http.Request) *state.Tenant { return tenant }})
	require.NoError(b, err)
	h := srv.Handler()
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest("POST", "/oauth/token", strings.NewReader("grant_type=client_credentials&client_id=m2m&client_secret=secret&audience="+api))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 200 {
			b.Fatal(w.Body.String())
		}
	}
}
