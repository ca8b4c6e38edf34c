package config

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Services are the roles of a cluster's process.
var services = []string{"frontend", "internal-frontend", "history", "matching", "worker"}

// SearchAttributeTypes are the types that a search attribute may have.
var SearchAttributeTypes = []string{"Text", "Keyword", "Int", "Double", "Bool", "Datetime", "KeywordList"}

// checker gathers what is wrong with values that are well-formed by themselves.
type checker struct {
	file *File
	list Problems
}

// bad reports a problem at the value, or at the nearest thing around it that was
// written down.
func (c *checker) bad(key, format string, args ...any) {
	at := c.file.Origin(key)
	for outer := key; at == (Origin{}) && outer != ""; at = c.file.Origin(outer) {
		outer = outer[:max(0, strings.LastIndexAny(outer, ".["))]
		if outer == "" {
			at = Origin{File: c.file.path}
			break
		}
	}
	c.list = append(c.list, Problem{At: at.String(), Key: key, Text: fmt.Sprintf(format, args...), origin: at})
}

func (f *File) check() Problems {
	c := &checker{file: f}
	c.oneOf("log.level", f.Log.Level, "debug", "info", "warn", "error")
	c.oneOf("log.format", f.Log.Format, "text", "json")
	c.cluster()
	c.persistence()
	c.issuers()
	if f.Audit.Keep != 0 && f.Audit.Keep < 24*time.Hour {
		c.bad("audit.keep", "%s is less than a day", f.Audit.Keep)
	}
	c.address("operations.address", f.Operations.Address)
	c.webUI()
	return c.list
}

func (c *checker) oneOf(key, value string, allowed ...string) {
	if value != "" && !slices.Contains(allowed, value) {
		c.bad(key, "%q is not one of %s", value, strings.Join(allowed, ", "))
	}
}

func (c *checker) address(key, value string) {
	if value == "" {
		return
	}
	_, port, err := net.SplitHostPort(value)
	if err != nil {
		c.bad(key, "%q has not the form host:port", value)
		return
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		c.bad(key, "port %q is not a number from 0 to 65535", port)
	}
}

func (c *checker) present(key, path string) {
	if path != "" && absent(path) {
		c.bad(key, "%s does not exist", path)
	}
}

func (c *checker) cluster() {
	cl := c.file.Cluster
	c.address("cluster.address", cl.Address)
	c.oneOf("cluster.clientAuth", cl.ClientAuth, "certificate-and-token", "certificate-or-token", "token-only")
	c.present("cluster.accessRules", cl.AccessRules)
	for i, s := range cl.Services {
		if !slices.Contains(services, s) {
			c.bad(fmt.Sprintf("cluster.services[%d]", i), "%q is not one of %s", s, strings.Join(services, ", "))
		}
	}
	if cl.Shards < 0 || cl.Shards > 16384 {
		c.bad("cluster.shards", "%d is outside 1 to 16384", cl.Shards)
	}
	if m := cl.Membership; m != nil {
		if ip, err := netip.ParseAddr(m.BindIP); err != nil || ip.IsUnspecified() {
			c.bad("cluster.membership.bindIP", "%q is not an IP address that the other nodes can reach", m.BindIP)
		}
		for _, name := range slices.Sorted(maps.Keys(m.Ports)) {
			key := "cluster.membership.ports." + name
			if name == "frontend" || !slices.Contains(services, name) {
				c.bad(key, "is not one of %s (the frontend's port is that of cluster.address)", strings.Join(services[1:], ", "))
			} else if p := m.Ports[name]; p < 301 || p > 32767+300 {
				c.bad(key, "%d is outside 301 to 33067", p)
			}
		}
		if c.file.Persistence.PostgreSQL == nil {
			c.bad("cluster.membership", "several nodes need persistence.postgresql")
		}
	} else if len(cl.Services) > 0 {
		for _, s := range services {
			if !slices.Contains(cl.Services, s) {
				c.bad("cluster.services", "a process that does not run %s needs cluster.membership to find the one that does", s)
				break
			}
		}
	}
	seen := map[string]bool{}
	for i, n := range cl.Namespaces {
		key := fmt.Sprintf("cluster.namespaces[%d]", i)
		switch {
		case n.Name == "":
			c.bad(key+".name", "is missing")
		case strings.ContainsAny(n.Name, ": \t"):
			c.bad(key+".name", "%q contains a colon or a space", n.Name)
		case seen[n.Name]:
			c.bad(key+".name", "%q is given twice", n.Name)
		}
		seen[n.Name] = true
		if n.Retention != 0 && n.Retention < time.Hour {
			c.bad(key+".retention", "%s is less than an hour", n.Retention)
		}
		for _, name := range slices.Sorted(maps.Keys(n.SearchAttributes)) {
			c.oneOf(key+".searchAttributes."+name, n.SearchAttributes[name], SearchAttributeTypes...)
		}
	}
}

