package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// tool makes a tenant hold a world.
type tool interface {
	name() string
	// apply creates and changes what is missing or different.
	apply(context.Context, world) error
	// plan finds that there is nothing to do.
	plan(context.Context, world) error
	// destroy deletes the world.
	destroy(context.Context, world) error
	close() error
}

// maker makes a tool ready for a tenant; what that takes is not measured.
type maker func(context.Context, *tenant) (tool, error)

// makers are the tools that this machine has.
func (b *bench) makers(out io.Writer) []maker {
	list := []maker{b.newTenon}
	_, noNode := exec.LookPath("node")
	_, noNPM := exec.LookPath("npm")
	if noNode == nil && (noNPM == nil || b.deployCLI != "") {
		list = append(list, b.newDeployCLI)
	} else {
		fmt.Fprintln(out, "auth0-deploy-cli is left out: node or npm is not installed")
	}
	_, noTerraform := exec.LookPath("terraform")
	if b.terraform != "" && noTerraform == nil {
		list = append(list, b.newTerraform)
	} else {
		fmt.Fprintln(out, "Terraform is left out: -terraform names no folder with its provider, or terraform is not installed")
	}
	return list
}

// run executes a command in a folder. What it says is in the error if it fails.
func run(ctx context.Context, dir string, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		if len(text) > 4000 {
			text = text[len(text)-4000:]
		}
		return fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, text)
	}
	return nil
}

// tenon is the product: a cluster and a worker that run, and its command line.
type tenon struct {
	up          *process
	binary, dir string
}

func (b *bench) newTenon(ctx context.Context, t *tenant) (tool, error) {
	dir := t.dataDir + "-tenon"
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	up, err := startTenon(ctx, b.tenon, dir, append(t.env(), "SSL_CERT_FILE="+t.auth0.CA), roleUp, "--address", "127.0.0.1:0", "--web-ui-address", "")
	if err != nil {
		return nil, err
	}
	return &tenon{up: up, binary: b.tenon, dir: dir}, nil
}

func (p *tenon) name() string { return "tenon" }
func (p *tenon) close() error { return p.up.stop() }

func (p *tenon) run(ctx context.Context, args ...string) error {
	return run(ctx, p.dir, nil, p.binary, append(args, "--data-dir", p.dir)...)
}

func (p *tenon) do(ctx context.Context, w world, args ...string) error {
	file := filepath.Join(p.dir, "world.yaml")
	if err := w.write(file, manifests); err != nil {
		return err
	}
	return p.run(ctx, append(args, "-f", file)...)
}

func (p *tenon) apply(ctx context.Context, w world) error   { return p.do(ctx, w, "apply", "--yes") }
func (p *tenon) plan(ctx context.Context, w world) error    { return p.do(ctx, w, "plan") }
func (p *tenon) destroy(ctx context.Context, w world) error { return p.do(ctx, w, "delete", "--yes") }

// deploy is Auth0's deploy CLI.
type deploy struct {
	script, dir string
	env         []string
}

// newDeployCLI uses the version of the tests, installed by npm unless a folder
// that has it is given.
func (b *bench) newDeployCLI(ctx context.Context, t *tenant) (tool, error) {
	if b.deployCLI == "" {
		module, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
		if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		dir := filepath.Join(b.dir, "deploycli")
		if err := os.CopyFS(dir, os.DirFS(filepath.Join(strings.TrimSpace(string(module)), "test", "testdata", "deploycli"))); err != nil {
			return nil, err
		}
		if err := run(ctx, dir, nil, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"); err != nil {
			return nil, err
		}
		b.deployCLI = dir
	}
	return &deploy{
		script: filepath.Join(b.deployCLI, "node_modules", "auth0-deploy-cli", "lib", "index.js"),
		dir:    t.dataDir,
		env: append(t.env(), "NODE_EXTRA_CA_CERTS="+t.auth0.CA, "NODE_OPTIONS=--dns-result-order=ipv4first --no-network-family-autoselection",
			// Of all that it can manage it is told to read what the others read.
			`AUTH0_INCLUDED_ONLY=["clients", "roles", "resourceServers", "clientGrants"]`),
	}, nil
}

func (p *deploy) name() string { return "auth0-deploy-cli" }
func (p *deploy) close() error { return nil }

func (p *deploy) run(ctx context.Context, w world, allowDelete string, args ...string) error {
	file := filepath.Join(p.dir, "world.yaml")
	if err := w.write(file, deployCLI); err != nil {
		return err
	}
	return run(ctx, p.dir, append(p.env, "AUTH0_ALLOW_DELETE="+allowDelete), "node", append([]string{p.script, "import", "-i", file}, args...)...)
}

func (p *deploy) apply(ctx context.Context, w world) error { return p.run(ctx, w, "false") }
func (p *deploy) plan(ctx context.Context, w world) error {
	return p.run(ctx, w, "false", "--dry-run")
}
func (p *deploy) destroy(ctx context.Context, _ world) error { return p.run(ctx, world{}, "true") }

// provider is Terraform with Auth0's provider.
type provider struct {
	dir string
	env []string
}

func (b *bench) newTerraform(_ context.Context, t *tenant) (tool, error) {
	plugins, err := filepath.Abs(b.terraform)
	if err != nil {
		return nil, err
	}
	dir := t.dataDir + "-terraform"
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	rc := filepath.Join(dir, "rc")
	if err := os.WriteFile(rc, fmt.Appendf(nil, "provider_installation {\n  dev_overrides { \"auth0/auth0\" = %q }\n  direct {}\n}\n", plugins), 0o600); err != nil {
		return nil, err
	}
	return &provider{dir: dir, env: append(t.env(), "SSL_CERT_FILE="+t.auth0.CA, "TF_CLI_CONFIG_FILE="+rc, "CHECKPOINT_DISABLE=1")}, nil
}

func (p *provider) name() string { return "terraform" }
func (p *provider) close() error { return nil }

func (p *provider) run(ctx context.Context, w world, args ...string) error {
	return errors.Join(
		w.write(filepath.Join(p.dir, "main.tf"), terraform),
		run(ctx, p.dir, p.env, "terraform", append(args, "-input=false", "-no-color")...))
}

func (p *provider) apply(ctx context.Context, w world) error {
	return p.run(ctx, w, "apply", "-auto-approve")
}
func (p *provider) plan(ctx context.Context, w world) error {
	return p.run(ctx, w, "plan", "-detailed-exitcode")
}
func (p *provider) destroy(ctx context.Context, w world) error {
	return p.run(ctx, w, "destroy", "-auto-approve")
}
