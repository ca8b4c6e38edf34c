package state

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/google/uuid"
)

// Kind names what an identifier is for; its format is Auth0's.
type Kind string

// The kinds of identifiers.
const (
	ClientID           Kind = "client_id"     // 32 alphanumerics
	ClientSecret       Kind = "client_secret" // 64 of [A-Za-z0-9_-]
	Token              Kind = "token"         // 43 of [A-Za-z0-9_-]; codes, refresh tokens, session ids
	TicketID           Kind = "ticket"        // 32 alphanumerics
	ObjectID           Kind = "object_id"     // 24 hex: resource servers, users without their "auth0|"
	UUID               Kind = "uuid"          // actions, versions, bindings
	ThemeID            Kind = "theme"         // 32 alphanumerics
	KeyID              Kind = "kid"           // 21 of [A-Za-z0-9_-]
	LogID              Kind = "log"           // "900" and 54 digits
	LogStreamID        Kind = "lst"           // "lst_" and 16 digits
	RecoveryCode       Kind = "recovery_code" // 24 upper-case alphanumerics
	ConnectionID       Kind = "con"           // the kinds from here on: prefix, "_", 16 alphanumerics
	RoleID             Kind = "rol"           //
	OrganizationID     Kind = "org"           //
	ClientGrantID      Kind = "cgr"           //
	CustomDomainID     Kind = "cd"            //
	JobID              Kind = "job"           //
	InvitationID       Kind = "uinv"          //
	RuleID             Kind = "rul"           //
	DeviceID           Kind = "dev"           // guardian enrolments
	SCIMTokenID        Kind = "tok"           //
	EventStreamID      Kind = "est"           // from here on: prefix, "_", 22 base58
	EventID            Kind = "evt"           //
	CredentialID       Kind = "cred"          //
	SelfServiceID      Kind = "ssp"           //
	TokenExchangeID    Kind = "tep"           //
	UserProfileID      Kind = "uap"           //
	ConnectionProfile  Kind = "cop"           //
	NetworkACLID       Kind = "acl"           //
	FlowID             Kind = "af"            //
	FormID             Kind = "ap"            //
	VaultConnectionID  Kind = "ac"            //
	DiscoveryDomainID  Kind = "ord"           //
	PhoneProviderID    Kind = "pro"           //
	PhoneTemplateID    Kind = "tem"           //
	SynchronizedGroup  Kind = "grp"           //
	SynchronizationID  Kind = "dsync"         //
	FlowExecutionID    Kind = "exec"          //
	ActionModuleID     Kind = "amod"          //
	RateLimitPolicyID  Kind = "rlp"           //
	AsyncApprovalReqID Kind = "auth_req"      //
	MailID             Kind = "mail"          // of the simulator's own outbox
)

const (
	digits   = "0123456789"
	upper    = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	lower    = "abcdefghijklmnopqrstuvwxyz"
	alnum    = upper + lower + digits
	urlSafe  = alnum + "-_"
	base58   = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	logStart = "900"
)

type idFormat struct {
	alphabet string
	length   int
}

var idFormats = map[Kind]idFormat{
	ClientID: {alnum, 32}, ClientSecret: {urlSafe, 64}, Token: {urlSafe, 43}, TicketID: {alnum, 32},
	ThemeID: {lower + digits, 32}, KeyID: {urlSafe, 21}, RecoveryCode: {upper + digits, 24},
	ConnectionID: {alnum, 16}, RoleID: {alnum, 16}, OrganizationID: {alnum, 16}, ClientGrantID: {alnum, 16},
	CustomDomainID: {alnum, 16}, JobID: {alnum, 16}, InvitationID: {alnum, 16}, RuleID: {alnum, 16},
	DeviceID: {alnum, 16}, SCIMTokenID: {alnum, 16}, LogStreamID: {digits, 16},
}

// NewID makes a new identifier of the kind.
func (s *Store) NewID(kind Kind) string {
	switch kind {
	case ObjectID:
		return hex.EncodeToString(s.bytes(12))
	case UUID:
		var u uuid.UUID
		copy(u[:], s.bytes(16))
		u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
		return u.String()
	case LogID:
		// Rising, like the real ones: the cursor of GET /logs is a log id.
		return fmt.Sprintf("%s%020d%s", logStart, s.Now().UnixNano(), s.text(digits, 34))
	case ClientID, ClientSecret, Token, TicketID, ThemeID, KeyID, RecoveryCode:
		f := idFormats[kind]
		return s.text(f.alphabet, f.length)
	}
	f, ok := idFormats[kind]
	if !ok {
		f = idFormat{base58, 22}
	}
	return string(kind) + "_" + s.text(f.alphabet, f.length)
}

// text draws length characters without bias: bytes beyond the largest multiple
// of the alphabet's size are thrown away.
func (s *Store) text(alphabet string, length int) string {
	out := make([]byte, 0, length)
	limit := 256 - 256%len(alphabet)
	for len(out) < length {
		for _, b := range s.bytes(length) {
			if int(b) < limit && len(out) < length {
				out = append(out, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(out)
}

// bytes reads from the injected source, and from the operating system's if that
// one has run dry: an identifier must never be predictable.
func (s *Store) bytes(n int) []byte {
	out := make([]byte, n)
	if _, err := io.ReadFull(s.Rand(), out); err != nil {
		rand.Read(out)
	}
	return out
}
