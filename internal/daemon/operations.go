package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/pki"
)

// operations serves what other services need to know of this cluster, over
// HTTPS: the public keys of its tokens, and metrics. Both are without secrets
// and without authentication; metrics name callers, so they are served to
// loopback only.
type operations struct {
	listener net.Listener
	server   *http.Server
}

func newOperations(address string, s *security) (*operations, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, &config.Error{Problem: "cannot serve keys and metrics on " + address, Err: err, Hint: "choose another address with --operations-address"}
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{s})
	mux := http.NewServeMux()
	mux.Handle("GET /.well-known/jwks.json", s.issuer.Handler())
	mux.Handle("GET /metrics", loopbackOnly(promhttp.HandlerFor(registry, promhttp.HandlerOpts{})))
	return &operations{listener: listener, server: &http.Server{
		Handler: mux, TLSConfig: s.certs.ServerTLS(pki.HTTPS),
		ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}}, nil
}

// loopbackOnly refuses callers from other machines.
func loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			http.Error(w, "metrics are served to loopback only", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Run serves until ctx ends.
func (o *operations) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = o.server.Close() })
	defer stop()
	err := o.server.Serve(tls.NewListener(o.listener, o.server.TLSConfig))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve keys and metrics: %w", err)
}

func (o *operations) close() error {
	if err := o.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// collector turns what security counts into metrics when they are asked for.
type collector struct{ *security }

var (
	certificateExpiry = prometheus.NewDesc("tenon_certificate_expiry_timestamp_seconds", "When a certificate of the data directory expires.", []string{"name", "kind", "state"}, nil)
	decisions         = prometheus.NewDesc("tenon_access_decisions_total", "Decisions on calls, by verdict.", []string{"verdict"}, nil)
	unrecorded        = prometheus.NewDesc("tenon_audit_unrecorded_total", "Decisions that the audit log did not take.", nil, nil)
	deniedPolls       = prometheus.NewDesc("tenon_denied_polls_total", "Polls that were refused: workers that are up and idle.", []string{"subject", "namespace", "task_queue"}, nil)
	deniedPollLast    = prometheus.NewDesc("tenon_denied_poll_last_timestamp_seconds", "When a worker's poll was last refused.", []string{"subject", "namespace", "task_queue"}, nil)
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{certificateExpiry, decisions, unrecorded, deniedPolls, deniedPollLast} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	for _, cert := range c.certs.Show() {
		// Two roots of an authority share its name while it is rolled; the serial
		// number keeps them apart.
		ch <- prometheus.MustNewConstMetric(certificateExpiry, prometheus.GaugeValue, float64(cert.NotAfter.Unix()), cert.Name+"/"+cert.Serial, cert.Kind, cert.State)
	}
	stats := c.access.Stats()
	for verdict, n := range map[string]uint64{"allow": stats.Allowed, "deny": stats.Denied, "unauthenticated": stats.Unauthenticated} {
		ch <- prometheus.MustNewConstMetric(decisions, prometheus.CounterValue, float64(n), verdict)
	}
	ch <- prometheus.MustNewConstMetric(unrecorded, prometheus.CounterValue, float64(stats.Unrecorded))
	type poller struct{ subject, namespace, queue string }
	seen := map[poller]int{}
	for _, p := range c.access.DeniedPollers() {
		// The same subject may come with several certificates.
		key := poller{p.Subject, p.Namespace, p.TaskQueue}
		if seen[key]++; seen[key] > 1 {
			continue
		}
		ch <- prometheus.MustNewConstMetric(deniedPolls, prometheus.CounterValue, float64(p.Count), p.Subject, p.Namespace, p.TaskQueue)
		ch <- prometheus.MustNewConstMetric(deniedPollLast, prometheus.GaugeValue, float64(p.Last.Unix()), p.Subject, p.Namespace, p.TaskQueue)
	}
}
