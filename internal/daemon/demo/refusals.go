package demo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	taskqueuepb "go.temporal.io/api/taskqueue/v1"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenonhq/tenon/internal/config"
	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/workflows"
)

// Refusal is one wrong caller and what became of it.
type Refusal struct {
	// Case says who asked for what.
	Case string `json:"case"`
	// Refused is whether the cluster refused, for the reason it should have.
	Refused bool `json:"refused"`
	// Error is what came back.
	Error string `json:"error"`
}

// intruder tries the calls that the cluster must refuse. It speaks gRPC without
// the Temporal SDK, as an attacker would.
type intruder struct {
	cluster config.ClusterEndpoints
	certs   string
	roots   *x509.CertPool
	pair    tls.Certificate
	// expired is a token that was good once, for the role that may do everything.
	expired secret.Value
}

func newIntruder(cluster config.ClusterEndpoints, certs string, expired secret.Value) (*intruder, error) {
	pem, err := os.ReadFile(filepath.Join(certs, "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("ca.crt holds no certificate")
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(certs, "temporal-client.crt"), filepath.Join(certs, "temporal-client.key"))
	if err != nil {
		return nil, err
	}
	return &intruder{cluster: cluster, certs: certs, roots: roots, pair: pair, expired: expired}, nil
}

// try makes every call and reports what came back. An error means that the
// attempts themselves could not be made.
func (in *intruder) try(ctx context.Context) ([]Refusal, error) {
	client, err := in.tokenFile("client-token.jwt")
	if err != nil {
		return nil, err
	}
	worker, err := in.tokenFile("worker-token.jwt")
	if err != nil {
		return nil, err
	}
	queue := &taskqueuepb.TaskQueue{Name: workflows.TaskQueue}
	attempts := []struct {
		name  string
		token secret.Value
		call  func(context.Context, workflowservice.WorkflowServiceClient) error
	}{
		{"certificate, but no token: list workflows", secret.Value{}, in.list},
		{"client token: create a namespace", client, func(ctx context.Context, c workflowservice.WorkflowServiceClient) error {
			_, err := c.RegisterNamespace(ctx, &workflowservice.RegisterNamespaceRequest{
				Namespace: "intruder", WorkflowExecutionRetentionPeriod: durationpb.New(24 * time.Hour),
			})
			return err
		}},
		{"client token: poll a task queue", client, func(ctx context.Context, c workflowservice.WorkflowServiceClient) error {
			_, err := c.PollWorkflowTaskQueue(ctx, &workflowservice.PollWorkflowTaskQueueRequest{
				Namespace: in.cluster.Namespace, TaskQueue: queue, Identity: "intruder",
			})
			return err
		}},
		{"expired system token: list workflows", in.expired, in.list},
		{"worker token: start a workflow", worker, func(ctx context.Context, c workflowservice.WorkflowServiceClient) error {
			_, err := c.StartWorkflowExecution(ctx, &workflowservice.StartWorkflowExecutionRequest{
				Namespace: in.cluster.Namespace, WorkflowId: "intruder", RequestId: "intruder", TaskQueue: queue,
				WorkflowType: &commonpb.WorkflowType{Name: "OnboardingWorkflow"},
			})
			return err
		}},
		{"worker token: list others' workflows", worker, in.list},
	}
	refusals := []Refusal{in.withoutCertificate(ctx)}
	for _, a := range attempts {
		err := in.call(ctx, a.token, a.call)
		r := Refusal{Case: a.name, Refused: status.Code(err) == codes.PermissionDenied, Error: served}
		if err != nil {
			r.Error = oneLine(err)
		}
		refusals = append(refusals, r)
	}
	return refusals, nil
}

// served is the error of a call that should have failed.
const served = "none: the call was served"

// withoutCertificate connects without a client certificate. In TLS 1.3 the
// client learns of the refusal only when it reads.
func (in *intruder) withoutCertificate(ctx context.Context) Refusal {
	r := Refusal{Case: "no certificate: connect", Error: served}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: in.roots, NextProtos: []string{"h2"}}}
	conn, err := dialer.DialContext(ctx, "tcp", in.cluster.Address)
	if err == nil {
		defer conn.Close() //nolint:errcheck // nothing was written
		deadline, _ := ctx.Deadline()
		if err = conn.SetReadDeadline(deadline); err == nil {
			_, err = conn.Read(make([]byte, 1))
		}
	}
	// The server's alert, as crypto/tls reports it. Any other failure, a server
	// that is not there for one, proves nothing.
	var alert *net.OpError
	r.Refused = errors.As(err, &alert) && alert.Op == "remote error" && strings.Contains(alert.Error(), "certificate")
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

func (in *intruder) list(ctx context.Context, c workflowservice.WorkflowServiceClient) error {
	_, err := c.ListWorkflowExecutions(ctx, &workflowservice.ListWorkflowExecutionsRequest{Namespace: in.cluster.Namespace})
	return err
}

func (in *intruder) tokenFile(name string) (secret.Value, error) {
	data, err := os.ReadFile(filepath.Join(in.certs, name))
	return secret.New(strings.TrimSpace(string(data))), err
}

// call makes one call with the good certificate, on a connection of its own.
func (in *intruder) call(ctx context.Context, token secret.Value, call func(context.Context, workflowservice.WorkflowServiceClient) error) error {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: in.roots, Certificates: []tls.Certificate{in.pair}}
	conn, err := grpc.NewClient(in.cluster.Address, grpc.WithTransportCredentials(credentials.NewTLS(cfg)))
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing was written
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if !token.IsZero() {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token.Reveal())
	}
	return call(ctx, workflowservice.NewWorkflowServiceClient(conn))
}

// oneLine is the error as a user of the Temporal SDK sees it, without gRPC's
// wrapping.
func oneLine(err error) string {
	text := status.Convert(err).Message()
	if e, ok := serviceerror.FromStatus(status.Convert(err)).(*serviceerror.PermissionDenied); ok && e.Reason != "" {
		text = fmt.Sprintf("%s (%s)", e.Message, e.Reason)
	}
	return strings.Join(strings.Fields(text), " ")
}
