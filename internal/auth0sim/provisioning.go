package auth0sim

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// The attribute mappings that inbound SCIM and directory provisioning begin
// with: "their name = Auth0's name" on each line.
//
//go:embed mapping_directory.txt
var directoryMapping string

//go:embed mapping_scim.txt
var scimMapping string

func defaultMapping(text, theirs string) []any {
	var out []any
	for line := range strings.Lines(text) {
		left, right, found := strings.Cut(strings.TrimSpace(line), " = ")
		if found {
			out = append(out, doc{theirs: left, "auth0": right})
		}
	}
	return out
}

// provisioning declares what the two ways of provisioning have in common: one
// document for each connection, under a path of its own.
type provisioning struct {
	path, store string
	mapping     string
	theirs      string
	stamps      [2]string // names of the created and the updated time
	defaults    doc
	supported   func(strategy string) bool
	unsupported *apiError
	tenantName  bool
}

func provisioningHandlers() map[string]handler {
	scim := provisioning{path: "/connections/{}/scim-configuration", store: "connections/scim-configuration", mapping: scimMapping, theirs: "scim",
		stamps: [2]string{"created_at", "updated_on"}, defaults: doc{"user_id_attribute": "externalId"}, tenantName: true,
		supported: func(s string) bool { return has([]string{"okta", "oidc", "samlp", "waad"}, s) },
		unsupported: notFound("", "This connection type does not support SCIM. Please see our documentation for the currently supported connection types: "+
			"https://auth0.com/docs/authenticate/protocols/scim/configure-inbound-scim.")}
	directory := provisioning{path: "/connections/{}/directory-provisioning", store: "connections/directory-provisioning", mapping: directoryMapping, theirs: "idp",
		stamps: [2]string{"created_at", "updated_at"}, defaults: doc{"synchronize_automatically": false, "synchronize_groups": "off"},
		supported:   func(s string) bool { return s == "google-apps" },
		unsupported: refuse(http.StatusBadRequest, "operation_not_supported", "This connection type does not support directory provisioning.")}
	out := scim.routes()
	for key, do := range directory.routes() {
		out[key] = do
	}
	groups := "/connections/{}/directory-provisioning/synchronized-groups"
	out["GET "+groups] = func(c *call) (answer, error) {
		d, err := loadGroups(c)
		if err != nil {
			return answer{}, err
		}
		return ok(pageOfGroups(list(d, "groups"), c.paging(50), c.query.Get("q")))
	}
	out["PUT "+groups] = func(c *call) (answer, error) { return changeGroups(c, func(_, given []any) []any { return given }) }
	out["POST "+groups] = func(c *call) (answer, error) { return changeGroups(c, union) }
	out["DELETE "+groups] = func(c *call) (answer, error) { return changeGroups(c, without) }
	out["POST /connections/{}/directory-provisioning/synchronizations"] = func(c *call) (answer, error) {
		if err := c.needs(directory.store, c.params[0], errNoRoute); err != nil {
			return answer{}, err
		}
		return answer{status: http.StatusCreated, body: doc{"connection_id": c.params[0], "synchronization_id": c.NewID(state.SynchronizationID), "status": "in_progress"}}, nil
	}
	out["GET /connections/{}/keys"] = connectionKeys
	out["POST /connections/{}/keys"] = func(c *call) (answer, error) {
		keys, _, err := c.Get("connections/keys", c.params[0])
		if err != nil {
			return answer{}, err
		}
		if len(list(keys, "keys")) > 0 {
			return answer{}, conflict("", "Keys already exist for this connection.")
		}
		a, err := connectionKeys(c)
		a.status = http.StatusCreated
		return a, err
	}
	out["POST /connections/{}/keys/rotate"] = rotateConnectionKeys
	return out
}

