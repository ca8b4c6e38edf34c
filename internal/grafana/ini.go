package grafana

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// INI is a parsed configuration file: section, key, value.
type INI map[string]map[string]string

// ParseINI reads what Grafana's own reader (gopkg.in/ini.v1 with its default
// options) reads from the same text:
//
//   - keys end at the first "=" or ":", sections are in brackets;
//   - a value in """ or in backquotes is literal up to the last such quote;
//   - otherwise # and ; begin a comment anywhere in the value, and one pair of
//     single or double quotes around the whole value is stripped, unless the
//     same quote is inside as well;
//   - a backslash at the end of a line continues it, which we never write and
//     therefore refuse, as we do values of more than one line.
func ParseINI(text string) (INI, error) {
	file := INI{}
	section := "DEFAULT"
	for i, raw := range strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n") {
		line := strings.TrimSpace(raw)
		switch {
		case line == "", line[0] == '#', line[0] == ';':
			continue
		case line[0] == '[':
			end := strings.LastIndexByte(line, ']')
			if end < 0 {
				return nil, fmt.Errorf("line %d: section without a closing bracket", i+1)
			}
			section = line[1:end]
			continue
		}
		at := strings.IndexAny(line, "=:")
		if at <= 0 {
			return nil, fmt.Errorf("line %d: not of the form key = value", i+1)
		}
		value, err := iniValue(strings.TrimSpace(line[at+1:]))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		if file[section] == nil {
			file[section] = map[string]string{}
		}
		file[section][strings.TrimSpace(line[:at])] = value
	}
	return file, nil
}

func iniValue(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	for _, quote := range []string{`"""`, "`"} {
		if !strings.HasPrefix(text, quote) {
			continue
		}
		end := strings.LastIndex(text[len(quote):], quote)
		if end < 0 {
			return "", fmt.Errorf("value that begins with %s does not end on its line", quote)
		}
		return text[len(quote) : len(quote)+end], nil
	}
	if strings.HasSuffix(text, `\`) {
		return "", errors.New(`value that ends in \ continues on the next line`)
	}
	if at := strings.IndexAny(text, "#;"); at >= 0 {
		text = strings.TrimSpace(text[:at])
	}
	for _, quote := range []byte{'\'', '"'} {
		if len(text) >= 2 && text[0] == quote && strings.IndexByte(text[1:], quote) == len(text)-2 {
			return text[1 : len(text)-1], nil
		}
	}
	return text, nil
}

// expanded matches what Grafana replaces in a value after reading it:
// ${NAME}, $__env{NAME}, $__file{path} and %(key)s.
var expanded = regexp.MustCompile(`\$(__\w+)?\{[^}]+\}|%\([^)]*\)s`)

// quoteINI writes a value so that Grafana reads the same text back. It refuses
// what no quoting protects.
func quoteINI(value string) (string, error) {
	if hasControl(value) {
		return "", errors.New("a control character or line break cannot be written to an INI file")
	}
	if m := expanded.FindString(value); m != "" {
		return "", fmt.Errorf("grafana would replace %s in the value", m)
	}
	for _, quoted := range []string{value, `"""` + value + `"""`, "`" + value + "`"} {
		if back, err := iniValue(strings.TrimSpace(quoted)); err == nil && back == value {
			return quoted, nil
		}
	}
	return "", errors.New("the value cannot be written to an INI file")
}
