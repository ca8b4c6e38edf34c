// Command api is a service that other services call: it lets in whoever has an
// access token of the tenant for it, and asks for a permission on each route.
//
//	AUTH0_DOMAIN    host of the tenant, acme.eu.auth0.com
//	AUTH0_AUDIENCE  identifier of the API, https://orders.example
//	LISTEN          host:port to serve on (default 127.0.0.1:8080)
//
// It prints where it listens, and serves until it is interrupted.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	jwtmiddleware "github.com/auth0/go-jwt-middleware/v3"
	"github.com/auth0/go-jwt-middleware/v3/jwks"
	"github.com/auth0/go-jwt-middleware/v3/validator"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	domain, audience := os.Getenv("AUTH0_DOMAIN"), os.Getenv("AUTH0_AUDIENCE")
	if domain == "" || audience == "" {
		return errors.New("set AUTH0_DOMAIN and AUTH0_AUDIENCE")
	}
	authenticate, err := newMiddleware(domain, audience)
	if err != nil {
		return err
	}
	routes := http.NewServeMux()
	routes.Handle("GET /orders", needs("read:orders", http.HandlerFunc(listOrders)))
	routes.Handle("POST /orders", needs("create:orders", http.HandlerFunc(createOrder)))

	address := os.Getenv("LISTEN")
	if address == "" {
		address = "127.0.0.1:8080"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", listener.Addr())
	server := &http.Server{Handler: authenticate.CheckJWT(routes), ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Shutdown(context.Background()) })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// newMiddleware checks signature, issuer, audience and expiry of every token.
func newMiddleware(domain, audience string) (*jwtmiddleware.JWTMiddleware, error) {
	issuer, err := url.Parse("https://" + domain + "/")
	if err != nil {
		return nil, err
	}
	keys, err := jwks.NewCachingProvider(jwks.WithIssuerURL(issuer))
	if err != nil {
		return nil, err
	}
	tokens, err := validator.New(
		validator.WithKeyFunc(keys.KeyFunc),
		validator.WithAlgorithm(validator.RS256),
		validator.WithIssuer(issuer.String()),
		validator.WithAudience(audience),
		validator.WithAllowedClockSkew(30*time.Second),
		validator.WithCustomClaims(func() *grants { return &grants{} }),
	)
	if err != nil {
		return nil, err
	}
	return jwtmiddleware.New(jwtmiddleware.WithValidator(tokens))
}

// grants is what a token allows.
type grants struct {
	Scope string `json:"scope"`
	// Permissions is there if the API adds them to its tokens
	// (token_dialect: access_token_authz).
	Permissions []string `json:"permissions"`
}

// Validate implements validator.CustomClaims.
func (g *grants) Validate(context.Context) error { return nil }

// allow asks the permissions if the token has them: with RBAC enforced, they are
// what the caller was given, while the scope is what it asked for.
func (g *grants) allow(permission string) bool {
	if g.Permissions != nil {
		return slices.Contains(g.Permissions, permission)
	}
	return slices.Contains(strings.Fields(g.Scope), permission)
}

// needs refuses callers without a permission as RFC 6750 section 3.1 says.
func needs(permission string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, err := jwtmiddleware.GetClaims[*validator.ValidatedClaims](r.Context())
		if err != nil {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		if g, ok := claims.CustomClaims.(*grants); !ok || !g.allow(permission) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer error="insufficient_scope", scope=%q`, permission))
			http.Error(w, "the token lacks "+permission, http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func listOrders(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode([]string{"order-1", "order-2"})
}

func createOrder(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }
