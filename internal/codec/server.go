package codec

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
)

// The headers of Temporal's remote codec protocol and of CORS.
const (
	headerNamespace = "X-Namespace"
	allowedHeaders  = "Authorization, Authorization-Extras, Content-Type, " + headerNamespace
	preflightAge    = "600" // seconds a browser may remember a preflight
)

// The names under which requests stand in the audit log.
const (
	apiDecode = "codec/Decode"
	apiEncode = "codec/Encode"
)

// maxPayloads bounds the payloads of one request. A page of history of the Web
// UI asks for one at a time, the stock CLI for those of one message.
const maxPayloads = 4096

// Auditor records decisions. *audit.Log is one. Append waits only for a bounded
// time, and its error means that the decision is not recorded.
type Auditor interface {
	Append(audit.Record) error
}

// ServerConfig configures a Server.
type ServerConfig struct {
	// Codec encrypts and decrypts. Required.
	Codec *Codec
	// Verifier decides which tokens are genuine. Required.
	Verifier TokenVerifier
	// Audit takes every decision before it takes effect. Required.
	Audit Auditor
	// AllowOrigins are the origins whose pages may read answers: the Web UI's,
	// as scheme://host[:port]. Requests that browsers send for others are
	// refused. Defaults to none; there is no wildcard, because any page that a
	// reader of the Web UI has open could then read payloads with a token that
	// it came by.
	AllowOrigins []string
	// Workers lets the role worker encode and decode as well, for workers whose
	// SDK has no codec of ours. Defaults to false: those that have one hold the
	// keys themselves.
	Workers bool
	// MaxBody is the largest request in bytes. Defaults to 8 MiB, which is twice
	// the cluster's limit for a message.
	MaxBody int64
	// MaxDecoded bounds what the payloads of one request become, in bytes.
	// Defaults to 32 MiB.
	MaxDecoded int
	// Now tells the time. Defaults to time.Now.
	Now func() time.Time
	// Logger receives what keeps decisions from being recorded. Nil discards.
	Logger *slog.Logger
}

// Server serves a Codec to those who may read histories anyway: Temporal's Web
// UI and the stock CLI send it the payloads of a history and show what comes
// back. It is an http.Handler for
//
//	POST /decode  /{namespace}/decode
//	POST /encode  /{namespace}/encode
//
// with the body and answer of Temporal's remote codec (protobuf JSON of
// temporal.api.common.v1.Payloads), the namespace in X-Namespace or the path,
// and a bearer token that holds a role there: reader to decode, client to
// encode.
//
// One key encrypts all namespaces, and a payload does not say which it is from:
// whoever may decode in one namespace can have decoded whatever ciphertext they
// bring. Histories of other namespaces they cannot read; a copy of the database
// they must not be given.
type Server struct {
	cfg     ServerConfig
	origins map[string]bool
	mux     *http.ServeMux
}

var _ http.Handler = (*Server)(nil)

// NewServer checks the configuration and builds the server.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Codec == nil || cfg.Verifier == nil || cfg.Audit == nil {
		return nil, errors.New("codec server: codec, token verifier and audit log are required")
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = 8 << 20
	}
	if cfg.MaxDecoded == 0 {
		cfg.MaxDecoded = 32 << 20
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, origins: make(map[string]bool), mux: http.NewServeMux()}
	for _, o := range cfg.AllowOrigins {
		if err := checkOrigin(o); err != nil {
			return nil, fmt.Errorf("codec server: %w", err)
		}
		s.origins[o] = true
	}
	for _, path := range []string{"/decode", "/{namespace}/decode"} {
		s.mux.HandleFunc("POST "+path, s.handle(apiDecode, cfg.Codec.Decode))
		s.mux.HandleFunc("OPTIONS "+path, s.preflight)
	}
	for _, path := range []string{"/encode", "/{namespace}/encode"} {
		s.mux.HandleFunc("POST "+path, s.handle(apiEncode, cfg.Codec.Encode))
		s.mux.HandleFunc("OPTIONS "+path, s.preflight)
	}
	return s, nil
}

