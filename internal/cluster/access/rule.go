package access

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	"go.yaml.in/yaml/v3"

	"github.com/tenonhq/tenon/internal/token"
)

// Rule narrows what roles allow. A rule never allows what the table refuses.
type Rule struct {
	// Name identifies the rule in the audit log. Required, unique.
	Name string `yaml:"name" json:"name"`
	// Namespaces that the rule is about. Defaults to all.
	Namespaces []string `yaml:"namespaces" json:"namespaces,omitempty"`
	// APIs that the rule is about, as method names without the service
	// ("StartWorkflowExecution"). Defaults to all. A child workflow is a
	// StartWorkflowExecution too, an activity a StartActivityExecution.
	APIs []string `yaml:"apis" json:"apis,omitempty"`
	// Require is a CEL expression that must be true. It sees
	//
	//	api, namespace, task_queue, workflow_type, activity_type, target, via   string
	//	subject, issuer                                                         string
	//	roles                                                                   list(string)
	//	claims                                                                  map(string, dyn)
	//	certificate.{subject, serial, fingerprint}                              map(string, string)
	//
	// where what does not apply is "", and via is "call", "command", "operation",
	// "schedule" or "batch". An expression that fails, as by naming a claim that
	// the token lacks, refuses.
	Require string `yaml:"require" json:"require"`
}

// rule is a compiled Rule.
type rule struct {
	Rule
	program cel.Program
}

const (
	maxRules      = 500
	maxExpression = 8 << 10
	// maxCost bounds one evaluation, in CEL's own unit; a rule of a few
	// comparisons costs about ten.
	maxCost = 10_000
)

// ParseRules reads rules from YAML (or JSON): a list, or a mapping with the one
// key "rules". Unknown keys are errors.
func ParseRules(data []byte) ([]Rule, error) {
	if len(data) > 4<<20 {
		return nil, errors.New("rules are larger than 4 MiB")
	}
	var list []Rule
	listErr := decodeYAML(data, &list)
	if listErr == nil {
		return list, checkRules(list)
	}
	var doc struct {
		Rules []Rule `yaml:"rules"`
	}
	if err := decodeYAML(data, &doc); err != nil {
		if bytes.HasPrefix(bytes.TrimSpace(data), []byte("-")) {
			err = listErr
		}
		return nil, fmt.Errorf("rules: %w", err)
	}
	return doc.Rules, checkRules(doc.Rules)
}

