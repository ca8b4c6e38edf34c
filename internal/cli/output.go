package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"go.yaml.in/yaml/v3"
)

// answer is what a command found: data for machines, a table for people, names
// for shell loops.
type answer struct {
	data  any
	table func(w io.Writer)
	names []string
}

// print writes an answer to stdout in the form that --output asks for.
func (a *app) print(ans answer) error {
	switch a.output {
	case "json":
		enc := json.NewEncoder(a.out)
		enc.SetIndent("", "  ")
		return enc.Encode(ans.data)
	case "yaml":
		// Through JSON, so that both forms have the same keys.
		data, err := json.Marshal(ans.data)
		if err != nil {
			return err
		}
		var tree any
		if err := json.Unmarshal(data, &tree); err != nil {
			return err
		}
		enc := yaml.NewEncoder(a.out)
		enc.SetIndent(2)
		if err := enc.Encode(tree); err != nil {
			return err
		}
		return enc.Close()
	case "name":
		for _, n := range ans.names {
			if _, err := fmt.Fprintln(a.out, n); err != nil {
				return err
			}
		}
		return nil
	default:
		ans.table(a.out)
		return nil
	}
}

// rows writes aligned columns.
func rows(w io.Writer, lines ...[]string) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, l := range lines {
		_, _ = fmt.Fprintln(tw, strings.TrimRight(strings.Join(l, "\t"), "\t"))
	}
	_ = tw.Flush() // a broken pipe on stdout is the reader's choice
}