// checkOrigin refuses what a browser would never send as an Origin (RFC 6454
// section 6.2), so that a mistake is seen at the start and not as a page that
// cannot decode.
func checkOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || origin != u.Scheme+"://"+strings.ToLower(u.Host) {
		return fmt.Errorf("%.80q is no origin: want scheme://host[:port], without a path", origin)
	}
	if port := u.Port(); (u.Scheme == "https" && port == "443") || (u.Scheme == "http" && port == "80") {
		return fmt.Errorf("%.80q names the port that browsers leave out", origin)
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Add("Vary", "Origin")
	// Only browsers send it, and only scripts of a page get to read an answer.
	if origin := r.Header.Get("Origin"); origin != "" {
		if !s.origins[origin] {
			http.Error(w, "this origin is not allowed", http.StatusForbidden)
			return
		}
		w.Header().Set("Access-Control-Allow-Origin", origin)
	}
	s.mux.ServeHTTP(w, r)
}

// preflight answers a browser that asks what it may send.
func (s *Server) preflight(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Origin") != "" {
		h := w.Header()
		h.Set("Access-Control-Allow-Methods", http.MethodPost)
		h.Set("Access-Control-Allow-Headers", allowedHeaders)
		h.Set("Access-Control-Max-Age", preflightAge)
	}
	w.WriteHeader(http.StatusNoContent)
}

// refusal is an answer other than 200.
type refusal struct {
	status  int
	told    string // to the caller
	reason  string // to the audit log; told if empty
	verdict audit.Verdict
}