func decodeYAML(data []byte, into any) error {
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func checkRules(list []Rule) error {
	_, err := compileRules(list)
	return err
}

// compileRules compiles rules and reports everything wrong with them at once.
func compileRules(list []Rule) ([]*rule, error) {
	if len(list) == 0 {
		return nil, nil
	}
	if len(list) > maxRules {
		return nil, fmt.Errorf("%d rules (at most %d)", len(list), maxRules)
	}
	env, err := cel.NewEnv(
		cel.Variable("api", cel.StringType), cel.Variable("namespace", cel.StringType),
		cel.Variable("task_queue", cel.StringType), cel.Variable("workflow_type", cel.StringType),
		cel.Variable("activity_type", cel.StringType), cel.Variable("target", cel.StringType),
		cel.Variable("via", cel.StringType), cel.Variable("subject", cel.StringType),
		cel.Variable("issuer", cel.StringType), cel.Variable("roles", cel.ListType(cel.StringType)),
		cel.Variable("claims", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("certificate", cel.MapType(cel.StringType, cel.StringType)),
	)
	if err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	known := knownAPIs()
	names := map[string]bool{}
	var compiled []*rule
	var problems []error
	for n, r := range list {
		where := fmt.Sprintf("rule %d (%.40q)", n+1, r.Name)
		if r.Name == "" {
			problems = append(problems, fmt.Errorf("%s: name is required", where))
		} else if names[r.Name] {
			problems = append(problems, fmt.Errorf("%s: another rule has this name", where))
		}
		names[r.Name] = true
		for _, api := range r.APIs {
			// A misspelt method would be a rule that never applies.
			if !known[api] {
				problems = append(problems, fmt.Errorf("%s: there is no method %.60q", where, api))
			}
		}
		program, err := compile(env, r.Require, cel.BoolType)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", where, err))
			continue
		}
		compiled = append(compiled, &rule{r, program})
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return compiled, nil
}

func compile(env *cel.Env, expression string, want *cel.Type) (cel.Program, error) {
	if strings.TrimSpace(expression) == "" {
		return nil, errors.New("expression is required")
	}
	if len(expression) > maxExpression {
		return nil, fmt.Errorf("expression is %d bytes long (at most %d)", len(expression), maxExpression)
	}
	ast, issues := env.Compile(expression)
	if err := issues.Err(); err != nil {
		return nil, fmt.Errorf("expression: %w", err)
	}
	if !ast.OutputType().IsExactType(want) && !ast.OutputType().IsExactType(cel.DynType) {
		return nil, fmt.Errorf("expression yields %s, want %s", ast.OutputType(), want)
	}
	program, err := env.Program(ast, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, fmt.Errorf("expression: %w", err)
	}
	return program, nil
}

func knownAPIs() map[string]bool {
	known := map[string]bool{}
	for _, r := range policyTable {
		for _, m := range strings.Fields(r.methods) {
			known[m] = true
		}
	}
	return known
}

func (r *rule) applies(a *act) bool {
	return (len(r.Namespaces) == 0 || slices.Contains(r.Namespaces, a.namespace)) &&
		(len(r.APIs) == 0 || slices.Contains(r.APIs, a.api))
}

// judge evaluates the rule if it is about an act.
func (r *rule) judge(a *act, c *Caller, cert *certificate) *refusal {
	if !r.applies(a) {
		return nil
	}
	claims := c.claims
	if claims == nil {
		claims = map[string]any{}
	}
	shown := map[string]string{"subject": "", "serial": "", "fingerprint": ""}
	if cert != nil {
		shown = map[string]string{"subject": cert.record.Subject, "serial": cert.record.Serial, "fingerprint": cert.record.Fingerprint}
	}
	out, _, err := r.program.Eval(map[string]any{
		"api": a.api, "namespace": a.namespace, "task_queue": a.taskQueue, "workflow_type": a.workflowType,
		"activity_type": a.activityType, "target": a.target, "via": a.via,
		"subject": c.Subject, "issuer": c.Issuer, "roles": c.Roles(a.namespace),
		"claims": claims, "certificate": shown,
	})
	if err != nil {
		return &refusal{reason: fmt.Sprintf("rule %q failed: %v", r.Name, err)}
	}
	if ok, isBool := out.Value().(bool); !isBool || !ok {
		return &refusal{reason: fmt.Sprintf("rule %q (%s by %s)", r.Name, a.api, a.via)}
	}
	return nil
}

// PermissionsExpression is an Extractor that computes a token's permissions
// with a CEL expression over "claims" (map(string, dyn)); it must yield a list
// of strings:
//
//	claims.groups.map(g, "default:" + g)
//
// A token for which the expression fails is refused.
func PermissionsExpression(expression string) (token.Extractor, error) {
	env, err := cel.NewEnv(cel.Variable("claims", cel.MapType(cel.StringType, cel.DynType)))
	if err != nil {
		return nil, fmt.Errorf("permissions: %w", err)
	}
	program, err := compile(env, expression, cel.ListType(cel.StringType))
	if err != nil {
		return nil, fmt.Errorf("permissions: %w", err)
	}
	return func(all map[string]any) ([]string, error) {
		out, _, err := program.Eval(map[string]any{"claims": plain(all)})
		if err != nil {
			return nil, fmt.Errorf("permissions expression failed: %w", err)
		}
		list, err := out.ConvertToNative(stringsType)
		if err != nil {
			return nil, errors.New("permissions expression yields no list of strings")
		}
		return list.([]string), nil
	}, nil
}
