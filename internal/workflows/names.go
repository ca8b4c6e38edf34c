package workflows

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/tenonhq/tenon/internal/engine"
	"github.com/tenonhq/tenon/internal/secret"
)

// TaskQueue is the task queue of Tenon's workers.
const TaskQueue = "tenon"

// The workflow types.
const (
	TypeOnboarding         = "OnboardingWorkflow"
	TypeTenantSetup        = "Auth0TenantSetupWorkflow"
	TypeWebAppRegistration = "WebAppRegistrationWorkflow"
	TypeUserRegistration   = "UserRegistrationWorkflow"
)

// QueryProgress is the query that every workflow answers with a Progress, also
// after it has closed.
const QueryProgress = "progress"

// TenantSetupID is the workflow id to start Auth0TenantSetupWorkflow with. One id
// for each tenant makes Temporal the lock: a second start is refused while the
// first runs.
func TenantSetupID(tenant string) string { return "tenant-setup/" + tenant }

// WebAppID is the workflow id to start WebAppRegistrationWorkflow with.
func WebAppID(tenant, name string) string { return "app/" + tenant + "/" + name }

// UserID is the workflow id to start UserRegistrationWorkflow with.
func UserID(tenant, connection, email string) string {
	return "user/" + tenant + "/" + connection + "/" + strings.ToLower(email)
}

// OnboardingID is the workflow id to start OnboardingWorkflow with. Its children
// are OnboardingID + "/tenant", "/app" and "/user".
func OnboardingID(tenant string) string { return "onboarding/" + tenant }

// DotenvRef is an Activities.SecretRef for a store whose names are like those
// of environment variables: "dotenv:ACME_EU_AUTH0_COM_GRAFANA_CLIENT_SECRET_1F2E3D4C".
// Names that differ in punctuation alone would collide, so a hash of the exact
// name ends each.
func DotenvRef(tenant string, key engine.Key, output string) secret.Ref {
	text := strings.ToUpper(tenant + "_" + key.Name + "_" + output)
	name := strings.Map(func(r rune) rune {
		if (r >= 'A' && r <= 'Z') || (r >= '0' && r <= '9') {
			return r
		}
		return '_'
	}, text)
	if name[0] >= '0' && name[0] <= '9' {
		name = "_" + name
	}
	sum := sha256.Sum256([]byte(tenant + "\x00" + key.String() + "\x00" + output))
	return secret.Ref("dotenv:" + name + "_" + strings.ToUpper(hex.EncodeToString(sum[:4])))
}
