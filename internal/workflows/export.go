package workflows

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/workflow"

	v1 "github.com/tenonhq/tenon/api/v1"
	"github.com/tenonhq/tenon/internal/engine"
)

// TypeExport reads a tenant and returns it as resources.
const TypeExport = "TenantExportWorkflow"

// ExportInput is the input of TenantExportWorkflow.
type ExportInput struct {
	// Tenant and Engine are as in TenantSetupInput.
	Tenant string `json:"tenant"`
	Engine string `json:"engine,omitempty"`
	// Kinds limits the export; empty means every kind but Auth0User.
	Kinds []string `json:"kinds,omitempty"`
}

// ExportID is the workflow id to start TenantExportWorkflow with. Exports change
// nothing, so any number may run side by side.
func ExportID(tenant string, at time.Time) string {
	return fmt.Sprintf("export/%s/%d", tenant, at.UnixNano())
}

// stepExport is the name of the only step.
const stepExport = "export"

// TenantExportWorkflow reads a tenant. Its result is a Zstandard stream (RFC
// 8878): a line with the warnings, as a JSON array, and a line of JSON for each
// resource. Read it with Export.
func TenantExportWorkflow(ctx workflow.Context, in ExportInput) ([]byte, error) {
	in.Engine = orDefault(in.Engine, DefaultEngine)
	s, err := newSaga(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	s.add(stepExport, "Read the tenant")
	var result []byte
	var p problems
	p.tenant(in.Tenant)
	if err = refuse(p); err == nil {
		err = s.do(ctx, stepExport, activityExportTenant, in, &result)
	}
	if err := s.finish(ctx, err); err != nil {
		return nil, err
	}
	return result, nil
}

// ExportTenant reads a tenant. Its result is TenantExportWorkflow's.
func (a *Activities) ExportTenant(ctx context.Context, in ExportInput) ([]byte, error) {
	e, err := a.engine(in.Engine)
	if err != nil {
		return nil, classify(ctx, err)
	}
	ctx, stop := beat(ctx)
	defer stop()
	export, err := e.Export(ctx, engine.ExportRequest{Tenant: in.Tenant, Kinds: in.Kinds})
	if err != nil {
		return nil, classify(ctx, err)
	}
	packed, err := packExport(export)
	return packed, classify(ctx, err)
}

func packExport(export *engine.Export) ([]byte, error) {
	warnings, err := json.Marshal(export.Warnings)
	if err != nil {
		return nil, err
	}
	lines := [][]byte{warnings}
	for _, r := range export.Resources {
		line, err := json.Marshal(r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", engine.KeyOf(r), err)
		}
		lines = append(lines, line)
	}
	packed, err := pack(lines)
	if err == nil && len(packed) > maxPayload {
		err = fmt.Errorf("%d resources take %d kB compressed, of %d kB at most; export some kinds at a time: %w", len(export.Resources), len(packed)>>10, maxPayload>>10, errTooLarge)
	}
	return packed, err
}

// Export runs TenantExportWorkflow and returns what it read. An empty engineName
// means "direct".
func Export(ctx context.Context, c client.Client, engineName string, req engine.ExportRequest) (*engine.Export, error) {
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: ExportID(req.Tenant, time.Now()), TaskQueue: TaskQueue},
		TypeExport, ExportInput{Tenant: req.Tenant, Engine: engineName, Kinds: req.Kinds})
	if err != nil {
		return nil, err
	}
	var packed []byte
	if err := run.Get(ctx, &packed); err != nil {
		return nil, err
	}
	return unpackExport(packed)
}

func unpackExport(packed []byte) (*engine.Export, error) {
	lines, err := unpack(packed, maxUnpacked)
	if err != nil {
		return nil, err
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("the export is empty")
	}
	export := &engine.Export{Resources: make([]v1.Resource, len(lines)-1)}
	if err := json.Unmarshal(lines[0], &export.Warnings); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	for i, line := range lines[1:] {
		if err := json.Unmarshal(line, &export.Resources[i]); err != nil {
			return nil, fmt.Errorf("export: resource %d: %w", i, err)
		}
	}
	return export, nil
}
