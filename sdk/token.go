package sdk

import (
	"context"
	"errors"
	"fmt"

	"github.com/tenonhq/tenon/internal/token"
)

// TokenSource yields the token to present. It is asked before every call, from
// many goroutines, so it answers from memory whenever it can. ClientCredentials
// returns one.
type TokenSource interface {
	Token(ctx context.Context) (string, error)
}

// TokenFunc makes a function a TokenSource.
type TokenFunc func(ctx context.Context) (string, error)

// Token implements TokenSource.
func (f TokenFunc) Token(ctx context.Context) (string, error) { return f(ctx) }

// headersProvider is the type of client.Options.HeadersProvider, which has no
// public name.
type headersProvider interface {
	GetHeaders(ctx context.Context) (map[string]string, error)
}

// headers is what puts the token on every call. A file is read at once, so that
// a wrong name is an error here and not a refusal later.
func (cfg *Config) headers() (headersProvider, error) {
	switch {
	case cfg.Token != nil && cfg.TokenFile != "":
		return nil, errors.New("token: give either Token or TokenFile")
	case cfg.Token != nil:
		return bearer{cfg.Token}, nil
	case cfg.TokenFile == "":
		return nil, errors.New("token: a Tenon cluster wants one, and TokenFile is empty")
	}
	source := token.FileSource(cfg.TokenFile)
	if _, err := source.Token(); err != nil {
		return nil, err
	}
	return source, nil
}

// bearer is the header of a TokenSource.
type bearer struct{ source TokenSource }

// GetHeaders implements headersProvider.
func (b bearer) GetHeaders(ctx context.Context) (map[string]string, error) {
	raw, err := b.source.Token(ctx)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	if raw == "" {
		return nil, errors.New("token: the source returned an empty one")
	}
	return map[string]string{"authorization": "Bearer " + raw}, nil
}
