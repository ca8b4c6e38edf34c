package main

import (
	"fmt"
	"os"
	"strings"
	"text/template"
)

// world is what a tenant should hold: n objects of the kinds that there are many
// of, in cells of ten. Versions differ in one object of a hundred.
type world struct {
	Roles, APIs, Clients []object
	Grants               []grant
	n                    int
}

type object struct{ Name, Description string }

type grant struct {
	Client, API string
	Scopes      []string
}

// newWorld is a world of n objects, a multiple of 100, in its first version, or
// in its second one.
func newWorld(n int, second bool) world {
	w := world{n: n}
	for i := range n / 10 {
		// Of every ten cells, one has one object changed, a different one each time.
		changed := -1
		if second && i%10 == 0 {
			changed = (i / 10) % 10
		}
		describe := func(what string, at int) string {
			if at == changed {
				return what + ", changed"
			}
			return what
		}
		w.Roles = append(w.Roles, object{fmt.Sprintf("role-%03d", i), describe("A role", 0)})
		w.APIs = append(w.APIs, object{fmt.Sprintf("api-%03d", i), describe(fmt.Sprintf("API %03d", i), 1)})
		for j := range 6 {
			w.Clients = append(w.Clients, object{fmt.Sprintf("client-%03d", 6*i+j), describe("A client", 2+j)})
		}
		for j := range 2 {
			g := grant{fmt.Sprintf("client-%03d", 6*i+j), fmt.Sprintf("api-%03d", i), []string{"read"}}
			if changed == 8+j {
				g.Scopes = append(g.Scopes, "write")
			}
			w.Grants = append(w.Grants, g)
		}
	}
	return w
}

// counts are the objects of the world by the simulator's family.
func (w world) counts() map[string]int {
	return map[string]int{"roles": len(w.Roles), "resource-servers": len(w.APIs), "clients": len(w.Clients), "client-grants": len(w.Grants)}
}

// The world in the languages of the tools. What each leaves out is the default of
// that tool.
var (
	manifests = language(`{{range .Roles}}---
apiVersion: tenon.dev/v1
kind: Auth0Role
metadata: {name: {{.Name}}}
spec: {description: "{{.Description}}"}
{{end}}{{range .APIs}}---
apiVersion: tenon.dev/v1
kind: Auth0ResourceServer
metadata: {name: {{.Name}}}
spec:
  identifier: https://{{.Name}}
  name: "{{.Description}}"
  scopes: [{name: read, description: Read}, {name: write, description: Write}]
{{end}}{{range .Clients}}---
apiVersion: tenon.dev/v1
kind: Auth0Client
metadata: {name: {{.Name}}}
spec:
  application_type: non_interactive
  description: "{{.Description}}"
  grant_types: [client_credentials]
{{end}}{{range .Grants}}---
apiVersion: tenon.dev/v1
kind: Auth0ClientGrant
metadata: {name: {{.Client}}-{{.API}}}
spec:
  client: {valueFrom: {kind: Auth0Client, name: {{.Client}}}}
  audience: {valueFrom: {kind: Auth0ResourceServer, name: {{.API}}}}
  scope: [{{join .Scopes ", "}}]
{{end}}`)

	deployCLI = language(`roles:{{if not .Roles}} []{{end}}
{{range .Roles}}  - {name: {{.Name}}, description: "{{.Description}}", permissions: []}
{{end}}resourceServers:{{if not .APIs}} []{{end}}
{{range .APIs}}  - {name: "{{.Description}}", identifier: "https://{{.Name}}", scopes: [{value: read, description: Read}, {value: write, description: Write}]}
{{end}}clients:{{if not .Clients}} []{{end}}
{{range .Clients}}  - {name: {{.Name}}, description: "{{.Description}}", app_type: non_interactive, grant_types: [client_credentials]}
{{end}}clientGrants:{{if not .Grants}} []{{end}}
{{range .Grants}}  - {client_id: {{.Client}}, audience: "https://{{.API}}", scope: [{{join .Scopes ", "}}]}
{{end}}`)

	terraform = language(`terraform {
  required_providers {
    auth0 = { source = "auth0/auth0" }
  }
}
{{range .Roles}}
resource "auth0_role" "{{.Name}}" {
  name        = "{{.Name}}"
  description = "{{.Description}}"
}
{{end}}{{range .APIs}}
resource "auth0_resource_server" "{{.Name}}" {
  identifier = "https://{{.Name}}"
  name       = "{{.Description}}"
}
resource "auth0_resource_server_scopes" "{{.Name}}" {
  resource_server_identifier = auth0_resource_server.{{.Name}}.identifier
  scopes {
    name        = "read"
    description = "Read"
  }
  scopes {
    name        = "write"
    description = "Write"
  }
}
{{end}}{{range .Clients}}
resource "auth0_client" "{{.Name}}" {
  name        = "{{.Name}}"
  description = "{{.Description}}"
  app_type    = "non_interactive"
  grant_types = ["client_credentials"]
}
{{end}}{{range .Grants}}
resource "auth0_client_grant" "{{.Client}}" {
  client_id  = auth0_client.{{.Client}}.id
  audience   = auth0_resource_server.{{.API}}.identifier
  scopes     = ["{{join .Scopes "\", \""}}"]
  depends_on = [auth0_resource_server_scopes.{{.API}}]
}
{{end}}`)
)

func language(text string) *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{"join": strings.Join}).Parse(text))
}

// write puts the world into a file in one of the languages.
func (w world) write(file string, in *template.Template) error {
	var text strings.Builder
	if err := in.Execute(&text, w); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text.String()), 0o600)
}
