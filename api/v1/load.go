package v1

import (
	"fmt"
	"slices"
	"strings"
)

// Source is one file of manifests.
type Source struct {
	// Name is how findings call the file.
	Name string
	// Data is YAML or JSON, any number of documents.
	Data []byte
}

// Limits of what Load reads. They are far above what people write, and below
// what could hurt.
const (
	// MaxSourceBytes is the size of one source.
	MaxSourceBytes = 10 << 20
	maxDepth       = 64
	maxExpanded    = 200_000
	maxFindings    = 1_000
)

// Manifests are what Load has read.
type Manifests struct {
	// Resources in the order in which they were written, in canonical form: of
	// apiVersion tenon.dev/v1, with snake_case keys.
	Resources []Resource
	// Warnings are what can be loaded and planned, and yet deserves a look.
	Warnings []Finding
	// Literals are the secrets that were written down instead of referred to. The
	// resources hold a reference that leads nowhere in their place ("literal:…");
	// whoever stores them puts the real reference there by Resource.SetString.
	Literals []Literal

	places map[resourceKey]*place
	// made says which resource makes an object that is not written down.
	made map[resourceKey]resourceKey
}

// Finding is something that a person should know about a manifest.
type Finding struct {
	// File is the name of the source. Line and Column count from 1, in characters.
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	// Resource is "Kind/name", as far as it is known.
	Resource string `json:"resource,omitempty"`
	// Path of the field, "" for the document as a whole.
	Path string `json:"path,omitempty"`
	// Message says what is wrong and what would be right.
	Message string `json:"message"`
}

// String returns "file:line:column: Kind/name: path: message".
func (f Finding) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", f.File, f.Line, f.Column)
	if f.Resource != "" {
		b.WriteString(f.Resource + ": ")
	}
	if f.Path != "" {
		b.WriteString(f.Path + ": ")
	}
	b.WriteString(f.Message)
	return b.String()
}

// LoadError is everything that is wrong with a set of sources, in the order of
// the sources.
type LoadError struct {
	Findings []Finding
	// Warnings are those of the documents that could be read.
	Warnings []Finding
}

// Error returns one line for each finding.
func (e *LoadError) Error() string {
	lines := make([]string, len(e.Findings))
	for i, f := range e.Findings {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

type resourceKey struct{ kind, name string }

func keyOf(r Resource) resourceKey { return resourceKey{r.Kind, r.Metadata.Name} }

func (k resourceKey) String() string { return k.kind + "/" + k.name }

// Load reads manifests. It takes snake_case and camelCase keys, the older
// apiVersions of the kinds that OpenMCF has too, and literal secrets, and brings
// all of it into canonical form. If anything is wrong, it returns a *LoadError
// with every problem of every source.
//
// A reference to a resource that is not among the sources is a warning here,
// since it may exist in the stack: CheckReferences decides.
func Load(sources ...Source) (*Manifests, error) {
	l := &loader{out: &Manifests{places: map[resourceKey]*place{}}}
	for i, s := range sources {
		l.order = i
		l.source(s)
	}
	l.out.made = makers(l.out.Resources)
	l.references()
	l.sort()
	if len(l.findings) > 0 {
		return nil, &LoadError{Findings: plainFindings(l.findings), Warnings: plainFindings(l.warnings)}
	}
	l.out.Warnings = plainFindings(l.warnings)
	return l.out, nil
}

// loader is one call of Load.
type loader struct {
	out                *Manifests
	findings, warnings []ordered
	// order is the number of the source at hand.
	order int
	// expanded is how many values aliases have stood for so far.
	expanded int
}

// ordered is a finding with the number of its source.
type ordered struct {
	Finding
	source int
}

// place is where a resource was written.
type place struct {
	file   string
	source int
	at     position
	paths  map[string]position
}

type position struct{ line, column int }

func (l *loader) add(f Finding) { l.findings = append(l.findings, ordered{f, l.order}) }

func (l *loader) warn(f Finding) { l.warnings = append(l.warnings, ordered{f, l.order}) }

func (l *loader) sort() {
	for _, list := range []*[]ordered{&l.findings, &l.warnings} {
		slices.SortStableFunc(*list, func(a, b ordered) int {
			for _, d := range []int{a.source - b.source, a.Line - b.Line, a.Column - b.Column} {
				if d != 0 {
					return d
				}
			}
			return strings.Compare(a.Path, b.Path)
		})
		if n := len(*list); n > maxFindings {
			last := (*list)[maxFindings]
			last.Finding = Finding{File: last.File, Line: last.Line, Column: last.Column, Message: fmt.Sprintf("and %d more problems", n-maxFindings)}
			*list = append((*list)[:maxFindings:maxFindings], last)
		}
	}
}

func plainFindings(list []ordered) []Finding {
	if len(list) == 0 {
		return nil
	}
	out := make([]Finding, len(list))
	for i, f := range list {
		out[i] = f.Finding
	}
	return out
}

// source reads one file.
func (l *loader) source(s Source) {
	chunks, finding := split(s)
	if finding != nil {
		l.add(*finding)
		return
	}
	for _, c := range chunks {
		roots, finding := c.parse()
		if finding != nil {
			finding.File = s.Name
			l.add(*finding)
		}
		for _, root := range roots {
			l.document(s.Name, root)
		}
	}
}

// document reads one manifest.
func (l *loader) document(file string, root *node) {
	d := &document{loader: l, file: file, paths: map[string]position{}, failed: map[string]bool{}}
	resource, ok := d.envelope(root)
	if !ok {
		return
	}
	key := keyOf(resource)
	found := resource.inspect()
	for _, p := range found.errors {
		if !d.hidden(p.Path) {
			d.problem(p.Path, p.Message)
		}
	}
	for _, p := range found.warnings {
		if !d.hidden(p.Path) {
			d.warning(p.Path, p.Message)
		}
	}
	if resource.Metadata.Name == "" {
		return
	}
	if first, dup := l.out.places[key]; dup {
		d.problem("metadata.name", fmt.Sprintf("repeats %s of %s:%d: names are unique among the resources of a kind", key, first.file, first.at.line))
		return
	}
	l.out.places[key] = &place{file: file, source: l.order, at: d.at(""), paths: d.paths}
	l.out.Resources = append(l.out.Resources, resource)
	l.out.Literals = append(l.out.Literals, d.literals...)
}

// Position says where a field of a resource was written: its own place, or that
// of the nearest field around it. ok is false if the resource was not loaded.
func (m *Manifests) Position(kind, name, path string) (file string, line, column int, ok bool) {
	p, ok := m.places[resourceKey{kind, name}]
	if !ok {
		return "", 0, 0, false
	}
	at := p.find(path)
	return p.file, at.line, at.column, true
}

// Locate turns a problem with a resource into a finding.
func (m *Manifests) Locate(kind, name string, problem Problem) Finding {
	f := Finding{Resource: kind + "/" + name, Path: problem.Path, Message: problem.Message}
	f.File, f.Line, f.Column, _ = m.Position(kind, name, problem.Path)
	return f
}

// find returns the position of a path, or of the nearest one around it.
func (p *place) find(path string) position {
	for path != "" {
		if at, ok := p.paths[path]; ok {
			return at
		}
		path = parent(path)
	}
	return p.at
}

// parent cuts the last key or index off a path.
func parent(path string) string {
	i := strings.LastIndexAny(path, ".[")
	if i < 0 {
		return ""
	}
	return path[:i]
}
