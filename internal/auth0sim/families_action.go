package auth0sim

import (
	"net/http"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

var actionMissing = notFound("", "That action does not exist.")

// buildTime is how long an action that nobody looks at takes to be built.
const buildTime = 2 * time.Second

// buildLooks is how often a draft with packages is seen being built.
const buildLooks = 4

// trigger is an extensibility point.
type trigger struct {
	id, version, status string
	runtimes            []any
	runtime             string
}

var triggers = []trigger{
	{"post-login", "v3", "CURRENT", []any{"node12", "node18-actions", "node22"}, "node22"},
	{"credentials-exchange", "v2", "CURRENT", []any{"node12", "node18-actions", "node22"}, "node22"},
	{"pre-user-registration", "v2", "CURRENT", []any{"node12", "node18-actions", "node22"}, "node22"},
	{"post-user-registration", "v2", "CURRENT", []any{"node12", "node18-actions", "node22"}, "node22"},
	{"post-change-password", "v2", "CURRENT", []any{"node12", "node18-actions", "node22"}, "node22"},
	{"send-phone-message", "v2", "CURRENT", []any{"node12", "node18-actions", "node22"}, "node22"},
	{"password-reset-post-challenge", "v1", "CURRENT", []any{"node18-actions", "node22"}, "node22"},
	{"custom-phone-provider", "v1", "CURRENT", []any{"node18-actions", "node22"}, "node22"},
	{"custom-email-provider", "v1", "CURRENT", []any{"node18-actions", "node22"}, "node22"},
	{"custom-token-exchange", "v1", "CURRENT", []any{"node18-actions", "node22"}, "node22"},
	{"event-stream", "v1", "CURRENT", []any{"node18-actions", "node22"}, "node22"},
	{"password-hash-migration", "v1", "CURRENT", []any{"node22"}, "node22"},
	{"mcp-tool", "v1", "CURRENT", []any{"node22"}, "node22"},
}

func actionFamilies() []*family { return nil }

func nanoTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000000Z") }

// actionPage shapes the listings of the actions API: always an object, with
// the page's numbers left out where they are zero.
func (c *call) actionPage(l listing, fallback int) (answer, error) {
	p := c.paging(fallback)
	docs, err := c.selectDocs(l, p.page*p.perPage, p.perPage)
	if err != nil {
		return answer{}, err
	}
	total, err := c.total(l)
	if err != nil {
		return answer{}, err
	}
	items := make([]any, 0, len(docs))
	for _, d := range docs {
		v, err := l.show(c, d)
		if err != nil {
			return answer{}, err
		}
		items = append(items, v)
	}
	out := doc{l.wrap: items, "per_page": p.perPage}
	if total > 0 && len(items) > 0 {
		out["total"] = total
	}
	if p.page > 0 {
		out["page"] = p.page
	}
	return ok(out)
}

func loadAction(c *call, id string) (doc, error) {
	d, found, err := c.Get("actions", id)
	if err == nil && !found {
		err = actionMissing
	}
	return d, err
}

// setSecrets stores the values of secrets under the private part and leaves
// names and times; a secret without a value keeps the one it had.
func setSecrets(d doc, given []any, now string) {
	private := state.PrivateOf(d)
	had := obj(private, "secrets")
	times := map[string]any{}
	var order []string
	for _, e := range list(d, "secrets") {
		if s, isObject := e.(doc); isObject {
			times[str(s, "name")] = s["updated_at"]
			order = append(order, str(s, "name"))
		}
	}
	values := doc{}
	for _, e := range given {
		s, _ := e.(doc)
		name := str(s, "name")
		if value, set := s["value"]; set {
			values[name], times[name] = value, now
		} else {
			values[name] = had[name]
		}
		if !has(order, name) {
			order = append(order, name)
		}
	}
	shown := []any{}
	for _, name := range order {
		if _, kept := values[name]; kept {
			shown = append(shown, doc{"name": name, "updated_at": times[name]})
		}
	}
	private["secrets"], d["secrets"] = values, shown
}

func createAction(c *call) (answer, error) {
	now := nanoTime(c.Now())
	body := state.Clone(c.object())
	deploy := boolean(body, "deploy")
	delete(body, "deploy")
	secrets := list(body, "secrets")
	delete(body, "secrets")
	d := body
	supported, _ := first(list(d, "supported_triggers")).(doc)
	runtime := "node22"
	for _, t := range triggers {
		if t.id == str(supported, "id") {
			runtime = t.runtime
			if _, versioned := supported["version"]; !versioned {
				supported["version"] = t.version
			}
		}
	}
	fillGaps(d, doc{"dependencies": []any{}, "runtime": runtime, "code": ""})
	if others, err := c.Find("actions", "name", str(d, "name")); err != nil {
		return answer{}, err
	} else if len(others) > 0 {
		return answer{}, conflict("", "An action with that name already exists.")
	}
	if err := c.tenant.plan.entity(c, "actions"); err != nil {
		return answer{}, err
	}
	d["id"], d["created_at"], d["updated_at"], d["status"], d["all_changes_deployed"] = c.NewID(state.UUID), now, now, "pending", false
	setSecrets(d, secrets, now)
	if err := resolveModules(c, d); err != nil {
		return answer{}, err
	}
	if deploy {
		if _, err := deployAction(c, d); err != nil {
			return answer{}, err
		}
	}
	return answer{status: http.StatusCreated, body: showAction(d)}, c.Put("actions", str(d, "id"), d)
}

func showAction(d doc) doc {
	out := state.Public(d)
	if v := obj(out, "deployed_version"); v != nil {
		out["deployed_version"] = state.Public(v)
	}
	return out
}

func patchAction(c *call) (answer, error) {
	d, err := loadAction(c, c.id())
	if err != nil {
		return answer{}, err
	}
	body := state.Clone(c.object())
	secrets, hasSecrets := body["secrets"].([]any)
	delete(body, "secrets")
	now := nanoTime(c.Now())
	merge(d, body, nil, nil)
	d["updated_at"], d["status"], d["all_changes_deployed"] = now, "pending", false
	delete(state.PrivateOf(d), "looks")
	if hasSecrets {
		setSecrets(d, secrets, now)
	}
	if err := resolveModules(c, d); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, body: showAction(d)}, c.Put("actions", c.id(), d)
}

