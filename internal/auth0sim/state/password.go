package state

import (
	"fmt"
	"strings"
	"unicode"
)

// PasswordRule is one rule of a connection's password policy and whether the
// password keeps it, as /dbconnections/signup reports them.
type PasswordRule struct {
	Code     string // lengthAtLeast, containsAtLeast, shouldContain, identicalChars
	Message  string
	Verified bool
}

// PasswordProblems checks a password against the options of a database
// connection (passwordPolicy, password_complexity_options, password_no_personal_info,
// password_dictionary). It returns every rule, and whether all are kept.
func PasswordProblems(connection, profile Doc, password string) (rules []PasswordRule, ok bool) {
	options, _ := connection["options"].(Doc)
	policy := str(options, "passwordPolicy")
	length := map[string]int{"": 1, "none": 1, "low": 6, "fair": 8, "good": 8, "excellent": 10}[policy]
	if c, _ := options["password_complexity_options"].(Doc); c != nil {
		if n, isNumber := c["min_length"].(float64); isNumber {
			length = int(n)
		}
	}
	add := func(code, message string, verified bool) {
		rules = append(rules, PasswordRule{code, message, verified})
	}
	if length == 1 {
		add("nonEmpty", "Non-empty password required", password != "")
	} else {
		add("lengthAtLeast", fmt.Sprintf("At least %d characters in length", length), len([]rune(password)) >= length)
	}
	var lowers, uppers, numbers, specials int
	for _, r := range password {
		switch {
		case unicode.IsLower(r):
			lowers = 1
		case unicode.IsUpper(r):
			uppers = 1
		case unicode.IsDigit(r):
			numbers = 1
		default:
			specials = 1
		}
	}
	switch policy {
	case "fair":
		add("shouldContain", "Lower case (a-z), upper case (A-Z) and numbers (0-9)", lowers+uppers+numbers == 3)
	case "good", "excellent":
		add("containsAtLeast", "Contain at least 3 of the following 4 types of characters: lower case letters (a-z), upper case letters (A-Z), numbers (i.e. 0-9), special characters (e.g. !@#$%^&*)",
			lowers+uppers+numbers+specials >= 3)
	}
	if policy == "excellent" {
		add("identicalChars", "No more than 2 identical characters in a row", !tripled(password))
	}
	if enabled(options, "password_no_personal_info") {
		add("noPersonalInfo", "Password contains user information", !personal(profile, password))
	}
	if enabled(options, "password_dictionary") {
		add("dictionary", "Password is too common", !listed(options, password))
	}
	ok = true
	for _, r := range rules {
		ok = ok && r.Verified
	}
	return rules, ok
}

func enabled(options Doc, name string) bool {
	o, _ := options[name].(Doc)
	return o["enable"] == true
}

func tripled(s string) bool {
	r := []rune(s)
	for i := 2; i < len(r); i++ {
		if r[i] == r[i-1] && r[i] == r[i-2] {
			return true
		}
	}
	return false
}

func personal(profile Doc, password string) bool {
	p := strings.ToLower(password)
	local, _, _ := strings.Cut(str(profile, "email"), "@")
	for _, v := range []string{local, str(profile, "username"), str(profile, "name"), str(profile, "nickname"), str(profile, "given_name"), str(profile, "family_name")} {
		if len(v) > 2 && strings.Contains(p, strings.ToLower(v)) {
			return true
		}
	}
	return false
}

// common are the passwords that every published list of the most used begins
// with; a connection's own dictionary is added to them.
const common = " password 123456 12345678 123456789 1234567890 qwerty qwerty123 abc123 111111 password1 iloveyou admin welcome letmein dragon monkey football baseball sunshine princess passw0rd "

func listed(options Doc, password string) bool {
	p := strings.ToLower(password)
	if !strings.ContainsRune(p, ' ') && strings.Contains(common, " "+p+" ") {
		return true
	}
	o, _ := options["password_dictionary"].(Doc)
	list, _ := o["dictionary"].([]any)
	for _, e := range list {
		if w, ok := e.(string); ok && strings.EqualFold(w, password) {
			return true
		}
	}
	return false
}