func (c *checker) persistence() {
	p := c.file.Persistence
	if p.PostgreSQL == nil {
		return
	}
	if p.SQLite != "" {
		c.bad("persistence", "sqlite and postgresql exclude each other")
	}
	const key = "persistence.postgresql"
	pg := p.PostgreSQL
	host, port, err := net.SplitHostPort(pg.Address)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || perr != nil || n == 0 {
		c.bad(key+".address", "%q has not the form host:port", pg.Address)
	}
	if pg.User == "" {
		c.bad(key+".user", "is missing")
	}
	ip, err := netip.ParseAddr(host)
	loopback := host == "localhost" || (err == nil && ip.IsLoopback())
	if pg.TLS == nil && !pg.Plaintext && host != "" && !loopback {
		c.bad(key+".tls", "is missing: password and histories would cross the network in the clear (tls: {} trusts the system's roots)")
	}
	if pg.TLS != nil {
		if (pg.TLS.CertFile == "") != (pg.TLS.KeyFile == "") {
			c.bad(key+".tls", "certFile and keyFile are given together or not at all")
		}
		c.present(key+".tls.caFile", pg.TLS.CAFile)
		c.present(key+".tls.certFile", pg.TLS.CertFile)
		c.present(key+".tls.keyFile", pg.TLS.KeyFile)
		if pg.Plaintext {
			c.bad(key+".plaintext", "tls is configured as well")
		}
	}
	if pg.Database != "" && pg.Database == pg.VisibilityDatabase {
		c.bad(key+".visibilityDatabase", "%q cannot hold both schemas", pg.Database)
	}
	if pg.MaxConns < 0 {
		c.bad(key+".maxConns", "%d is negative", pg.MaxConns)
	}
}

func (c *checker) issuers() {
	for i, is := range c.file.Issuers {
		key := fmt.Sprintf("issuers[%d]", i)
		if is.KeySource == "" {
			c.bad(key+".keySource", "is missing")
		}
		if len(is.Audience) == 0 {
			c.bad(key+".audience", "is missing: a token for another service must not open this one")
		}
		if is.Refresh != 0 && is.Refresh < time.Second {
			c.bad(key+".refresh", "%s is less than a second", is.Refresh)
		}
		if is.PermissionsClaim != "" && is.PermissionsExpression != "" {
			c.bad(key, "permissionsClaim and permissionsExpression exclude each other")
		}
		c.present(key+".caFile", is.CAFile)
	}
}

func (c *checker) webUI() {
	ui := c.file.WebUI
	c.address("webUI.address", ui.Address)
	if ui.PublicURL != "" {
		c.httpsURL("webUI.publicURL", ui.PublicURL)
	}
	if ui.Address != "" && ui.OIDC == nil {
		c.bad("webUI.oidc", "is missing: nobody could sign in")
	}
	if ui.OIDC == nil {
		return
	}
	const key = "webUI.oidc"
	if ui.OIDC.Issuer == "" {
		c.bad(key+".issuer", "is missing")
	} else {
		c.httpsURL(key+".issuer", ui.OIDC.Issuer)
	}
	if ui.OIDC.ClientID == "" {
		c.bad(key+".clientId", "is missing")
	}
	c.present(key+".caFile", ui.OIDC.CAFile)
	if len(ui.OIDC.Groups) == 0 && ui.OIDC.PermissionsClaim == "" && ui.OIDC.PermissionsExpression == "" {
		c.bad(key, "neither groups nor permissionsClaim says what people may do: everyone would be refused")
	}
	for _, group := range slices.Sorted(maps.Keys(ui.OIDC.Groups)) {
		for _, p := range ui.OIDC.Groups[group] {
			if namespace, role, ok := strings.Cut(p, ":"); !ok || namespace == "" || role == "" {
				c.bad(key+".groups."+group, "%q has not the form namespace:role", p)
			}
		}
	}
}

func (c *checker) httpsURL(key, text string) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		c.bad(key, "is not an https URL")
	}
}
