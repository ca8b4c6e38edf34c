package grafana

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/tenonhq/tenon/internal/secret"
)

// Names of the files that Write makes, in one folder for each application.
const (
	INIFile     = "grafana.ini"
	EnvFile     = "grafana.env"
	ComposeFile = "compose.yaml"
)

// secretVariable is how Grafana takes the client secret from its environment.
const secretVariable = "GF_AUTH_GENERIC_OAUTH_CLIENT_SECRET"

// Files is what Write made.
type Files struct {
	// INI is a fragment for grafana.ini: root_url and [auth.generic_oauth].
	INI string `json:"ini"`
	// Env holds the client secret, mode 0600, for systemd's EnvironmentFile or
	// compose's env_file.
	Env string `json:"env"`
	// Compose is a compose file that sets the same through the environment, to
	// be merged with one's own (docker compose -f yours -f this).
	Compose string `json:"compose"`
}

// Rendered is the text of the three files. Env is a secret.
type Rendered struct {
	INI     string
	Env     secret.Value
	Compose string
}

// Render writes the settings in the three forms that Grafana's installations
// take. It fails on a value that one of them could not carry unchanged.
func Render(s Settings, clientSecret secret.Value) (Rendered, error) {
	if clientSecret.IsZero() {
		return Rendered{}, fmt.Errorf("client secret is empty")
	}
	sections := []struct {
		name  string
		pairs []pair
	}{
		{"server", []pair{{"root_url", s.RootURL}}},
		{"auth.generic_oauth", s.oauthPairs()},
	}
	var ini, compose strings.Builder
	ini.WriteString("; Single sign-on through " + comment(s.Name) + ". The client secret is not here: it comes from\n; the environment, " + EnvFile + ".\n")
	compose.WriteString("# Single sign-on through " + comment(s.Name) + ". The client secret is in " + EnvFile + ".\n" +
		"services:\n  grafana:\n    env_file:\n      - " + EnvFile + "\n    environment:\n")
	for _, section := range sections {
		ini.WriteString("\n[" + section.name + "]\n")
		for _, p := range section.pairs {
			text, err := quoteINI(p.value)
			if err != nil {
				return Rendered{}, fmt.Errorf("setting %s: %w", p.key, err)
			}
			ini.WriteString(p.key + " = " + text + "\n")
			compose.WriteString("      " + variable(section.name, p.key) + ": " + quoteCompose(p.value) + "\n")
		}
	}
	env, err := quoteEnv(clientSecret.Reveal())
	if err != nil {
		return Rendered{}, fmt.Errorf("client secret: %w", err)
	}
	return Rendered{INI: ini.String(), Env: secret.New(secretVariable + "=" + env + "\n"), Compose: compose.String()}, nil
}

// Write renders the files into a folder named after the application, below
// dir. Each file appears whole or not at all, and writing the same settings
// again changes nothing, so that a retry is harmless.
func Write(dir, app string, s Settings, clientSecret secret.Value) (Files, error) {
	folder, err := FolderName(app)
	if err != nil {
		return Files{}, err
	}
	rendered, err := Render(s, clientSecret)
	if err != nil {
		return Files{}, err
	}
	folder = filepath.Join(dir, folder)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return Files{}, err
	}
	files := Files{
		INI:     filepath.Join(folder, INIFile),
		Env:     filepath.Join(folder, EnvFile),
		Compose: filepath.Join(folder, ComposeFile),
	}
	// All three are 0600: only the env file holds a secret, but a file that others
	// can write would decide where Grafana sends people to log in.
	for _, f := range []struct{ path, text string }{
		{files.INI, rendered.INI}, {files.Env, rendered.Env.Reveal()}, {files.Compose, rendered.Compose},
	} {
		if err := secret.WriteFile(f.path, []byte(f.text)); err != nil {
			return Files{}, err
		}
	}
	return files, nil
}

// Remove deletes what Write made for a client, and reports whether there was
// anything. Files that were written for another client since are left alone.
func Remove(dir, app, clientID string) (bool, error) {
	name, err := FolderName(app)
	if err != nil {
		return false, err
	}
	folder := filepath.Join(dir, name)
	text, err := os.ReadFile(filepath.Join(folder, INIFile))
	if err == nil {
		ini, err := ParseINI(string(text))
		if err != nil {
			return false, fmt.Errorf("%s: %w", filepath.Join(folder, INIFile), err)
		}
		if ini["auth.generic_oauth"]["client_id"] != clientID {
			return false, nil
		}
	} else if !os.IsNotExist(err) {
		return false, err
	}
	removed := false
	// The INI file says whose files these are, so that it goes last.
	for _, name := range []string{EnvFile, ComposeFile, INIFile} {
		switch err := os.Remove(filepath.Join(folder, name)); {
		case err == nil:
			removed = true
		case !os.IsNotExist(err):
			return removed, err
		}
	}
	_ = os.Remove(folder) // it stays if it holds files of its owner's
	return removed, nil
}

var folderName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9 ._-]{0,127}$`)

// FolderName checks that an application's name can name a folder: it must not
// lead elsewhere ("../x", "/etc"), hide ("." at the start) or mean a device.
func FolderName(app string) (string, error) {
	if !folderName.MatchString(app) || strings.HasSuffix(app, ".") || strings.HasSuffix(app, " ") || !filepath.IsLocal(app) {
		return "", fmt.Errorf("application name %q cannot name a folder: letters, digits, spaces, dots, dashes and underscores, beginning with a letter or digit", app)
	}
	return app, nil
}

// variable is the environment variable that overrides a setting.
func variable(section, key string) string {
	return "GF_" + strings.NewReplacer(".", "_", "-", "_").Replace(strings.ToUpper(section+"_"+key))
}

// comment makes text safe to stand in a comment of one line.
func comment(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}

// quoteCompose writes a YAML double-quoted scalar, which JSON strings are, with
// the dollar doubled: compose replaces $NAME in every value.
func quoteCompose(value string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // "&&" stays readable
	if err := enc.Encode(value); err != nil {
		return `""` // a string always encodes
	}
	return strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "$", "$$")
}

var plainEnv = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)

// quoteEnv writes a value that compose, systemd, a POSIX shell and, for the
// secrets that Auth0 generates, docker run --env-file read back unchanged. The
// last one knows no quotes, so that plain values are written plain.
func quoteEnv(value string) (string, error) {
	switch {
	case plainEnv.MatchString(value):
		return value, nil
	case hasControl(value), strings.Contains(value, "'"):
		return "", fmt.Errorf("a value with a single quote or a control character cannot be written so that every reader of env files agrees on it")
	case expanded.MatchString(value):
		return "", fmt.Errorf("grafana would replace a part of the value")
	}
	return "'" + value + "'", nil
}
