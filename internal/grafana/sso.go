package grafana

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/secret"
)

const ssoPath = "/api/v1/sso-settings/generic_oauth"

// The ways in which Grafana refuses settings. StatusError wraps them.
var (
	ErrUnauthorized = errors.New("grafana does not accept the token")
	ErrForbidden    = errors.New("the token may not change SSO settings: it needs settings:read and settings:write on settings:auth.generic_oauth:*")
	ErrNoSSOAPI     = errors.New("this grafana has no SSO settings API: it needs version 11, or 10.4 with the ssoSettingsApi toggle")
	ErrInvalid      = errors.New("grafana refuses the settings")
)

// StatusError is an answer of Grafana's API other than success.
type StatusError struct {
	Method string
	Status int
	// Message is what Grafana said, at most 300 bytes.
	Message string
}

// Error implements error.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("%s %s: %d %s", e.Method, ssoPath, e.Status, http.StatusText(e.Status))
	if e.Message != "" {
		text += ": " + e.Message
	}
	if cause := e.Unwrap(); cause != nil {
		text += ": " + cause.Error()
	}
	return text
}

// Unwrap says which of the known refusals this is, or nil.
func (e *StatusError) Unwrap() error {
	switch e.Status {
	case http.StatusUnauthorized:
		return ErrUnauthorized
	case http.StatusForbidden:
		return ErrForbidden
	case http.StatusNotFound:
		return ErrNoSSOAPI
	case http.StatusBadRequest:
		return ErrInvalid
	}
	return nil
}

// SSOConfig configures an SSOClient.
type SSOConfig struct {
	// URL is Grafana's root URL.
	URL string
	// Token is a service account's token.
	Token secret.Value
	// HTTP sends the requests. Defaults to a client with a timeout of 15
	// seconds. Redirects are refused whatever it says.
	HTTP *http.Client
}

// SSOClient changes the single sign-on settings of a running Grafana. It is
// safe for concurrent use.
type SSOClient struct {
	url   string
	token secret.Value
	http  *http.Client
}

// NewSSOClient checks the configuration.
func NewSSOClient(cfg SSOConfig) (*SSOClient, error) {
	root, err := CheckRootURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	if cfg.Token.IsZero() {
		return nil, errors.New("grafana token is empty")
	}
	client := http.Client{Timeout: 15 * time.Second}
	if cfg.HTTP != nil {
		client = *cfg.HTTP
	}
	client.CheckRedirect = func(req *http.Request, _ []*http.Request) error {
		// The token and the client secret belong to this Grafana and go nowhere else.
		return fmt.Errorf("grafana redirects to %s: give the URL that it redirects to", req.URL.Redacted())
	}
	return &SSOClient{url: root, token: cfg.Token, http: &client}, nil
}

// Push makes Grafana log people in with these settings, at once and without a
// restart. Settings of the record that Tenon does not own are kept: Grafana's
// PUT replaces the whole record, so Push reads before it writes. A secret that
// Grafana masks is never written back; if the record holds one that Push
// cannot set itself, Push refuses rather than erase it. Calling Push again
// with the same settings ends in the same state.
func (c *SSOClient) Push(ctx context.Context, s Settings, clientSecret secret.Value) error {
	if clientSecret.IsZero() {
		return errors.New("client secret is empty")
	}
	current, err := c.settings(ctx)
	if err != nil {
		return err
	}
	wanted := ssoSettings(s)
	record := map[string]any{}
	for key, value := range current {
		if _, ours := wanted[key]; ours || key == "clientSecret" {
			continue
		}
		if isMasked(value) {
			return fmt.Errorf("grafana holds a secret in %q that cannot be read back, and replacing the settings would erase it: remove it from grafana first", key)
		}
		record[key] = value
	}
	maps.Copy(record, wanted)
	record["clientSecret"] = clientSecret.Reveal()
	if err := c.call(ctx, http.MethodPut, map[string]any{"settings": record}, nil); err != nil {
		return err
	}
	after, err := c.settings(ctx)
	if err != nil {
		return fmt.Errorf("read the settings back: %w", err)
	}
	var differing []string
	for key, value := range wanted {
		if fmt.Sprint(after[key]) != fmt.Sprint(value) {
			differing = append(differing, key)
		}
	}
	if len(differing) > 0 {
		slices.Sort(differing)
		return fmt.Errorf("grafana accepted the settings but reports other values for %s", strings.Join(differing, ", "))
	}
	return nil
}

// Reset removes the record, so that Grafana falls back to its configuration
// files. It is no error if there is none.
func (c *SSOClient) Reset(ctx context.Context) error {
	err := c.call(ctx, http.MethodDelete, nil, nil)
	if errors.Is(err, ErrNoSSOAPI) {
		return nil
	}
	return err
}

func (c *SSOClient) settings(ctx context.Context) (map[string]any, error) {
	var record struct {
		Settings map[string]any `json:"settings"`
	}
	if err := c.call(ctx, http.MethodGet, nil, &record); err != nil {
		return nil, err
	}
	return record.Settings, nil
}

func (c *SSOClient) call(ctx context.Context, method string, body, into any) error {
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.url+ssoPath, reader)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("reach grafana: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("read grafana's answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return &StatusError{Method: method, Status: resp.StatusCode, Message: c.message(data, body)}
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s %s: the answer is not the JSON of grafana's API: %w", method, ssoPath, err)
	}
	return nil
}

// message extracts what Grafana said. An answer that repeats what it was sent
// could carry a secret into a log, so it is dropped whole if it does.
func (c *SSOClient) message(data []byte, body any) string {
	var answer struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(data, &answer) != nil {
		return ""
	}
	text := comment(answer.Message)
	if strings.Contains(text, c.token.Reveal()) {
		return ""
	}
	if record, ok := body.(map[string]any); ok {
		settings, _ := record["settings"].(map[string]any)
		if sent, _ := settings["clientSecret"].(string); sent != "" && strings.Contains(text, sent) {
			return ""
		}
	}
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "")
	}
	return text
}

// ssoSettings is the record without the secret. The API's names are those of
// the file in camelCase, and booleans are JSON booleans.
func ssoSettings(s Settings) map[string]any {
	record := map[string]any{}
	for _, p := range s.oauthPairs() {
		var value any = p.value
		switch p.value {
		case "true", "false":
			value = p.value == "true"
		}
		record[camelCase(p.key)] = value
	}
	return record
}

func camelCase(key string) string {
	words := strings.Split(key, "_")
	for i, w := range words[1:] {
		words[i+1] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, "")
}

func isMasked(value any) bool {
	text, ok := value.(string)
	return ok && len(text) >= 3 && strings.Trim(text, "*") == ""
}
