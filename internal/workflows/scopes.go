package workflows

import "slices"

// The Management API scopes that a workflow needs, to do its work and to undo
// it.
func tenantSetupScopes() []string {
	return []string{
		"read:tenant_settings", "update:tenant_settings",
		"read:guardian_factors", "update:guardian_factors", "read:mfa_policies", "update:mfa_policies",
		"read:attack_protection", "update:attack_protection",
		"read:connections", "create:connections", "update:connections", "delete:connections",
		"read:resource_servers", "create:resource_servers", "update:resource_servers", "delete:resource_servers",
		"read:roles", "create:roles", "update:roles", "delete:roles",
	}
}

func webAppScopes() []string {
	return []string{
		"read:clients", "create:clients", "update:clients", "delete:clients", "read:client_keys", "update:client_keys",
		"read:connections", "update:connections",
		"read:actions", "create:actions", "update:actions", "delete:actions",
	}
}

func userScopes() []string {
	return []string{
		"read:users", "create:users", "update:users", "delete:users", "read:roles",
		"create:user_tickets", "create:guardian_enrollment_tickets",
	}
}

func userImportScopes() []string {
	return []string{"read:users", "create:users", "update:users", "read:connections", "read:roles", "create:role_members"}
}

func serviceScopes() []string {
	return []string{
		"read:clients", "create:clients", "update:clients", "delete:clients", "read:client_keys", "update:client_keys",
		"read:resource_servers", "create:resource_servers", "update:resource_servers", "delete:resource_servers",
		"read:client_grants", "create:client_grants", "update:client_grants", "delete:client_grants",
	}
}

// stackScopes are what the kinds of a stack need beyond what the other workflows
// do.
func stackScopes() []string {
	return []string{
		"read:branding", "update:branding",
		"read:event_streams", "create:event_streams", "update:event_streams", "delete:event_streams",
	}
}

// RequiredScopes lists, in alphabetical order, every Management API scope that
// the workflows of this package use: what to grant the worker's application.
func RequiredScopes() []string {
	all := slices.Concat(tenantSetupScopes(), webAppScopes(), userScopes(), userImportScopes(), serviceScopes(), stackScopes())
	slices.Sort(all)
	return slices.Compact(all)
}