func (p provisioning) routes() map[string]handler {
	load := func(c *call) (doc, error) {
		if _, err := loadConnection(c); err != nil {
			return nil, err
		}
		d, found, err := c.Get(p.store, c.params[0])
		if err == nil && !found {
			err = errNoRoute
		}
		return d, err
	}
	return map[string]handler{
		"GET " + p.path: func(c *call) (answer, error) {
			d, err := load(c)
			if err != nil {
				return answer{}, err
			}
			return ok(d)
		},
		"GET " + p.path + "/default-mapping": func(c *call) (answer, error) {
			if _, err := loadConnection(c); err != nil {
				return answer{}, err
			}
			return ok(doc{"mapping": defaultMapping(p.mapping, p.theirs)})
		},
		"POST " + p.path: func(c *call) (answer, error) {
			con, err := loadConnection(c)
			if err != nil {
				return answer{}, err
			}
			if !p.supported(str(con, "strategy")) {
				return answer{}, p.unsupported
			}
			if _, exists, err := c.Get(p.store, c.params[0]); err != nil || exists {
				if err == nil {
					err = conflict("", "A configuration already exists for this connection.")
				}
				return answer{}, err
			}
			now := state.Timestamp(c.Now())
			d := state.Clone(c.object())
			fillGaps(d, state.Clone(p.defaults))
			fillGaps(d, doc{"mapping": defaultMapping(p.mapping, p.theirs)})
			d["connection_id"], d["connection_name"], d["strategy"] = con["id"], con["name"], con["strategy"]
			d[p.stamps[0]], d[p.stamps[1]] = now, now
			if p.tenantName {
				d["tenant_name"] = c.tenant.name
			}
			return answer{status: http.StatusCreated, body: d}, c.Put(p.store, c.params[0], d)
		},
		"PATCH " + p.path: func(c *call) (answer, error) {
			d, err := load(c)
			if err != nil {
				return answer{}, err
			}
			merge(d, state.Clone(c.object()), nil, nil)
			d[p.stamps[1]] = state.Timestamp(c.Now())
			return answer{status: http.StatusOK, body: d}, c.Put(p.store, c.params[0], d)
		},
		"DELETE " + p.path: func(c *call) (answer, error) {
			if _, err := c.Delete(p.store, c.params[0]); err != nil {
				return answer{}, err
			}
			return noContent()
		},
	}
}

// pageOfGroups lists groups in the order of their ids. The query is "name:" and a
// prefix with *, or a whole name; groups are called what the directory's id says.
func pageOfGroups(groups []any, p paging, query string) doc {
	groups = slices.Clone(groups)
	slices.SortFunc(groups, func(a, b any) int { return strings.Compare(str(a.(doc), "id"), str(b.(doc), "id")) })
	name, searched := strings.CutPrefix(query, "name:")
	prefix, open := strings.CutSuffix(name, "*")
	shown, last := []any{}, ""
	for _, g := range groups {
		id := str(g.(doc), "id")
		switch {
		case id <= p.from && p.from != "", searched && id != name && !(open && strings.HasPrefix(id, prefix)):
			continue
		case len(shown) == p.take:
			return doc{"groups": shown, "next": last}
		}
		shown, last = append(shown, g), id
	}
	return doc{"groups": shown}
}

func loadGroups(c *call) (doc, error) {
	if _, err := loadConnection(c); err != nil {
		return nil, err
	}
	d, found, err := c.Get("connections/synchronized-groups", c.params[0])
	if err != nil || found {
		return d, err
	}
	return doc{"groups": []any{}}, nil
}

func changeGroups(c *call, change func(have, given []any) []any) (answer, error) {
	d, err := loadGroups(c)
	if err != nil {
		return answer{}, err
	}
	given := list(c.object(), "groups")
	for i, e := range given {
		if o, _ := e.(doc); str(o, "id") == "" {
			return answer{}, badRequest("Payload validation error: 'Missing required property: id' on property groups[%d].", i)
		}
	}
	d["groups"] = change(list(d, "groups"), given)
	con, err := loadConnection(c)
	if err != nil {
		return answer{}, err
	}
	if err := synchronize(c, con, list(d, "groups")); err != nil {
		return answer{}, err
	}
	if err := c.Put("connections/synchronized-groups", c.params[0], d); err != nil {
		return answer{}, err
	}
	return noContent()
}

