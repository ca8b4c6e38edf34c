package authapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

// Doc is a stored document.
type Doc = state.Doc

func str(d Doc, key string) string { s, _ := d[key].(string); return s }

// sub is a nested object, empty if absent. It reads only: writing to an absent
// one is lost.
func sub(d Doc, key string) Doc {
	if m, ok := d[key].(Doc); ok {
		return m
	}
	return Doc{}
}

func flag(d Doc, key string) bool { b, _ := d[key].(bool); return b }

// flagOr is flag with a default for an absent key.
func flagOr(d Doc, key string, missing bool) bool {
	if b, ok := d[key].(bool); ok {
		return b
	}
	return missing
}

// number is a numeric member; missing when absent or not a number.
func number(d Doc, key string, missing float64) float64 {
	switch v := d[key].(type) {
	case float64:
		return v
	case int:
		return float64(v)
	case int64:
		return float64(v)
	}
	return missing
}

// texts is a list of strings; other elements are dropped.
func texts(d Doc, key string) []string {
	switch v := d[key].(type) {
	case []string:
		return v
	case []any:
		out := make([]string, 0, len(v))
		for _, e := range v {
			if s, ok := e.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}

// anys is a list of strings as a document holds it.
func anys(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

// docs is a list of objects.
func docs(d Doc, key string) []Doc {
	list, _ := d[key].([]any)
	out := make([]Doc, 0, len(list))
	for _, e := range list {
		if m, ok := e.(Doc); ok {
			out = append(out, m)
		}
	}
	return out
}

// unix is a time kept as seconds; the zero time when absent.
func unix(d Doc, key string) time.Time {
	n := number(d, key, 0)
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(int64(n), 0)
}

func intersect(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}

func subset(a, b []string) bool { return len(intersect(a, b)) == len(a) }

// digest is how tokens are kept: a stolen database contains none. They are
// random, so a plain hash cannot be searched.
func digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// same compares without telling by its duration where the two differ.
func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// singleton is a family's only document, empty if nothing was ever stored.
func singleton(tx *state.Tx, family string) (Doc, error) {
	list, _, err := tx.List(family, state.ListOptions{Limit: 1})
	if err != nil || len(list) == 0 {
		return Doc{}, err
	}
	return list[0], nil
}

// purge removes the oldest documents of a family that have expired. Called with
// every new one, it keeps what visitors leave behind from growing without end.
func purge(tx *state.Tx, family, idField string) error {
	return purgeDead(tx, family, idField, func(d Doc) bool { return expired(d, tx.Now()) })
}

func purgeDead(tx *state.Tx, family, idField string, dead func(Doc) bool) error {
	list, _, err := tx.List(family, state.ListOptions{Limit: 8})
	if err != nil {
		return err
	}
	for _, d := range list {
		if !dead(d) {
			continue
		}
		if _, err := tx.Delete(family, str(d, idField)); err != nil {
			return err
		}
	}
	return nil
}

func expired(d Doc, now time.Time) bool { return !unix(d, "expires_at").After(now) }

func unmarshal(d Doc, v any) error {
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

func marshal(v any) (Doc, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var d Doc
	return d, json.Unmarshal(text, &d)
}

// originOf shortens an address to what may be shown of it.
func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return clip(address)
	}
	return clip(u.Scheme + "://" + u.Host)
}