// advance moves a draft along its build: a build without packages is done when
// it is looked at, one with packages to install after some looks; time alone
// finishes it too.
func advance(c *call, d doc) (changed bool) {
	status := str(d, "status")
	if status == "built" || status == "failed" {
		return false
	}
	private := state.PrivateOf(d)
	looks, _ := private["looks"].(float64)
	updated, err := time.Parse(time.RFC3339Nano, str(d, "updated_at"))
	if err == nil && c.Now().Sub(updated) >= buildTime || len(list(d, "dependencies")) == 0 || looks >= buildLooks {
		d["status"] = "built"
		delete(private, "looks")
	} else {
		d["status"], private["looks"] = "building", looks+1
	}
	return true
}

func getAction(c *call) (answer, error) {
	d, err := loadAction(c, c.id())
	if err != nil {
		return answer{}, err
	}
	if advance(c, d) {
		if err := c.Put("actions", c.id(), d); err != nil {
			return answer{}, err
		}
	}
	return ok(showAction(d))
}

// deployAction makes the draft the deployed version and returns the version as
// the call that deploys shows it: not yet deployed.
func deployAction(c *call, d doc) (doc, error) {
	count, err := c.Count("actions/versions", state.ListOptions{Index: "action_id", Value: str(d, "id")})
	if err != nil {
		return nil, err
	}
	now := nanoTime(c.Now())
	version := doc{"id": c.NewID(state.UUID), "action_id": d["id"], "number": float64(count + 1), "deployed": false, "status": "built",
		"created_at": now, "updated_at": now}
	for _, k := range []string{"code", "dependencies", "runtime", "secrets", "supported_triggers", "modules"} {
		if v, has := d[k]; has {
			version[k] = state.Clone(v)
		}
	}
	version[state.Private] = doc{"secrets": state.Clone(obj(state.PrivateOf(d), "secrets"))}
	return version, publishVersion(c, d, version)
}

// publishVersion makes a version the one that runs.
func publishVersion(c *call, d, version doc) error {
	now := nanoTime(c.Now())
	stored := state.Clone(version)
	stored["deployed"], stored["built_at"], stored["updated_at"] = true, now, now
	if err := c.Put("actions/versions", str(version, "id"), stored); err != nil {
		return err
	}
	deployed := state.Public(stored)
	delete(deployed, "action_id")
	d["deployed_version"], d["all_changes_deployed"], d["status"] = deployed, true, "built"
	d["current_version"] = doc{"id": version["id"], "code": version["code"], "runtime": version["runtime"], "status": "BUILT", "number": version["number"],
		"build_time": now, "created_at": version["created_at"], "updated_at": now}
	return c.Put("actions", str(d, "id"), d)
}

func actionSummary(d doc) doc {
	out := doc{}
	for _, k := range []string{"id", "name", "supported_triggers", "created_at", "updated_at"} {
		out[k] = d[k]
	}
	out["all_changes_deployed"] = false
	return out
}

