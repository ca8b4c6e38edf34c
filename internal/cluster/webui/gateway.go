package webui

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/labstack/echo/v4"
	"github.com/temporalio/ui-server/v2/server/api"
	"github.com/temporalio/ui-server/v2/server/config"
	"github.com/temporalio/ui-server/v2/server/headers"
	"github.com/temporalio/ui-server/v2/server/route"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/temporalproto"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// maxAnswer bounds an answer of the frontend.
const maxAnswer = 64 << 20

// dial connects to the frontend. Each call on the connection carries the token
// of the session in its context; a call without one is not sent.
func dial(address string, cfg *tls.Config) (*grpc.ClientConn, error) {
	transport := insecure.NewCredentials()
	if cfg != nil {
		transport = credentials.NewTLS(cfg)
	}
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(transport),
		grpc.WithPerRPCCredentials(sessionToken{tls: cfg != nil}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)),
		grpc.WithDisableServiceConfig(),
	)
}

// sessionToken is the credential of each call: the session's, never this
// process's own.
type sessionToken struct{ tls bool }

var _ credentials.PerRPCCredentials = sessionToken{}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (sessionToken) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	raw, _ := ctx.Value(tokenKey{}).(string)
	if raw == "" {
		return nil, status.Error(codes.Unauthenticated, "not signed in")
	}
	return map[string]string{"authorization": "Bearer " + raw}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (t sessionToken) RequireTransportSecurity() bool { return t.tls }

// buildAPI takes from the stock UI server what needs no credential of its own:
// the translation of its API to gRPC, its settings, and how it renders
// Markdown. Its sign-in, its sessions and its download of histories, which would
// call the cluster without the person's token, are not among them.
func (s *Server) buildAPI() error {
	calls, err := config.NewConfigProviderWithRefresh(&config.Config{TemporalGRPCAddress: s.cfg.Frontend, HideLogs: true})
	if err != nil {
		return err
	}
	forward := []api.Middleware{headers.WithForwardHeaders([]string{"Caller-Type"})}
	s.api = serveEcho(func(e *echo.Echo) {
		e.Any("/api/v1/*", api.TemporalAPIHandler(calls, forward, s.conn))
	})
	s.settings = serveEcho(func(e *echo.Echo) { e.GET("/api/v1/settings", s.settingsOf) })
	render := serveEcho(func(e *echo.Echo) { route.SetRenderRoute(e, "/") })
	s.render = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Shown in a frame of the stock pages, under a policy that it sets itself.
		w.Header().Set("X-Frame-Options", "SAMEORIGIN")
		render.ServeHTTP(w, r)
	})
	s.history = http.HandlerFunc(s.downloadHistory)
	return nil
}

// settingsOf answers the stock pages' settings. They are told that there is a
// sign-in, so that they show who is signed in and offer to sign out; the API's
// handler is not, because it would then ask for tokens that only this server
// has. The first namespace is one that the person may see.
func (s *Server) settingsOf(c echo.Context) error {
	shown := &config.Config{
		TemporalGRPCAddress: s.cfg.Frontend, DefaultNamespace: s.cfg.Namespace, DisableNewsFetch: true,
		Auth: config.Auth{Enabled: true, RedirectToProvider: true},
	}
	if living, ok := c.Request().Context().Value(sessionInContext{}).(*session); ok {
		shown.DefaultNamespace = s.home(living)
	}
	provider, err := config.NewConfigProviderWithRefresh(shown)
	if err != nil {
		return err
	}
	return api.GetSettings(provider)(c)
}

func serveEcho(set func(*echo.Echo)) http.Handler {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Logger.SetOutput(io.Discard)
	set(e)
	return e
}

// historyPage is how many events the frontend likes to be asked for at once.
const historyPage = 200

// downloadHistory is the stock UI's download of a whole history, with the
// person's token instead of the server's identity. The first page is read
// before anything is answered, so that a refusal is a refusal.
func (s *Server) downloadHistory(w http.ResponseWriter, r *http.Request) {
	request := &workflowservice.GetWorkflowExecutionHistoryRequest{
		Namespace: r.PathValue("namespace"), MaximumPageSize: historyPage,
		Execution: &commonpb.WorkflowExecution{WorkflowId: r.PathValue("workflow"), RunId: r.PathValue("run")},
	}
	service := workflowservice.NewWorkflowServiceClient(s.conn)
	separator := "["
	for {
		answer, err := service.GetWorkflowExecutionHistory(r.Context(), request)
		if err != nil {
			s.historyFailed(w, r, separator == "[", err)
			return
		}
		if separator == "[" {
			w.Header().Set("Content-Type", "application/json")
		}
		for _, event := range answer.GetHistory().GetEvents() {
			text, err := (temporalproto.CustomJSONMarshalOptions{}).Marshal(event)
			if err != nil {
				s.historyFailed(w, r, separator == "[", err)
				return
			}
			if _, err := io.WriteString(w, separator+string(text)+"\n"); err != nil {
				return // the browser has gone
			}
			separator = ","
		}
		if request.NextPageToken = answer.GetNextPageToken(); len(request.NextPageToken) == 0 {
			break
		}
	}
	if separator == "[" {
		_, _ = io.WriteString(w, "[")
	}
	_, _ = io.WriteString(w, "]\n")
}

// historyFailed answers an error, or cuts off an answer that has begun: half a
// history must not look like a whole one.
func (s *Server) historyFailed(w http.ResponseWriter, r *http.Request, first bool, err error) {
	if !first {
		s.log.Warn("download of a history broke off", "error", err)
		panic(http.ErrAbortHandler)
	}
	st := serviceerror.ToStatus(serviceerror.FromStatus(status.Convert(err)))
	code := http.StatusBadGateway
	switch st.Code() {
	case codes.PermissionDenied:
		code = http.StatusForbidden
	case codes.Unauthenticated:
		code = http.StatusUnauthorized
	case codes.NotFound:
		code = http.StatusNotFound
	case codes.InvalidArgument:
		code = http.StatusBadRequest
	}
	if errors.Is(r.Context().Err(), context.Canceled) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"code": int(st.Code()), "message": st.Message()})
}
