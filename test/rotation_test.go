package test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"golang.org/x/sync/errgroup"

	"github.com/tenonhq/tenon/internal/cluster/access/audit"
	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/pki"
	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/token"
	"github.com/tenonhq/tenon/sdk"
)

// rotationLoad is how long calls go on while everything is rotated.
const rotationLoad = 150 * time.Second

// TestRotationUnderLoad renews every certificate, rolls both authorities and
// replaces the signing key while 200 calls a second go on, on old connections
// and on new ones. None may fail.
func TestRotationUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("takes two and a half minutes")
	}
	t.Parallel()
	s := startCluster(t)
	// Not a deadline: the server would be told of it, and be the first to find a call
	// too late.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer time.AfterFunc(rotationLoad, cancel).Stop()
	load := startLoad(ctx, t, s.dir, 200)

	certs, err := daemon.OpenCerts(s.dir, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	issuer, err := daemon.OpenIssuer(s.dir, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	var rotated []string
	for _, leaf := range []string{pki.ServerLeaf, pki.ClientLeaf, pki.InternodeLeaf} {
		_, err := certs.RotateLeaf(ctx, leaf)
		require.NoError(t, err)
		rotated = append(rotated, leaf)
	}
	require.NoError(t, issuer.Rotate(ctx))
	rotated = append(rotated, "signing key")
	// Whole rolls, to the end: the old root signs nothing and is trusted by nobody.
	var rolls errgroup.Group
	for _, authority := range []pki.Authority{pki.CA, pki.InternodeCA} {
		before, err := certs.Rotation(authority)
		require.NoError(t, err)
		rolls.Go(func() error {
			after, err := certs.RollCA(ctx, authority)
			if err == nil && (after.Phase != pki.Steady || after.Signing.Fingerprint == before.Signing.Fingerprint) {
				err = fmt.Errorf("%s is %s after its roll, signed by %s", authority, after.Phase, after.Signing.Subject)
			}
			return err
		})
	}
	require.NoError(t, rolls.Wait())
	rotated = append(rotated, "both authorities")
	require.NoError(t, issuer.Rotate(ctx))

	log, err := daemon.AuditLog(s.dir)
	require.NoError(t, err)
	load.done.Wait()
	require.NoError(t, audit.Scan(log.Dir, time.Time{}, func(r *audit.Record) error {
		if r.Verdict != audit.Allow {
			t.Errorf("refused during the rotation: %s %s %s %s: %s", r.Time.Format(time.StampMilli), r.API, r.Subject, r.TokenID, r.Reason)
		}
		return nil
	}))
	calls := load.wait(t)
	t.Logf("%d calls without a failure over the rotation of %v", calls, rotated)
	require.Greater(t, calls, int64(rotationLoad.Seconds()*200*0.9), "the load was not applied")
}

// TestRevocationOnLiveConnection revokes a token and a certificate whose owners
// are connected, and counts how long they still get through.
func TestRevocationOnLiveConnection(t *testing.T) {
	t.Parallel()
	s := startCluster(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	certs, err := daemon.OpenCerts(s.dir, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	issuer, err := daemon.OpenIssuer(s.dir, slog.New(slog.DiscardHandler))
	require.NoError(t, err)

	billing, err := certs.Issue(ctx, pki.IssueRequest{Role: pki.RoleWorker, Name: "billing"})
	require.NoError(t, err)
	raw, claims, err := issuer.Issue(ctx, token.IssueRequest{Subject: "billing", Role: token.RoleClient, Namespace: daemon.Namespace})
	require.NoError(t, err)
	raw2, _, err := issuer.Issue(ctx, token.IssueRequest{Subject: "billing", Role: token.RoleClient, Namespace: daemon.Namespace})
	require.NoError(t, err)

	first := dialWith(t, s, billing, raw)
	second := dialWith(t, s, billing, raw2)
	require.NoError(t, call(ctx, first))
	require.NoError(t, call(ctx, second))

	require.NoError(t, issuer.Revoke(ctx, claims.ID, "test"))
	requireRefusedWithin(ctx, t, first, 5*time.Second)
	require.NoError(t, call(ctx, second), "another token of the same subject is still good")

	_, err = certs.Revoke(ctx, billing.Info.Serial, pki.Superseded)
	require.NoError(t, err)
	requireRefusedWithin(ctx, t, second, 5*time.Second)
	require.NoError(t, call(ctx, s.client), "others are not concerned")
}

// requireRefusedWithin calls until it is refused, on the same connection.
func requireRefusedWithin(ctx context.Context, t *testing.T, c client.Client, limit time.Duration) {
	t.Helper()
	started := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for time.Since(started) < limit {
		err := call(ctx, c)
		var denied *serviceerror.PermissionDenied
		if errors.As(err, &denied) {
			t.Logf("refused after %s", time.Since(started).Round(10*time.Millisecond))
			return
		}
		require.NoError(t, err)
		<-tick.C
	}
	t.Fatalf("still served after %s", limit)
}

// call is one call past the SDK's own retries, which would hide a failure.
func call(ctx context.Context, c client.Client) error {
	_, err := c.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: daemon.Namespace})
	return err
}

// load is calls at a constant rate.
type load struct {
	calls  atomic.Int64
	failed chan error
	done   sync.WaitGroup
}

// startLoad calls rate times a second until ctx ends. A tenth of a second's
// calls are on a new connection.
func startLoad(ctx context.Context, t *testing.T, dir string, rate int) *load {
	t.Helper()
	l := &load{failed: make(chan error, 1)}
	fail := func(err error) {
		if err != nil && ctx.Err() == nil {
			select {
			case l.failed <- err:
			default:
			}
		}
	}
	cfg, err := sdk.FromDataDir(dir, sdk.Client)
	require.NoError(t, err)
	const callers = 10
	for range callers {
		c, err := dialPatiently(ctx, cfg)
		require.NoError(t, err)
		l.done.Go(func() {
			defer c.Close()
			tick := time.NewTicker(time.Second * callers / time.Duration(rate))
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					fail(call(ctx, c))
					l.calls.Add(1)
				}
			}
		})
	}
	l.done.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				c, err := dialPatiently(ctx, cfg)
				if err != nil {
					fail(fmt.Errorf("new connection: %w", err))
					continue
				}
				fail(call(ctx, c))
				c.Close()
			}
		}
	})
	return l
}

