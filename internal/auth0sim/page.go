package auth0sim

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"sort"
)

//go:embed page.html
var pageHTML string

// shownRows bounds each table of the page.
const shownRows = 50

// page shows a person the tenant.
func (k *control) page(w http.ResponseWriter, r *http.Request) {
	t := k.tenantOf(r)
	html, err := k.render(r, t)
	if err != nil {
		k.server.log.Error("the control page could not be rendered", "error", err)
		http.Error(w, "the page could not be rendered", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	// Everything on the page came from a client of the tenant; none of it may
	// run, and no other site may frame it.
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(html)
}

func (k *control) render(r *http.Request, t *tenant) ([]byte, error) {
	tmpl, err := template.New("page").Parse(pageHTML)
	if err != nil {
		return nil, err
	}
	counts, err := t.state.Families(r.Context())
	if err != nil {
		return nil, err
	}
	type family struct {
		Name  string
		Count int
	}
	var families []family
	for name, n := range counts {
		families = append(families, family{name, n})
	}
	sort.Slice(families, func(i, j int) bool { return families[i].Name < families[j].Name })
	mails, err := k.list(r.Context(), t, "outbox")
	if err != nil {
		return nil, err
	}
	stored, err := k.list(r.Context(), t, "events")
	if err != nil {
		return nil, err
	}
	type event struct{ Time, Type, ID, Data string }
	var events []event
	for _, e := range stored[:min(shownRows, len(stored))] {
		d := e.(doc)
		data, err := json.MarshalIndent(d["data"], "", "  ")
		if err != nil {
			return nil, err
		}
		events = append(events, event{str(d, "time"), str(d, "type"), str(d, "id"), string(data)})
	}
	requests := k.recent()
	requests = requests[max(0, len(requests)-shownRows):]
	slices.Reverse(requests)
	var others []string
	for _, o := range k.server.allTenants() {
		if o.name != t.name {
			others = append(others, o.name)
		}
	}
	var out bytes.Buffer
	err = tmpl.Execute(&out, map[string]any{
		"Tenant": t.name, "Domain": t.domain, "Plan": t.plan.name, "Now": k.server.store.Now().Format("2006-01-02 15:04:05"), "Others": others,
		"Families": families, "Faults": k.faults.all(), "Mails": mails[:min(shownRows, len(mails))], "Events": events, "Requests": requests,
	})
	return out.Bytes(), err
}

// secretQuery names query parameters that carry credentials or single-use
// links; the request log is not the place for them.
var secretQuery = []string{"code", "ticket", "id_token_hint", "token", "client_secret", "state", "invitation"}

func maskQuery(q url.Values) string {
	for _, name := range secretQuery {
		if q.Has(name) {
			q.Set(name, "*****")
		}
	}
	return q.Encode()
}