func (s *Server) handle(api string, convert func([]*commonpb.Payload) ([]*commonpb.Payload, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		record := audit.Record{Time: s.cfg.Now(), Verdict: audit.Allow, API: api, Peer: peer(r.RemoteAddr)}
		no := s.decide(r, api, &record)
		if no != nil {
			record.Verdict, record.Reason = no.verdict, no.reason
			if record.Reason == "" {
				record.Reason = no.told
			}
		}
		// Recorded first: nobody reads a payload without a trace of it.
		if err := s.cfg.Audit.Append(record); err != nil {
			s.cfg.Logger.Error("codec request refused, because it cannot be recorded", "error", err)
			if no == nil {
				no = &refusal{status: http.StatusServiceUnavailable, told: "the decision cannot be recorded"}
			}
		}
		if no != nil {
			no.write(w)
			return
		}
		// The body is read only now: callers without a token cost no memory.
		answer, no := s.convert(w, r, convert)
		if no != nil {
			no.write(w)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		// Nobody is left to tell of a broken connection.
		_, _ = w.Write(answer)
	}
}

// decide says who is calling and whether they may. It returns nil if so.
func (s *Server) decide(r *http.Request, api string, record *audit.Record) *refusal {
	raw, ok := bearer(r.Header.Get("Authorization"))
	if !ok {
		return &refusal{status: http.StatusUnauthorized, told: "a bearer token is required", verdict: audit.Unauthenticated}
	}
	claims, err := s.cfg.Verifier.Verify(r.Context(), raw)
	if err != nil {
		return refuseToken(err, record)
	}
	record.Subject, record.Issuer, record.TokenID = claims.Subject, claims.Issuer, claims.ID
	// A token that is bound to a certificate (RFC 8705) is stolen goods without it.
	if claims.CertificateHash != "" && !shows(r, claims.CertificateHash) {
		return &refusal{status: http.StatusUnauthorized, told: "the token is bound to a certificate that this connection does not show", verdict: audit.Unauthenticated}
	}
	record.Namespace = r.Header.Get(headerNamespace)
	if path := r.PathValue("namespace"); path != "" {
		if record.Namespace != "" && record.Namespace != path {
			return &refusal{status: http.StatusBadRequest, told: "path and " + headerNamespace + " name two namespaces", verdict: audit.Deny}
		}
		record.Namespace = path
	}
	if record.Namespace == "" {
		return &refusal{status: http.StatusBadRequest, told: "header " + headerNamespace + " is missing", verdict: audit.Deny}
	}
	if want := s.needs(api); !holds(claims.Permissions, record.Namespace, want) {
		return &refusal{status: http.StatusForbidden, told: "missing role: " + string(want[0]), verdict: audit.Deny}
	}
	return nil
}

// convert reads the body, converts its payloads and returns the answer.
func (s *Server) convert(w http.ResponseWriter, r *http.Request, convert func([]*commonpb.Payload) ([]*commonpb.Payload, error)) ([]byte, *refusal) {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return nil, &refusal{status: http.StatusUnsupportedMediaType, told: "the body must be application/json"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.cfg.MaxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &refusal{status: http.StatusRequestEntityTooLarge, told: fmt.Sprintf("the body is larger than %d bytes", s.cfg.MaxBody)}
	case err != nil:
		return nil, &refusal{status: http.StatusBadRequest, told: "the body cannot be read"}
	}
	var in commonpb.Payloads
	// Clients differ in what they send besides; unknown members carry no payload.
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, &in); err != nil {
		return nil, &refusal{status: http.StatusBadRequest, told: "the body is no list of payloads"}
	}
	if len(in.Payloads) > maxPayloads {
		return nil, &refusal{status: http.StatusRequestEntityTooLarge, told: fmt.Sprintf("%d payloads, at most %d", len(in.Payloads), maxPayloads)}
	}
	out := commonpb.Payloads{Payloads: make([]*commonpb.Payload, 0, len(in.Payloads))}
	size := 0
	// One by one, so that what a small body unfolds into is bounded as a whole.
	for i, p := range in.Payloads {
		converted, err := convert([]*commonpb.Payload{p})
		if err != nil {
			return nil, &refusal{status: statusOf(err), told: fmt.Sprintf("payload %d of %d: %s", i+1, len(in.Payloads), cause(err))}
		}
		if size += proto.Size(converted[0]); size > s.cfg.MaxDecoded {
			return nil, &refusal{status: http.StatusRequestEntityTooLarge, told: fmt.Sprintf("the payloads become larger than %d bytes", s.cfg.MaxDecoded)}
		}
		out.Payloads = append(out.Payloads, converted[0])
	}
	answer, err := protojson.Marshal(&out)
	if err != nil {
		s.cfg.Logger.Error("codec answer cannot be written", "error", err)
		return nil, &refusal{status: http.StatusInternalServerError, told: "the answer cannot be written"}
	}
	return answer, nil
}

// cause is the class of a codec error. The rest of its text is not for callers.
func cause(err error) string {
	for _, known := range []error{ErrUnknownKey, ErrCorrupt, ErrNotEncrypted, ErrTooLarge} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "cannot be converted"
}

func statusOf(err error) int {
	if errors.Is(err, ErrTooLarge) {
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusUnprocessableEntity
}

func (no *refusal) write(w http.ResponseWriter) {
	switch no.status { // RFC 6750 section 3
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="tenon codec", error="invalid_token"`)
	case http.StatusForbidden:
		w.Header().Set("WWW-Authenticate", `Bearer realm="tenon codec", error="insufficient_scope"`)
	}
	http.Error(w, no.told, no.status)
}

// bearer returns the token of "Bearer <token>" (RFC 6750 section 2.1; the
// scheme's case does not matter, RFC 9110 section 11.1).
func bearer(header string) (string, bool) {
	scheme, raw, ok := strings.Cut(header, " ")
	raw = strings.TrimLeft(raw, " ")
	return raw, ok && raw != "" && strings.EqualFold(scheme, "bearer")
}

// shows reports whether the connection's client certificate, verified, has the
// hash (base64url of SHA-256).
func shows(r *http.Request, hash string) bool {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return false
	}
	sum := sha256.Sum256(r.TLS.VerifiedChains[0][0].Raw)
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(hash)) == 1
}

// peer is the caller's address as a net.Addr; nil if it is none.
func peer(address string) net.Addr {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil
	}
	return net.TCPAddrFromAddrPort(a)
}