// dialPatiently connects. That a busy machine takes more than the SDK's five
// seconds for a handshake is no refusal.
func dialPatiently(ctx context.Context, cfg sdk.Config) (client.Client, error) {
	opts, err := sdk.Options(cfg)
	if err != nil {
		return nil, err
	}
	opts.ConnectionOptions.GetSystemInfoTimeout = time.Minute
	return client.DialContext(ctx, opts)
}

// reach returns when so many calls were made.
func (l *load) reach(t *testing.T, calls int64) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for l.calls.Load() < calls {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("the load was not applied")
		}
	}
}

func (l *load) wait(t *testing.T) int64 {
	t.Helper()
	l.done.Wait()
	select {
	case err := <-l.failed:
		t.Fatalf("a call failed: %v", err)
	default:
	}
	return l.calls.Load()
}

// dialWith connects with a certificate and a token of the caller's own.
func dialWith(t *testing.T, s *stack, cert *pki.Issued, raw secret.Value) client.Client {
	t.Helper()
	dir := t.TempDir()
	cfg, err := sdk.FromDataDir(s.dir, sdk.Client)
	require.NoError(t, err)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, secret.WriteFile(path, []byte(text)))
		return path
	}
	cfg.CertFile = write("c.crt", string(cert.CertificatePEM))
	cfg.KeyFile = write("c.key", cert.KeyPEM.Reveal())
	cfg.TokenFile = write("t.jwt", raw.Reveal())
	c, err := sdk.Dial(context.Background(), cfg)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}
