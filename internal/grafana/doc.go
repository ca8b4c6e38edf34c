// Package grafana owns an OIDC application's side of single sign-on, with
// Grafana as that application: the settings of its generic OAuth login, the
// files and the API call that carry them, and a relying party that reads those
// files and logs a person in as Grafana would.
//
//	Settings ─► Render ─► grafana.ini, grafana.env, compose.yaml ─► ReadConfig ─► Login
//	         └► SSOClient.Push ─► PUT /api/v1/sso-settings/generic_oauth
//
// The Auth0 client behind the settings is made by internal/workflows through
// internal/engine; this package never talks to the Management API.
//
// What must always hold: the client secret is in no file but grafana.env, which
// only its owner can read; what Grafana parses from a rendered file is exactly
// the value that was written, or Render refuses; a person without a known role
// is refused by Grafana, never let in with a default one.
package grafana
