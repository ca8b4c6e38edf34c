package cli

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write generated files anew")

// TestReference keeps docs/cli.md equal to the commands.
func TestReference(t *testing.T) {
	t.Setenv("TENON_DATA_DIR", "")
	var out strings.Builder
	out.WriteString(`# Command line reference

Generated from the commands themselves by ` + "`make gen`" + `.

stdout is the answer, in the form that ` + "`-o`" + ` names; stderr is everything else. A failure is one ` + "`error:`" + ` line, which says what and where,
and a ` + "`hint:`" + ` line, which says what to do.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | failed |
| 2 | changes are pending |
| 3 | refused by authorisation |
| 4 | credentials are missing, wrong or expired |
| 8 | still running (` + "`--detach`" + `) |
| 130 | interrupted |
`)
	root := newRoot(&app{in: strings.NewReader(""), out: io.Discard, err: io.Discard})
	fmt.Fprintf(&out, "\n## Flags of every command\n\n%s", flagTable(root.PersistentFlags()))
	writeReference(&out, root)
	path := filepath.Join("..", "..", "docs", "cli.md")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(out.String()), 0o644))
	}
	have, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, out.String(), string(have), "run: make gen")
}

func writeReference(out *strings.Builder, cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
			continue
		}
		if c.Runnable() {
			text := c.Long
			if text == "" {
				text = c.Short + "."
			}
			fmt.Fprintf(out, "\n## %s\n\n%s\n\n    %s\n", c.CommandPath(), text, c.UseLine())
			if table := flagTable(c.NonInheritedFlags()); table != "" {
				out.WriteString("\n" + table)
			}
		}
		writeReference(out, c)
	}
}

func flagTable(flags *pflag.FlagSet) string {
	var out strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" {
			return
		}
		name := "`--" + f.Name + "`"
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		usage := f.Usage
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "0s" && f.DefValue != "[]" {
			usage += fmt.Sprintf(" (default `%s`)", f.DefValue)
		}
		fmt.Fprintf(&out, "| %s | %s |\n", name, usage)
	})
	if out.Len() == 0 {
		return ""
	}
	return "| flag | meaning |\n|---|---|\n" + out.String()
}

func TestEveryCommandExplainsItself(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		require.NotEmpty(t, c.Short, c.CommandPath())
		if c.Runnable() && c.Name() != "help" {
			require.NotNil(t, c.Args, "%s does not check its arguments", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(newRoot(&app{in: strings.NewReader(""), out: io.Discard, err: io.Discard}))
}