func showVersion(c *call, v doc) (any, error) {
	out := state.Public(v)
	delete(out, "action_id")
	d, _, err := c.Get("actions", str(v, "action_id"))
	if err != nil {
		return nil, err
	}
	out["deployed"] = str(obj(d, "deployed_version"), "id") == str(v, "id")
	out["action"] = actionSummary(d)
	return out, nil
}

func actionHandlers() map[string]handler {
	versionMissing := notFound("", "That version does not exist.")
	out := map[string]handler{
		"POST /actions/actions":     createAction,
		"PATCH /actions/actions/{}": patchAction,
		"GET /actions/actions/{}":   getAction,
		"GET /actions/actions": func(c *call) (answer, error) {
			trigger, name, deployed := c.query.Get("triggerId"), c.query.Get("actionName"), c.query.Get("deployed")
			l := listing{family: "actions", wrap: "actions", show: func(_ *call, d doc) (any, error) { return showAction(d), nil }}
			if trigger != "" {
				l.index, l.value = "trigger", trigger
			}
			if name != "" || deployed != "" {
				l.where = func(d doc) bool {
					return (name == "" || str(d, "name") == name) && (deployed == "" || (obj(d, "deployed_version") != nil) == (deployed == "true"))
				}
			}
			return c.actionPage(l, 20)
		},
		"DELETE /actions/actions/{}": func(c *call) (answer, error) {
			d, err := loadAction(c, c.id())
			if err != nil {
				return answer{}, err
			}
			if err := unbind(c, c.id(), c.flag("force")); err != nil {
				return answer{}, err
			}
			if _, err := c.DeleteWhere("actions/versions", "action_id", str(d, "id")); err != nil {
				return answer{}, err
			}
			if _, err := c.Delete("actions", c.id()); err != nil {
				return answer{}, err
			}
			return noContent()
		},
		"POST /actions/actions/{}/deploy": func(c *call) (answer, error) {
			d, err := loadAction(c, c.id())
			if err != nil {
				return answer{}, err
			}
			if updated, err := time.Parse(time.RFC3339Nano, str(d, "updated_at")); str(d, "status") != "built" && (err != nil || c.Now().Sub(updated) < buildTime) {
				return answer{}, refuse(http.StatusBadRequest, "", "A draft must be in the 'built' state before it can be deployed.")
			}
			version, err := deployAction(c, d)
			if err != nil {
				return answer{}, err
			}
			shown := state.Public(version)
			delete(shown, "action_id")
			shown["action"] = actionSummary(d)
			return ok(shown)
		},
		"POST /actions/actions/{}/test": func(c *call) (answer, error) {
			if _, err := loadAction(c, c.id()); err != nil {
				return answer{}, err
			}
			return ok(doc{"payload": obj(c.object(), "payload")})
		},
		"GET /actions/actions/{}/versions": func(c *call) (answer, error) {
			if _, err := loadAction(c, c.params[0]); err != nil {
				return answer{}, err
			}
			return c.actionPage(listing{family: "actions/versions", index: "action_id", value: c.params[0], wrap: "versions", newestFirst: true, show: showVersion}, 20)
		},
		"GET /actions/actions/{}/versions/{}": func(c *call) (answer, error) {
			v, found, err := c.Get("actions/versions", c.params[1])
			if err != nil {
				return answer{}, err
			}
			if !found || str(v, "action_id") != c.params[0] {
				return answer{}, versionMissing
			}
			shown, err := showVersion(c, v)
			return answer{status: http.StatusOK, body: shown}, err
		},
		"POST /actions/actions/{}/versions/{}/deploy": func(c *call) (answer, error) {
			d, err := loadAction(c, c.params[0])
			if err != nil {
				return answer{}, err
			}
			v, found, err := c.Get("actions/versions", c.params[1])
			if err != nil {
				return answer{}, err
			}
			if !found || str(v, "action_id") != c.params[0] {
				return answer{}, versionMissing
			}
			for _, k := range []string{"code", "dependencies", "runtime", "secrets"} {
				d[k] = v[k]
			}
			state.PrivateOf(d)["secrets"] = obj(state.PrivateOf(v), "secrets")
			version, err := deployAction(c, d)
			if err != nil {
				return answer{}, err
			}
			shown := state.Public(version)
			delete(shown, "action_id")
			shown["action"] = actionSummary(d)
			return answer{status: http.StatusAccepted, body: shown}, nil
		},
		"GET /actions/executions/{}": func(c *call) (answer, error) {
			d, found, err := c.Get("actions/executions", c.id())
			if err != nil {
				return answer{}, err
			}
			if !found {
				return answer{}, notFound("", "The execution does not exist.")
			}
			return ok(state.Public(d))
		},
		"GET /actions/triggers": func(c *call) (answer, error) {
			items := []any{}
			for _, t := range triggers {
				items = append(items, doc{"id": t.id, "version": t.version, "status": t.status, "runtimes": t.runtimes, "default_runtime": t.runtime, "compatible_triggers": []any{}})
			}
			return ok(doc{"triggers": items})
		},
		"GET /actions/triggers/{}/bindings":   getBindings,
		"PATCH /actions/triggers/{}/bindings": setBindings,
	}
	for key, do := range moduleHandlers() {
		out[key] = do
	}
	return out
}

