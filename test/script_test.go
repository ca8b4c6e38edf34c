package test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tenonhq/tenon/internal/config"
)

// TestScripts runs the command line sessions in script/*.txtar.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TENON_DATA_DIR", filepath.Join(env.WorkDir, "data"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":    cmdCode,
			"await":   cmdAwait,
			"occupy":  cmdOccupy,
			"mode":    cmdMode,
			"newdata": cmdNewData,
			"tenant":  cmdTenant,
			"stack":   cmdStack,
			"hash":    cmdHash,
			"limited": cmdLimited,
			"dotenv":  cmdDotenv,
		},
	})
}

// cmdCode runs a command and checks its exit code: code 3 tenon runs list. Its
// output is left in the files stdout and stderr for grep.
func cmdCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N command [args]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	cmd := exec.Command(args[1], args[2:]...)
	if path, err := exec.LookPath(args[1]); err == nil {
		cmd.Path = path
	}
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "TENON_DATA_DIR", "AUTH0_DOMAIN", "AUTH0_CLIENT_ID", "AUTH0_CLIENT_SECRET", "GRAFANA_URL", "SSL_CERT_FILE"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	stdout, err := os.Create(ts.MkAbs("stdout"))
	ts.Check(err)
	defer stdout.Close()
	stderr, err := os.Create(ts.MkAbs("stderr"))
	ts.Check(err)
	defer stderr.Close()
	cmd.Stdout, cmd.Stderr = stdout, stderr
	err = cmd.Run()
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		text := func(name string) []byte {
			data, err := os.ReadFile(ts.MkAbs(name))
			ts.Check(err)
			return data
		}
		ts.Fatalf("exit code %d, want %d; stdout:\n%s\nstderr:\n%s", got, want, text("stdout"), text("stderr"))
	}
}

// cmdStack puts the id of a data directory's stack into $STACK: stack data default.
func cmdStack(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: stack DATADIR NAME")
	}
	e, err := config.ReadEndpoints(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Setenv("STACK", "stack/"+e.Auth0.Domain+"/"+args[1])
}

// cmdHash puts the hash of the plan that a stack waits with into $HASH; the
// stack's status is in the file stdout.
func cmdHash(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: hash")
	}
	data, err := os.ReadFile(ts.MkAbs("stdout"))
	ts.Check(err)
	var status struct {
		Current struct {
			Hash string `json:"hash"`
		} `json:"current"`
	}
	ts.Check(json.Unmarshal(data, &status))
	if status.Current.Hash == "" {
		ts.Fatalf("the stack has no change with a plan")
	}
	ts.Setenv("HASH", status.Current.Hash)
}

// cmdAwait waits until a file is there, or with ! until it is gone.
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := os.Stat(ts.MkAbs(args[0]))
		if (err == nil) != neg {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			ts.Fatalf("%s: not as awaited after a minute", args[0])
		}
	}
}

// cmdOccupy listens on a free port for the rest of the script and puts its
// address into a variable.
func cmdOccupy(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], l.Addr().String())
}

// cmdMode sets a file's permissions: mode 0600 .env.
func cmdMode(ts *testscript.TestScript, _ bool, args []string) {
	mode, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	ts.Check(os.Chmod(ts.MkAbs(args[1]), os.FileMode(mode)))
}

// cmdNewData makes a data directory with a version file of some content.
func cmdNewData(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.MkdirAll(ts.MkAbs(args[0]), 0o700))
	ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(args[0]), "version.json"), []byte(args[1]), 0o600))
}

// simulated reads where a simulator's tenant is and how to manage it.
func simulated(ts *testscript.TestScript, dir string) *stack {
	e, err := config.ReadEndpoints(ts.MkAbs(dir))
	ts.Check(err)
	return &stack{dir: ts.MkAbs(dir), endpoints: *e}
}

// cmdTenant takes the credentials of a simulator's own client.
func cmdTenant(ts *testscript.TestScript, _ bool, args []string) {
	s := simulated(ts, args[0])
	ts.Setenv("TENANT_DOMAIN", s.endpoints.Auth0.Domain)
	ts.Setenv("TENANT_CLIENT", s.endpoints.Auth0.ClientID)
	ts.Setenv("AUTH0_SECRET", strings.TrimSpace(ts.ReadFile(s.endpoints.Auth0.ClientSecretFile)))
}

// cmdLimited makes a client that may call the Management API with some scopes
// only, and takes its credentials.
func cmdLimited(ts *testscript.TestScript, _ bool, args []string) {
	s := simulated(ts, args[0])
	var made struct {
		ClientID     string `json:"client_id"`
		ClientSecret string `json:"client_secret"`
	}
	ts.Check(s.manage("POST", "clients", map[string]any{"name": "limited", "app_type": "non_interactive", "grant_types": []string{"client_credentials"}}, &made))
	ts.Check(s.manage("POST", "client-grants", map[string]any{
		"client_id": made.ClientID, "audience": "https://" + s.endpoints.Auth0.Domain + "/api/v2/", "scope": strings.Fields(args[1]),
	}, nil))
	ts.Setenv("TENANT_CLIENT", made.ClientID)
	ts.Setenv("AUTH0_SECRET", made.ClientSecret)
}

// cmdDotenv writes a .env file with a secret, for the tenant or for another
// domain.
func cmdDotenv(ts *testscript.TestScript, _ bool, args []string) {
	domain := ts.Getenv("TENANT_DOMAIN")
	if len(args) > 2 {
		domain = args[2]
	}
	text := fmt.Sprintf("AUTH0_DOMAIN=%s\nAUTH0_CLIENT_ID=%s\nAUTH0_CLIENT_SECRET=%s\n", domain, ts.Getenv("TENANT_CLIENT"), args[1])
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}
