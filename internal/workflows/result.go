package workflows

import "time"

// CredentialCheck compares the scopes that the worker's credentials have with
// those that Tenon uses.
type CredentialCheck struct {
	// Missing are scopes that this workflow needs. A run with missing scopes fails
	// before it changes anything.
	Missing []string `json:"missing,omitempty"`
	// Excess are scopes that no workflow of Tenon uses: take them away, so that a
	// stolen credential opens less.
	Excess []string `json:"excess,omitempty"`
}

// TenantSetupResult is the result of Auth0TenantSetupWorkflow.
type TenantSetupResult struct {
	Tenant      string          `json:"tenant"`
	Credentials CredentialCheck `json:"credentials"`
	Objects     []Object        `json:"objects"`
	// Connection and API are the names to go on with.
	Connection string   `json:"connection"`
	API        string   `json:"api"`
	Roles      []string `json:"roles"`
	// Warnings name what the tenant's subscription does not include.
	Warnings []string `json:"warnings,omitempty"`
}

// WebAppResult is the result of WebAppRegistrationWorkflow.
type WebAppResult struct {
	Tenant      string          `json:"tenant"`
	Name        string          `json:"name"`
	Credentials CredentialCheck `json:"credentials"`
	Objects     []Object        `json:"objects"`
	ClientID    string          `json:"clientId"`
	// ClientSecret is a reference into a secret store.
	ClientSecret string `json:"clientSecret"`
	RolesClaim   string `json:"rolesClaim"`
	// Settings is where the application's settings were put.
	Settings AppSettings `json:"settings"`
	// Proof is what was found to agree, line by line.
	Proof    []string `json:"proof"`
	Warnings []string `json:"warnings,omitempty"`
}

// AppSettings is where an application's settings are.
type AppSettings struct {
	// INI, Env and Compose are paths on the worker's machine.
	INI     string `json:"ini"`
	Env     string `json:"env"`
	Compose string `json:"compose"`
	// PushedTo is the Grafana that took the settings through its API; "" for none.
	PushedTo string `json:"pushedTo,omitempty"`
}

// UserResult is the result of UserRegistrationWorkflow.
type UserResult struct {
	Tenant      string          `json:"tenant"`
	Connection  string          `json:"connection"`
	Email       string          `json:"email"`
	UserID      string          `json:"userId"`
	Credentials CredentialCheck `json:"credentials"`
	Objects     []Object        `json:"objects"`
	Roles       []string        `json:"roles,omitempty"`
	Tickets     Tickets         `json:"tickets"`
}

// Tickets are references into a secret store. What they refer to are links:
// whoever has one can act as the user, once.
type Tickets struct {
	Verification string `json:"verification,omitempty"`
	Password     string `json:"password,omitempty"`
	MFA          string `json:"mfa,omitempty"`
	// ExpiresAt is when the first two stop working.
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
}

// OnboardingResult is the result of OnboardingWorkflow.
type OnboardingResult struct {
	Tenant string            `json:"tenant"`
	Setup  TenantSetupResult `json:"setup"`
	App    WebAppResult      `json:"app"`
	User   UserResult        `json:"user"`
	// Runs are the workflow ids of the three parts, in order.
	Runs []string `json:"runs"`
}
