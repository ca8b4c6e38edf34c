package auth0sim

import (
	"net/http"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

var moduleMissing = notFound("", "That action module does not exist.")

// microTime is how the modules API writes times.
func microTime(c *call) string { return c.Now().UTC().Format("2006-01-02T15:04:05.000000Z") }

func loadModule(c *call, id string) (doc, error) {
	d, found, err := c.Get("actions/modules", id)
	if err == nil && !found {
		err = moduleMissing
	}
	return d, err
}

// resolveModules completes an action's references to shared modules with their
// names and version numbers.
func resolveModules(c *call, d doc) error {
	given, has := d["modules"].([]any)
	if !has {
		return nil
	}
	out := []any{}
	for _, e := range given {
		ref, _ := e.(doc)
		m, err := loadModule(c, str(ref, "module_id"))
		if err != nil {
			return err
		}
		v, found, err := c.Get("actions/modules/versions", str(ref, "module_version_id"))
		if err != nil {
			return err
		}
		if !found {
			return notFound("", "That action module version does not exist.")
		}
		out = append(out, doc{"module_id": m["id"], "module_name": m["name"], "module_version_id": v["id"], "module_version_number": v["version_number"]})
	}
	d["modules"] = out
	return nil
}

// usingModule lists the actions that refer to a module.
func usingModule(c *call, id string) ([]any, error) {
	out := []any{}
	err := c.Scan("actions", func(d doc) (bool, error) {
		for _, e := range list(d, "modules") {
			if ref := e.(doc); str(ref, "module_id") == id {
				out = append(out, doc{"action_id": d["id"], "action_name": d["name"], "module_version_id": ref["module_version_id"], "module_version_number": ref["module_version_number"]})
			}
		}
		return true, nil
	})
	return out, err
}

func showModule(c *call, d doc) (any, error) {
	out := state.Public(d)
	using, err := usingModule(c, str(d, "id"))
	if err != nil {
		return nil, err
	}
	out["actions_using_module_total"] = len(using)
	return out, nil
}

func showModuleVersion(_ *call, v doc) (any, error) { return state.Public(v), nil }

func createModuleVersion(c *call, d doc) (doc, error) {
	count, err := c.Count("actions/modules/versions", state.ListOptions{Index: "module_id", Value: str(d, "id")})
	if err != nil {
		return nil, err
	}
	v := doc{"id": c.NewID(state.UUID), "module_id": d["id"], "version_number": float64(count + 1), "created_at": microTime(c)}
	for _, k := range []string{"code", "secrets", "dependencies"} {
		v[k] = state.Clone(d[k])
	}
	v[state.Private] = doc{"secrets": state.Clone(obj(state.PrivateOf(d), "secrets"))}
	if err := c.Put("actions/modules/versions", str(v, "id"), v); err != nil {
		return nil, err
	}
	d["latest_version"] = doc{"id": v["id"], "version_number": v["version_number"], "code": v["code"], "secrets": v["secrets"], "dependencies": v["dependencies"]}
	d["all_changes_published"] = true
	return v, c.Put("actions/modules", str(d, "id"), d)
}

func moduleHandlers() map[string]handler {
	answerModule := func(c *call, status int, d doc) (answer, error) {
		v, err := showModule(c, d)
		return answer{status: status, body: v}, err
	}
	withModule := func(do func(*call, doc) (answer, error)) handler {
		return func(c *call) (answer, error) {
			d, err := loadModule(c, c.params[0])
			if err != nil {
				return answer{}, err
			}
			return do(c, d)
		}
	}
	pageOf := func(c *call, l listing) (answer, error) {
		p := c.paging(50)
		docs, err := c.selectDocs(l, p.page*p.perPage, p.perPage)
		if err != nil {
			return answer{}, err
		}
		items := []any{}
		for _, d := range docs {
			v, err := l.show(c, d)
			if err != nil {
				return answer{}, err
			}
			items = append(items, v)
		}
		total := 0
		if len(items) > 0 {
			if total, err = c.total(l); err != nil {
				return answer{}, err
			}
		}
		return ok(doc{l.wrap: items, "total": total, "page": p.page, "per_page": p.perPage})
	}
	return map[string]handler{
		"GET /actions/modules": func(c *call) (answer, error) {
			return pageOf(c, listing{family: "actions/modules", wrap: "modules", show: showModule})
		},
		"POST /actions/modules": func(c *call) (answer, error) {
			body := state.Clone(c.object())
			secrets, publish := list(body, "secrets"), boolean(body, "publish")
			delete(body, "secrets")
			delete(body, "publish")
			if others, err := c.Find("actions/modules", "name", str(body, "name")); err != nil {
				return answer{}, err
			} else if len(others) > 0 {
				return answer{}, conflict("", "An action module with that name already exists.")
			}
			now := microTime(c)
			fillGaps(body, doc{"dependencies": []any{}, "code": "", "all_changes_published": false})
			body["id"], body["created_at"], body["updated_at"] = c.NewID(state.UUID), now, now
			setSecrets(body, secrets, now)
			if err := c.Put("actions/modules", str(body, "id"), body); err != nil {
				return answer{}, err
			}
			if publish {
				if _, err := createModuleVersion(c, body); err != nil {
					return answer{}, err
				}
			}
			return answerModule(c, http.StatusCreated, body)
		},
		"GET /actions/modules/{}": withModule(func(c *call, d doc) (answer, error) { return answerModule(c, http.StatusOK, d) }),
		"PATCH /actions/modules/{}": withModule(func(c *call, d doc) (answer, error) {
			body := state.Clone(c.object())
			secrets, hasSecrets := body["secrets"].([]any)
			delete(body, "secrets")
			merge(d, body, nil, nil)
			d["updated_at"], d["all_changes_published"] = microTime(c), false
			if hasSecrets {
				setSecrets(d, secrets, microTime(c))
			}
			if err := c.Put("actions/modules", c.id(), d); err != nil {
				return answer{}, err
			}
			return answerModule(c, http.StatusOK, d)
		}),
		"DELETE /actions/modules/{}": withModule(func(c *call, d doc) (answer, error) {
			using, err := usingModule(c, c.id())
			if err != nil {
				return answer{}, err
			}
			if len(using) > 0 {
				return answer{}, refuse(http.StatusPreconditionFailed, "", "The action module is in use by one or more actions.")
			}
			if _, err := c.DeleteWhere("actions/modules/versions", "module_id", c.id()); err != nil {
				return answer{}, err
			}
			if _, err := c.Delete("actions/modules", c.id()); err != nil {
				return answer{}, err
			}
			return noContent()
		}),
		"GET /actions/modules/{}/actions": withModule(func(c *call, _ doc) (answer, error) {
			using, err := usingModule(c, c.params[0])
			if err != nil {
				return answer{}, err
			}
			p := c.paging(50)
			page := using[min(p.page*p.perPage, len(using)):]
			page = page[:min(p.perPage, len(page))]
			out := doc{"actions": page, "per_page": p.perPage}
			if len(page) > 0 {
				out["total"] = len(using)
			}
			if p.page > 0 {
				out["page"] = p.page
			}
			return ok(out)
		}),
		"GET /actions/modules/{}/versions": withModule(func(c *call, _ doc) (answer, error) {
			return pageOf(c, listing{family: "actions/modules/versions", index: "module_id", value: c.params[0], wrap: "versions", newestFirst: true, show: showModuleVersion})
		}),
		"POST /actions/modules/{}/versions": withModule(func(c *call, d doc) (answer, error) {
			v, err := createModuleVersion(c, d)
			return answer{status: http.StatusOK, body: state.Public(v)}, err
		}),
		"GET /actions/modules/{}/versions/{}": withModule(func(c *call, _ doc) (answer, error) {
			v, found, err := c.Get("actions/modules/versions", c.params[1])
			if err != nil {
				return answer{}, err
			}
			if !found || str(v, "module_id") != c.params[0] {
				return answer{}, notFound("", "That action module version does not exist.")
			}
			return ok(state.Public(v))
		}),
		"POST /actions/modules/{}/rollback": withModule(func(c *call, d doc) (answer, error) {
			v, found, err := c.Get("actions/modules/versions", str(c.object(), "module_version_id"))
			if err != nil {
				return answer{}, err
			}
			if !found || str(v, "module_id") != c.params[0] {
				return answer{}, notFound("", "That action module version does not exist.")
			}
			for _, k := range []string{"code", "dependencies", "secrets"} {
				d[k] = v[k]
			}
			state.PrivateOf(d)["secrets"] = obj(state.PrivateOf(v), "secrets")
			d["updated_at"] = microTime(c)
			if err := c.Put("actions/modules", c.params[0], d); err != nil {
				return answer{}, err
			}
			return answerModule(c, http.StatusOK, d)
		}),
	}
}
