package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/workflows"
)

// board shows the progress of a run: a tree that is redrawn on a terminal, and
// a line for each step that ends elsewhere.
type board struct {
	w     io.Writer
	live  bool
	drawn int             // lines on the screen
	said  map[string]bool // steps whose end was printed
}

func newBoard(w io.Writer, live bool) *board {
	return &board{w: w, live: live, said: map[string]bool{}}
}

func (b *board) show(t *daemon.Tree) {
	if t == nil {
		return
	}
	if !b.live {
		b.say(t)
		return
	}
	var lines []string
	draw(t, 0, &lines)
	var out strings.Builder
	if b.drawn > 0 {
		fmt.Fprintf(&out, "\x1b[%dA", b.drawn)
	}
	for _, l := range lines {
		out.WriteString("\x1b[2K" + l + "\n")
	}
	out.WriteString("\x1b[J")
	_, _ = io.WriteString(b.w, out.String())
	b.drawn = len(lines)
}

func draw(t *daemon.Tree, depth int, lines *[]string) {
	for _, s := range t.Steps {
		*lines = append(*lines, strings.Repeat("  ", depth)+stepLine(s))
		if child := t.Children[s.Name]; child != nil {
			draw(child, depth+1, lines)
		}
	}
}

// say prints each step once, when it has ended.
func (b *board) say(t *daemon.Tree) {
	for _, s := range t.Steps {
		if child := t.Children[s.Name]; child != nil {
			b.say(child)
		}
		key := t.ID + "\x00" + s.Name + "\x00" + string(s.State)
		if s.EndedAt == nil || b.said[key] {
			continue
		}
		b.said[key] = true
		fmt.Fprintln(b.w, stepLine(s))
	}
}

var stepMarks = map[workflows.StepState]string{
	workflows.StepPending:    "·",
	workflows.StepRunning:    "▸",
	workflows.StepDone:       "✓",
	workflows.StepSkipped:    "-",
	workflows.StepFailed:     "✗",
	workflows.StepUndone:     "↶",
	workflows.StepUndoFailed: "!",
}

func stepLine(s workflows.Step) string {
	line := stepMarks[s.State] + " " + s.Title
	if s.Action != "" && s.Action != "none" {
		line += " (" + s.Action + ")"
	}
	if s.Detail != "" && (s.State == workflows.StepFailed || s.State == workflows.StepSkipped || s.State == workflows.StepUndoFailed) {
		line += ": " + s.Detail
	}
	return line
}
