package grafana

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"gopkg.in/ini.v1"

	"github.com/tenonhq/tenon/internal/secret"
)

func app() App {
	return App{Name: "Acme", Domain: "acme.eu.auth0.com", RootURL: "https://grafana.acme.test", ClientID: "abc123"}
}

func settings(t *testing.T) Settings {
	t.Helper()
	s, err := NewSettings(app())
	require.NoError(t, err)
	return s
}

// awkward are values that INI files get wrong.
var awkward = []string{
	"plain", "with spaces", `"surrounded"`, `'surrounded'`, `"a" and "b"`, `'a' || 'b'`, `"https://ns/roles"`,
	`contains("https://ns/roles"[*] || '', 'admin') && 'Admin'`, `ends with '`, `ends with "`, `"begins with`, `'begins with`,
	"a # b", "a;b", "#b", "a = b", "a: b", "`back`", "back`", `"""`, `a"""b`, "`[]`", "x`#", `a\b`, `ends\`, `"ends\`, "50%", "100%(", "$x", "ünï", " lead", "trail ", "",
}

// Whatever Render writes, Grafana's reader (gopkg.in/ini.v1) and ours read the
// same back.
func TestINIRoundTrip(t *testing.T) {
	for _, value := range awkward {
		text, err := quoteINI(value)
		require.NoError(t, err, value)
		file := "[s]\nkey = " + text + "\nnext = 1\n"

		theirs, err := ini.Load([]byte(file))
		require.NoError(t, err, file)
		require.Equal(t, value, theirs.Section("s").Key("key").Value(), file)
		require.Equal(t, "1", theirs.Section("s").Key("next").Value(), file)

		ours, err := ParseINI(file)
		require.NoError(t, err, file)
		require.Equal(t, value, ours["s"]["key"], file)
	}
}

// Our reader strips and cuts what Grafana's strips and cuts.
func TestINIReaderAgrees(t *testing.T) {
	for _, raw := range append([]string{
		`"'Viewer'"`, `'Viewer'`, `"https://ns/roles" && 'x'`, `a#b`, `a ; b`, `"a#b"`, `"""a#b"""`, "`a;b`", `"a"b"`, `''`, `""`, `""""""`,
	}, awkward...) {
		file := "[s]\nkey = " + raw + "\n"
		theirs, err := ini.Load([]byte(file))
		ours, err2 := ParseINI(file)
		if err2 != nil {
			continue // refusing more than Grafana is safe; reading something else is not
		}
		require.NoError(t, err, file)
		require.Equal(t, theirs.Section("s").Key("key").Value(), ours["s"]["key"], "%q", raw)
	}
}

func TestINIRefusals(t *testing.T) {
	for _, value := range []string{"a\nb", "a\x00b", "${HOME}", "$__file{/etc/passwd}", "%(root_url)s", "a\rb"} {
		_, err := quoteINI(value)
		require.Error(t, err, "%q", value)
	}
	for _, file := range []string{"[s\na=b", "novalue", "a = \"\"\"open", "a = open`\\", "a = `"} {
		_, err := ParseINI(file)
		require.Error(t, err, "%q", file)
	}
}

func TestEnvRoundTrip(t *testing.T) {
	for _, value := range []string{"abcDEF_123-xyz", "a$b", `a"b`, "a b", `a\b`, "a#b", "a=b==", "`x`"} {
		text, err := quoteEnv(value)
		require.NoError(t, err)
		back, err := secret.ParseDotenv([]byte("K=" + text + "\n"))
		require.NoError(t, err)
		require.Equal(t, value, back["K"].Reveal())
	}
	// Auth0's own secrets need no quotes, so that docker run --env-file, which knows
	// none, reads them as well.
	text, err := quoteEnv("Zx9_-abc")
	require.NoError(t, err)
	require.Equal(t, "Zx9_-abc", text)
	for _, value := range []string{"a'b", "a\nb", "${HOME}"} {
		_, err := quoteEnv(value)
		require.Error(t, err)
		require.NotContains(t, err.Error(), value)
	}
}

// Compose reads YAML and then replaces $NAME and $$.
func TestComposeRoundTrip(t *testing.T) {
	s := settings(t)
	s.Name = `Acme $HOME "x" ü`
	rendered, err := Render(s, secret.New("hush"))
	require.NoError(t, err)
	var file struct {
		Services map[string]struct {
			EnvFile     []string          `yaml:"env_file"`
			Environment map[string]string `yaml:"environment"`
		} `yaml:"services"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(rendered.Compose), &file))
	service := file.Services["grafana"]
	require.Equal(t, []string{"grafana.env"}, service.EnvFile)
	interpolate := func(v string) string {
		return os.Expand(v, func(name string) string {
			if name == "$" {
				return "$"
			}
			return "REPLACED"
		})
	}
	require.Equal(t, s.Name, interpolate(service.Environment["GF_AUTH_GENERIC_OAUTH_NAME"]))
	require.Equal(t, s.RoleAttributePath, interpolate(service.Environment["GF_AUTH_GENERIC_OAUTH_ROLE_ATTRIBUTE_PATH"]))
	require.Equal(t, s.RootURL, service.Environment["GF_SERVER_ROOT_URL"])
	require.NotContains(t, rendered.Compose, "hush")
	require.NotContains(t, rendered.INI, "hush")
}

func TestWriteAndRead(t *testing.T) {
	dir, s := t.TempDir(), settings(t)
	files, err := Write(dir, "grafana", s, secret.New("hush-123"))
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "grafana", "grafana.ini"), files.INI)
	for _, path := range []string{files.INI, files.Env, files.Compose} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), path)
	}
	before, err := os.ReadFile(files.INI)
	require.NoError(t, err)
	_, err = Write(dir, "grafana", s, secret.New("hush-123"))
	require.NoError(t, err)
	after, err := os.ReadFile(files.INI)
	require.NoError(t, err)
	require.Equal(t, before, after)

	cfg, err := ReadConfig(files)
	require.NoError(t, err)
	require.Equal(t, "hush-123", cfg.ClientSecret.Reveal())
	require.Equal(t, s.RoleAttributePath, cfg.RoleAttributePath)
	require.Equal(t, s.AuthURL, cfg.AuthURL)
	require.Equal(t, []string{"openid", "profile", "email", "offline_access"}, cfg.Scopes)
	require.True(t, cfg.UsePKCE && cfg.UseRefreshToken && cfg.RoleAttributeStrict)
	require.False(t, cfg.AllowAssignGrafanaAdmin)

	// The environment overrides the file.
	require.NoError(t, secret.WriteFile(files.Env, []byte("GF_AUTH_GENERIC_OAUTH_CLIENT_SECRET=other\nGF_AUTH_GENERIC_OAUTH_AUTH_URL=https://other.test/authorize\n")))
	cfg, err = ReadConfig(files)
	require.NoError(t, err)
	require.Equal(t, "https://other.test/authorize", cfg.AuthURL)

	removed, err := Remove(dir, "grafana", "another-client")
	require.NoError(t, err)
	require.False(t, removed)
	require.FileExists(t, files.Env)
	removed, err = Remove(dir, "grafana", "abc123")
	require.NoError(t, err)
	require.True(t, removed)
	require.NoDirExists(t, filepath.Join(dir, "grafana"))
	removed, err = Remove(dir, "grafana", "abc123")
	require.NoError(t, err)
	require.False(t, removed)
}

func TestReadConfigRefuses(t *testing.T) {
	for name, change := range map[string]func(ini string) string{
		"disabled":       func(s string) string { return strings.Replace(s, "enabled = true", "enabled = false", 1) },
		"no token url":   func(s string) string { return strings.Replace(s, "token_url", "token_uri", 1) },
		"no bool":        func(s string) string { return strings.Replace(s, "use_pkce = true", "use_pkce = si", 1) },
		"plain root url": func(s string) string { return strings.Replace(s, "= https://grafana", "= http://grafana", 1) },
		"expansion":      func(s string) string { return strings.Replace(s, "abc123", "${CLIENT}", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			files, err := Write(t.TempDir(), "g", settings(t), secret.New("hush"))
			require.NoError(t, err)
			text, err := os.ReadFile(files.INI)
			require.NoError(t, err)
			changed := change(string(text))
			require.NotEqual(t, string(text), changed)
			require.NoError(t, os.WriteFile(files.INI, []byte(changed), 0o600))
			_, err = ReadConfig(files)
			require.Error(t, err)
		})
	}
}

func TestFolderName(t *testing.T) {
	for _, good := range []string{"grafana", "Grafana Prod", "a.b-c_d", "9"} {
		_, err := FolderName(good)
		require.NoError(t, err, good)
	}
	for _, bad := range []string{"", ".", "..", "../x", "a/b", `a\b`, "/etc", ".hidden", "a\x00", "dot.", "space ", strings.Repeat("x", 200)} {
		_, err := FolderName(bad)
		require.Error(t, err, "%q", bad)
		_, err = Write(t.TempDir(), bad, settings(t), secret.New("hush"))
		require.Error(t, err, "%q", bad)
	}
}

func TestNewSettingsReportsAll(t *testing.T) {
	_, err := NewSettings(App{Domain: "https://x", RootURL: "ftp://x", RolesClaim: "a\"b", Roles: []RoleMapping{{"o'neill", "Boss"}}})
	for _, part := range []string{"root URL", "domain", "client id", "claim", "o'neill", "Boss"} {
		require.ErrorContains(t, err, part)
	}
}

func TestCheckRootURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://g.test": "https://g.test", "https://g.test:3000/": "https://g.test:3000", "https://g.test/grafana/": "https://g.test/grafana",
		"http://localhost:3000": "http://localhost:3000", "http://127.0.0.1:3000": "http://127.0.0.1:3000", "http://[::1]:3000": "http://[::1]:3000",
	} {
		got, err := CheckRootURL(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got)
	}
	for _, bad := range []string{"", "g.test", "http://g.test", "http://127.0.0.1.evil.test", "http://localhost.evil.test", "https://u:p@g.test", "https://g.test?x", "https://g.test#x", "javascript:alert(1)", "https://g.test/../x y"} {
		_, err := CheckRootURL(bad)
		require.Error(t, err, bad)
	}
	require.Equal(t, "https://g.test:3000", Origin("https://g.test:3000/grafana"))
}

func TestRoles(t *testing.T) {
	path, err := RolePath(DefaultRolesClaim, append([]RoleMapping{{"owner", "GrafanaAdmin"}}, DefaultRoles()...))
	require.NoError(t, err)
	for claims, want := range map[string]struct {
		role  string
		admin bool
	}{
		`{"https://tenon.dev/roles":["admin"]}`:             {"Admin", false},
		`{"https://tenon.dev/roles":["viewer","editor"]}`:   {"Editor", false},
		`{"https://tenon.dev/roles":["viewer"]}`:            {"Viewer", false},
		`{"https://tenon.dev/roles":["owner"]}`:             {"Admin", true},
		`{"https://tenon.dev/roles":["other"]}`:             {"", false},
		`{"https://tenon.dev/roles":[]}`:                    {"", false},
		`{"https://tenon.dev/roles":null}`:                  {"", false},
		`{}`:                                                {"", false},
		`{"https://tenon.dev/roles":"not-admin"}`:           {"", false}, // no substring match
		`{"https://tenon.dev/roles":["not-admin"]}`:         {"", false},
		`{"https://tenon.dev/roles":{"a":"admin"}}`:         {"", false},
		`{"https://tenon.dev/roles":[1,true,null,"admin"]}`: {"Admin", false},
		`{"roles":["admin"]}`:                               {"", false},
	} {
		role, admin, err := searchRole(path, []byte(claims))
		require.NoError(t, err, claims)
		require.Equal(t, want.role, role, claims)
		require.Equal(t, want.admin, admin, claims)
	}
	require.True(t, strings.HasPrefix(path, "contains("))
	_, _, err = searchRole(`'Emperor'`, []byte(`{}`))
	require.Error(t, err)
}
