package audit

import (
	"encoding/json"
	"net"
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"
)

// Verdict is the outcome of a decision.
type Verdict string

// The verdicts.
const (
	// Allow let the call through.
	Allow Verdict = "allow"
	// Deny refused a caller who is known.
	Deny Verdict = "deny"
	// Unauthenticated refused a caller who did not prove who they are.
	Unauthenticated Verdict = "unauthenticated"
)

// Certificate identifies a client certificate.
type Certificate struct {
	// Fingerprint is the SHA-256 of the certificate, in hex.
	Fingerprint string `json:"fingerprint"`
	// Serial number, in hex.
	Serial string `json:"serial"`
	// Subject as RFC 2253 text.
	Subject string `json:"subject"`
}

// Record is one decision. Texts that come from a caller are cut to a bounded
// length when they are written.
type Record struct {
	// Sequence counts records from 1 without gaps. Append fills it.
	Sequence uint64 `json:"seq"`
	// Time of the decision.
	Time    time.Time `json:"time"`
	Verdict Verdict   `json:"verdict"`
	// API is the full method name.
	API string `json:"api"`
	// Namespace that the call is for; "" if none.
	Namespace string `json:"namespace,omitempty"`
	// Target is what in the namespace the call is for: a workflow, schedule or
	// task queue.
	Target string `json:"target,omitempty"`
	// Update is the name and id of an update of a workflow: "approve approve/c3/9f86…".
	// Both are the caller's words; a workflow may hold the id to a form, so that it
	// says what the update was about.
	Update string `json:"update,omitempty"`
	// Subject, Issuer and TokenID are the verified token's. For a token that was
	// genuine but refused (expired, revoked) they are given as well.
	Subject string `json:"subject,omitempty"`
	Issuer  string `json:"issuer,omitempty"`
	TokenID string `json:"token_id,omitempty"`
	// Certificate of the connection; nil if there was none.
	Certificate *Certificate `json:"certificate,omitempty"`
	// Peer is the caller's address.
	Peer net.Addr `json:"-"`
	// PeerAddress is Peer as read back from a log.
	PeerAddress string `json:"peer,omitempty"`
	// Reason for the verdict, more precise than what the caller is told.
	Reason string `json:"reason,omitempty"`
	// Count is how many equal decisions the record stands for; 0 is one. Only
	// calls of the server to itself are summed up, minute by minute.
	Count int64 `json:"count,omitempty"`
	// Previous is the hash of the record before; Hash is over this line's bytes
	// up to the hash. Append fills both.
	Previous string `json:"prev"`
	Hash     string `json:"hash"`
}

// maxText bounds each text of a record, in bytes.
const maxText = 1024

// appendLine appends the record as JSON without "hash" and without the closing
// brace: the bytes that the hash is over.
func (r *Record) appendLine(b []byte, seq uint64, prev []byte) []byte {
	b = append(b, `{"seq":`...)
	b = strconv.AppendUint(b, seq, 10)
	b = append(b, `,"time":"`...)
	b = r.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, '"')
	b = appendText(b, "verdict", string(r.Verdict))
	b = appendText(b, "api", r.API)
	b = appendOptional(b, "namespace", r.Namespace)
	b = appendOptional(b, "target", r.Target)
	b = appendOptional(b, "update", r.Update)
	b = appendOptional(b, "subject", r.Subject)
	b = appendOptional(b, "issuer", r.Issuer)
	b = appendOptional(b, "token_id", r.TokenID)
	if c := r.Certificate; c != nil {
		b = append(b, `,"certificate":{"fingerprint":`...)
		b = appendString(b, c.Fingerprint)
		b = appendText(b, "serial", c.Serial)
		b = appendText(b, "subject", c.Subject)
		b = append(b, '}')
	}
	switch peer := r.Peer.(type) {
	case nil:
		b = appendOptional(b, "peer", r.PeerAddress)
	case *net.TCPAddr: // nearly always; its String would allocate
		b = append(b, `,"peer":"`...)
		// A socket that takes both families shows IPv4 callers as IPv6.
		at := peer.AddrPort()
		b = netip.AddrPortFrom(at.Addr().Unmap(), at.Port()).AppendTo(b)
		b = append(b, '"')
	default:
		b = appendOptional(b, "peer", peer.String())
	}
	b = appendOptional(b, "reason", r.Reason)
	if r.Count > 0 {
		b = append(b, `,"count":`...)
		b = strconv.AppendInt(b, r.Count, 10)
	}
	b = append(b, `,"prev":"`...)
	b = append(b, prev...)
	return append(b, '"')
}

const (
	hashMember = `,"hash":"`
	lineEnd    = "\"}\n"
)

func appendOptional(b []byte, name, v string) []byte {
	if v == "" {
		return b
	}
	return appendText(b, name, v)
}

func appendText(b []byte, name, v string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':')
	return appendString(b, v)
}

// appendString appends a JSON string. Plain ASCII, which is nearly every text
// here, is copied; all else goes through encoding/json, which escapes control
// characters, so that a caller cannot start a line of their own.
func appendString(b []byte, s string) []byte {
	if len(s) > maxText {
		cut := maxText
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(s)
			if err != nil { // json.Marshal of a string cannot fail
				quoted = []byte(`""`)
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
