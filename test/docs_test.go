package test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestReadme runs what the README tells a newcomer to type, and holds what it
// shows against what comes out.
func TestReadme(t *testing.T) {
	data, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	readme := string(data)
	require.LessOrEqual(t, strings.Count(readme, "\n"), 120, "the README is to be read at once")

	// The main job.
	require.Contains(t, readme, "\n    go run ./cmd/tenon demo\n")
	out, err := tenon(t, "demo").Output()
	require.NoError(t, err)
	shown := false
	for _, line := range codeLines(readme) {
		if strings.HasPrefix(line, "login: ") || strings.Contains(line, "  yes  ") {
			require.Contains(t, string(out), line)
			shown = true
		}
	}
	require.True(t, shown)
	out, err = tenon(t, "demo", "-o", "json").Output()
	require.NoError(t, err)
	var answer struct {
		Login struct {
			OK   bool
			Role string
		}
		Refusals []struct{ Refused bool }
		Runs     []struct{ Status string }
	}
	require.NoError(t, json.Unmarshal(out, &answer))
	require.True(t, answer.Login.OK)
	require.Equal(t, "Admin", answer.Login.Role)
	require.GreaterOrEqual(t, len(answer.Refusals), 6)
	for _, r := range answer.Refusals {
		require.True(t, r.Refused)
	}
	require.Len(t, answer.Runs, 4)
	for _, r := range answer.Runs {
		require.Equal(t, "Completed", r.Status)
	}

	// The session by hand, on free ports instead of the usual ones.
	dir := t.TempDir()
	examples, err := filepath.Abs(filepath.Join("..", "examples"))
	require.NoError(t, err)
	require.NoError(t, os.Symlink(examples, filepath.Join(dir, "examples")))
	var up *exec.Cmd
	commands := 0
	for _, line := range codeLines(readme) {
		words := strings.Fields(strings.Split(line, "#")[0])
		if len(words) < 2 || words[0] != "bin/tenon" {
			continue
		}
		commands++
		if words[1] == "up" {
			up = tenon(t, "up", "--address", "127.0.0.1:0", "--auth0-listen", "127.0.0.1:0")
			up.Dir = dir
			require.NoError(t, up.Start())
			t.Cleanup(func() { _ = up.Process.Kill() })
			awaitFile(t, filepath.Join(dir, ".tenon", "endpoints.json"))
			continue
		}
		cmd := tenon(t, words[1:]...)
		cmd.Dir = dir
		require.NoError(t, cmd.Run(), line)
	}
	require.Equal(t, 6, commands)
	require.NoError(t, up.Process.Signal(syscall.SIGINT))
	require.NoError(t, up.Wait())
}

// TestDocsNameWhatExists checks every command line and every link in the docs.
func TestDocsNameWhatExists(t *testing.T) {
	files, err := filepath.Glob("../docs/*.md")
	require.NoError(t, err)
	files = append(files, "../README.md", "../CONTRIBUTING.md", "../SECURITY.md")
	link := regexp.MustCompile(`\]\(([^)#]+)\)`)
	named := regexp.MustCompile("`((?:internal|test|sdk|api|docs|bench|cmd)/[a-z0-9_/.-]*)`")
	flagRE := regexp.MustCompile(`(^|\s)(--[a-z0-9-]+)`)
	help := map[string]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range link.FindAllStringSubmatch(string(data), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			_, err := os.Stat(filepath.Join(filepath.Dir(file), m[1]))
			require.NoError(t, err, "%s links to %s", file, m[1])
		}
		for _, m := range named.FindAllStringSubmatch(string(data), -1) {
			_, err := os.Stat(filepath.Join("..", m[1]))
			require.NoError(t, err, "%s names %s", file, m[1])
		}
		if filepath.Base(file) == "cli.md" {
			continue // generated from the commands, and held to them by its own test
		}
		for _, line := range codeLines(string(data)) {
			line = strings.TrimPrefix(strings.Split(line, "#")[0], "bin/")
			if !strings.HasPrefix(line, "tenon ") {
				continue
			}
			path := commandPath(strings.Fields(line)[1:])
			key := strings.Join(path, " ")
			if help[key] == "" {
				out, err := tenon(t, append(path, "--help")...).Output()
				require.NoError(t, err, "%s: %s", file, line)
				help[key] = string(out)
			}
			for _, m := range flagRE.FindAllStringSubmatch(line, -1) {
				require.Contains(t, help[key], m[2], "%s: %s", file, line)
			}
		}
	}
	require.Greater(t, len(help), 8)
}

// commandPath is the leading words that name a command: tokens issue.
func commandPath(words []string) []string {
	groups := map[string]bool{"tenant": true, "app": true, "user": true, "service": true, "runs": true, "certs": true, "tokens": true, "audit": true}
	if groups[words[0]] && len(words) > 1 {
		return words[:2]
	}
	return words[:1]
}

// codeLines are the lines of a document's indented code.
func codeLines(text string) []string {
	var lines []string
	for scan := bufio.NewScanner(strings.NewReader(text)); scan.Scan(); {
		if line, ok := strings.CutPrefix(scan.Text(), "    "); ok {
			lines = append(lines, strings.TrimRight(line, " "))
		}
	}
	return lines
}

// tenon is the product's own command line, as a process.
func tenon(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "tenon", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("tenon %s: %s", strings.Join(args, " "), stderr.String())
		}
	})
	return cmd
}

func awaitFile(t *testing.T, path string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for {
		if _, err := os.Stat(path); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s is not there after a minute", path)
		}
	}
}