func union(have, given []any) []any {
	return append(without(have, given), given...)
}

func without(have, given []any) []any {
	drop := map[string]bool{}
	for _, e := range given {
		if o, isObject := e.(doc); isObject {
			drop[str(o, "id")] = true
		}
	}
	out := []any{}
	for _, e := range have {
		if o, isObject := e.(doc); isObject && !drop[str(o, "id")] {
			out = append(out, e)
		}
	}
	return out
}

// connectionKeys shows the signing keys of an OIDC or Okta connection: the
// current, the previous after a rotation, and the next. They are made when
// they are asked for.
func connectionKeys(c *call) (answer, error) {
	con, err := loadConnection(c)
	if err != nil {
		return answer{}, err
	}
	d, err := ensureConnectionKeys(c, con)
	if err != nil {
		return answer{}, err
	}
	return ok(d["keys"])
}

func ensureConnectionKeys(c *call, con doc) (doc, error) {
	d, found, err := c.Get("connections/keys", str(con, "id"))
	if err != nil || found {
		return d, err
	}
	var keys []any
	for _, role := range []string{"current", "next"} {
		key, err := newConnectionKey(c, str(con, "name"))
		if err != nil {
			return nil, err
		}
		key[role] = true
		if role == "current" {
			key["current_since"] = state.Timestamp(c.Now())
		}
		keys = append(keys, key)
	}
	d = doc{"connection_id": con["id"], "keys": keys}
	return d, c.Put("connections/keys", str(con, "id"), d)
}

func rotateConnectionKeys(c *call) (answer, error) {
	con, err := loadConnection(c)
	if err != nil {
		return answer{}, err
	}
	d, err := ensureConnectionKeys(c, con)
	if err != nil {
		return answer{}, err
	}
	var current, previous doc
	for _, e := range list(d, "keys") {
		switch k := e.(doc); {
		case boolean(k, "next"):
			delete(k, "next")
			k["current"], k["current_since"] = true, state.Timestamp(c.Now())
			current = k
		case boolean(k, "current"):
			delete(k, "current")
			delete(k, "current_since")
			k["previous"] = true
			previous = k
		}
	}
	next, err := newConnectionKey(c, str(con, "name"))
	if err != nil {
		return answer{}, err
	}
	next["next"] = true
	d["keys"] = []any{current, previous, next}
	return answer{status: http.StatusCreated, body: next}, c.Put("connections/keys", str(con, "id"), d)
}

// newConnectionKey makes the public face of a key. Nothing is ever signed with
// it, so the private half is not kept.
func newConnectionKey(c *call, name string) (doc, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("make connection key: %w", err)
	}
	now := c.Now()
	subject := pkix.Name{CommonName: name}
	template := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: subject, Issuer: subject, NotBefore: now.Add(-time.Minute), NotAfter: now.AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make connection certificate: %w", err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("make connection certificate: %w", err)
	}
	sum, kid := sha1.Sum(der), sha256.Sum256(spki)
	print := strings.ToUpper(hex.EncodeToString(sum[:]))
	var colons []string
	for i := 0; i < len(print); i += 2 {
		colons = append(colons, print[i:i+2])
	}
	cert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return doc{"kid": base64.RawURLEncoding.EncodeToString(kid[:]), "algorithm": "RS256", "key_use": "signing", "subject_dn": "/CN=" + name,
		"cert": cert, "fingerprint": strings.Join(colons, ":"), "thumbprint": print, "pkcs": strings.ReplaceAll(cert, "CERTIFICATE", "PKCS7")}, nil
}
