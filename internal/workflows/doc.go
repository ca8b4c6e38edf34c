// Package workflows owns the workflows of Tenon and the activities they call:
// what happens in which order, how often it is tried, and what is undone when
// it cannot be finished.
//
//	OnboardingWorkflow
//	  ├─ Auth0TenantSetupWorkflow   check credentials ─► plan ─► apply steps
//	  ├─ WebAppRegistrationWorkflow … ─► render settings ─► prove ─► push settings
//	  └─ UserRegistrationWorkflow   … ─► assign roles ─► tickets
//	ServiceRegistrationWorkflow     check credentials ─► plan ─► apply steps ─► prove
//
// The names, inputs, results, error types and the query "progress" are a public
// interface: a client in any language can start them, all fields are JSON in
// camelCase. What a resource is, is api/v1's; how it becomes real, an engine's
// (internal/engine); how one call to Auth0 is made, internal/auth0's.
//
// What must always hold:
//
//   - No secret is in an input, result, failure, heartbeat or progress. Secrets
//     go from the activity to the secret store, and results carry references.
//   - An input names a tenant or a Grafana by its address, and the worker's own
//     configuration says which credentials belong to it. A caller can thus never
//     make the worker send a credential to a place of the caller's choosing.
//   - Every activity may run again at any point: after a crash, a lost answer, a
//     timeout.
//   - Compensation for a step is registered before the step runs, because an
//     answer that was lost may be a success; it runs in reverse order, on a
//     context that the workflow's cancellation does not reach.
//   - Workflow code is deterministic; recorded histories (test/histories) replay.
package workflows
