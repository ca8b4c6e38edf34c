package grafana

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jmespath/go-jmespath"
)

// grafanaRoles are the results of role_attribute_path that give a person
// access. "None" is one for Grafana too, but lets people in with nothing to
// see, which is never what a mapping means.
var grafanaRoles = []string{"Viewer", "Editor", "Admin", "GrafanaAdmin"}

// RolePath writes the JMESPath expression that maps the roles in a claim to a
// Grafana role. The expression
//
//   - begins with a function and ends in a literal, because Grafana's INI reader
//     strips double quotes that surround a value;
//   - projects the claim as a list ([*]) before it looks into it: contains() on
//     a string finds substrings, and "not-admin" would be an admin;
//   - falls back to an empty string where the claim is missing, because
//     contains(null, …) is a type error;
//   - yields false where nothing matches, which role_attribute_strict refuses.
func RolePath(claim string, roles []RoleMapping) (string, error) {
	var problems []error
	if claim == "" || strings.ContainsAny(claim, "\"\\`") || hasControl(claim) {
		problems = append(problems, fmt.Errorf("roles claim %q must be a name without quotes, backslashes or control characters", claim))
	}
	if len(roles) == 0 {
		problems = append(problems, errors.New("no role is mapped to a grafana role: nobody could log in"))
	}
	terms := make([]string, 0, len(roles))
	for _, m := range roles {
		if m.Role == "" || strings.ContainsAny(m.Role, "'\\`") || hasControl(m.Role) {
			problems = append(problems, fmt.Errorf("role %q must be a name without quotes, backslashes or control characters", m.Role))
		}
		if !isGrafanaRole(m.Grafana) {
			problems = append(problems, fmt.Errorf("grafana role %q is not one of %s", m.Grafana, strings.Join(grafanaRoles, ", ")))
		}
		terms = append(terms, fmt.Sprintf(`contains("%s"[*] || '', '%s') && '%s'`, claim, m.Role, m.Grafana))
	}
	if err := errors.Join(problems...); err != nil {
		return "", err
	}
	return strings.Join(terms, " || "), nil
}

func isGrafanaRole(role string) bool {
	for _, r := range grafanaRoles {
		if r == role {
			return true
		}
	}
	return false
}

// hasControl reports control characters, line breaks among them.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// searchRole evaluates role_attribute_path over the JSON of one source of
// claims, as Grafana does: a result that is no string counts as none, and so
// does an expression that fails on these claims. admin is true for
// GrafanaAdmin, which makes the person Admin of the organisation besides.
func searchRole(path string, claims []byte) (role string, admin bool, err error) {
	var data any
	if err := json.Unmarshal(claims, &data); err != nil {
		return "", false, fmt.Errorf("claims are not JSON: %w", err)
	}
	expr, err := jmespath.Compile(path)
	if err != nil {
		return "", false, fmt.Errorf("role_attribute_path is not JMESPath: %w", err)
	}
	found, err := expr.Search(data)
	if err != nil {
		return "", false, nil //nolint:nilerr // a type error over these claims is Grafana's "no role here"
	}
	text, _ := found.(string)
	if strings.EqualFold(text, "GrafanaAdmin") {
		return "Admin", true, nil
	}
	if text == "" {
		return "", false, nil
	}
	text = strings.ToUpper(text[:1]) + strings.ToLower(text[1:])
	if text != "None" && !isGrafanaRole(text) {
		return "", false, fmt.Errorf("%q is not a grafana role", text)
	}
	return text, false, nil
}
