package webui

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestNoCallWithoutSession holds the second of two guards: whatever a handler
// forgets, the connection sends nothing without a session's token.
func TestNoCallWithoutSession(t *testing.T) {
	_, err := sessionToken{}.GetRequestMetadata(t.Context())
	require.Equal(t, codes.Unauthenticated, status.Code(err))
	_, err = sessionToken{}.GetRequestMetadata(context.WithValue(t.Context(), tokenKey{}, ""))
	require.Equal(t, codes.Unauthenticated, status.Code(err))
	md, err := sessionToken{}.GetRequestMetadata(context.WithValue(t.Context(), tokenKey{}, "t"))
	require.NoError(t, err)
	require.Equal(t, map[string]string{"authorization": "Bearer t"}, md)
	require.True(t, sessionToken{tls: true}.RequireTransportSecurity())
}
