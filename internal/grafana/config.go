package grafana

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tenonhq/tenon/internal/secret"
)

// Config is what Grafana would run with, read back from the rendered files.
type Config struct {
	RootURL                 string
	ClientID                string
	ClientSecret            secret.Value
	AuthStyle               string
	Scopes                  []string
	AuthURL                 string
	TokenURL                string
	APIURL                  string
	SignoutRedirectURL      string
	RoleAttributePath       string
	RoleAttributeStrict     bool
	SkipOrgRoleSync         bool
	AllowAssignGrafanaAdmin bool
	UsePKCE                 bool
	UseRefreshToken         bool
	EmailAttributePath      string
	LoginAttributePath      string
	NameAttributePath       string
}

// ReadConfig reads the files of an application as Grafana does: the INI file,
// overridden by GF_<SECTION>_<KEY> variables, here those of the env file. An
// empty variable overrides nothing.
func ReadConfig(files Files) (Config, error) {
	text, err := os.ReadFile(files.INI)
	if err != nil {
		return Config{}, err
	}
	ini, err := ParseINI(string(text))
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", files.INI, err)
	}
	env, err := secret.ReadDotenv(files.Env)
	if err != nil {
		return Config{}, err
	}
	cfg, err := configFrom(ini, env)
	if err != nil {
		return Config{}, fmt.Errorf("settings in %s: %w", filepath.Dir(files.INI), err)
	}
	return cfg, nil
}

func configFrom(ini INI, env map[string]secret.Value) (Config, error) {
	var problems []error
	get := func(section, key string) string {
		value := ini[section][key]
		if v := env[variable(section, key)]; !v.IsZero() {
			value = v.Reveal()
		}
		if key != "client_secret" && expanded.MatchString(value) {
			problems = append(problems, fmt.Errorf("%s: replacing %s is not supported here", key, expanded.FindString(value)))
		}
		return value
	}
	oauth := func(key string) string { return get("auth.generic_oauth", key) }
	required := func(key string) string {
		value := oauth(key)
		if value == "" {
			problems = append(problems, fmt.Errorf("%s is not set", key))
		}
		return value
	}
	flag := func(key string) bool {
		value := oauth(key)
		if value == "" {
			return false
		}
		on, err := strconv.ParseBool(value)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %q is not true or false", key, value))
		}
		return on
	}
	if !flag("enabled") {
		problems = append(problems, errors.New("enabled is not true"))
	}
	root, err := CheckRootURL(get("server", "root_url"))
	if err != nil {
		problems = append(problems, err)
	}
	cfg := Config{
		RootURL:                 root,
		ClientID:                required("client_id"),
		ClientSecret:            secret.New(required("client_secret")),
		AuthStyle:               oauth("auth_style"),
		Scopes:                  strings.FieldsFunc(oauth("scopes"), func(r rune) bool { return r == ' ' || r == ',' }),
		AuthURL:                 required("auth_url"),
		TokenURL:                required("token_url"),
		APIURL:                  required("api_url"),
		SignoutRedirectURL:      oauth("signout_redirect_url"),
		RoleAttributePath:       oauth("role_attribute_path"),
		RoleAttributeStrict:     flag("role_attribute_strict"),
		SkipOrgRoleSync:         flag("skip_org_role_sync"),
		AllowAssignGrafanaAdmin: flag("allow_assign_grafana_admin"),
		UsePKCE:                 flag("use_pkce"),
		UseRefreshToken:         flag("use_refresh_token"),
		EmailAttributePath:      oauth("email_attribute_path"),
		LoginAttributePath:      oauth("login_attribute_path"),
		NameAttributePath:       oauth("name_attribute_path"),
	}
	return cfg, errors.Join(problems...)
}