func knownTrigger(id string) bool {
	for _, t := range triggers {
		if t.id == id {
			return true
		}
	}
	return false
}

func showBinding(c *call, b doc) (doc, error) {
	d, _, err := c.Get("actions", str(b, "action_id"))
	if err != nil {
		return nil, err
	}
	out := state.Public(b)
	delete(out, "action_id")
	action := showAction(d)
	action["all_changes_deployed"] = false
	out["action"] = action
	return out, nil
}

func getBindings(c *call) (answer, error) {
	if !knownTrigger(c.id()) {
		return answer{}, notFound("", "That trigger does not exist.")
	}
	d, _, err := c.Get("actions/triggers/bindings", c.id())
	if err != nil {
		return answer{}, err
	}
	all := list(d, "bindings")
	p := c.paging(20)
	page := all[min(p.page*p.perPage, len(all)):]
	page = page[:min(p.perPage, len(page))]
	items := []any{}
	for _, e := range page {
		v, err := showBinding(c, e.(doc))
		if err != nil {
			return answer{}, err
		}
		items = append(items, v)
	}
	out := doc{"bindings": items, "per_page": p.perPage}
	if len(items) > 0 {
		out["total"] = len(all)
	}
	if p.page > 0 {
		out["page"] = p.page
	}
	return ok(out)
}

func setBindings(c *call) (answer, error) {
	if !knownTrigger(c.id()) {
		return answer{}, notFound("", "That trigger does not exist.")
	}
	stored, _, err := c.Get("actions/triggers/bindings", c.id())
	if err != nil {
		return answer{}, err
	}
	had := map[string]doc{}
	for _, e := range list(stored, "bindings") {
		had[str(e.(doc), "id")] = e.(doc)
	}
	now := nanoTime(c.Now())
	bindings, items := []any{}, []any{}
	for _, e := range list(c.object(), "bindings") {
		given, _ := e.(doc)
		ref := obj(given, "ref")
		var d doc
		var found bool
		switch str(ref, "type") {
		case "action_name":
			d, found, err = c.FindOne("actions", "name", str(ref, "value"))
		case "binding_id":
			d, found, err = c.Get("actions", str(had[str(ref, "value")], "action_id"))
		default:
			d, found, err = c.Get("actions", str(ref, "value"))
		}
		if err != nil {
			return answer{}, err
		}
		if !found {
			return answer{}, actionMissing
		}
		if obj(d, "deployed_version") == nil {
			return answer{}, refuse(http.StatusBadRequest, "", "The action must be deployed before it can be bound to a trigger.")
		}
		// Replacing the list makes every binding anew.
		b := doc{"id": c.NewID(state.UUID), "trigger_id": c.id(), "action_id": d["id"], "created_at": now, "updated_at": now}
		name := str(given, "display_name")
		if name == "" {
			name = str(d, "name")
		}
		b["display_name"] = name
		bindings = append(bindings, b)
		v, err := showBinding(c, b)
		if err != nil {
			return answer{}, err
		}
		items = append(items, v)
	}
	if err := c.Put("actions/triggers/bindings", c.id(), doc{"bindings": bindings}); err != nil {
		return answer{}, err
	}
	return ok(doc{"bindings": items})
}

// unbind takes an action out of its triggers, or refuses if it is bound.
func unbind(c *call, action string, force bool) error {
	for _, t := range triggers {
		d, found, err := c.Get("actions/triggers/bindings", t.id)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		kept := []any{}
		for _, e := range list(d, "bindings") {
			if str(e.(doc), "action_id") != action {
				kept = append(kept, e)
			}
		}
		if len(kept) == len(list(d, "bindings")) {
			continue
		}
		if !force {
			return refuse(http.StatusBadRequest, "", "This action is currently bound to a trigger. Delete the binding first, or use force=true.")
		}
		d["bindings"] = kept
		if err := c.Put("actions/triggers/bindings", t.id, d); err != nil {
			return err
		}
	}
	return nil
}
