/**
 * Puts the user's roles into the ID token, under the claim that the
 * application names in its client metadata ("roles_claim"). Applications
 * without that key are left alone. Managed by Tenon.
 *
 * @param {Event} event - Details about the user and the login.
 * @param {PostLoginAPI} api - Changes the login's outcome.
 */
exports.onExecutePostLogin = async (event, api) => {
  const metadata = event.client.metadata || {};
  const claim = metadata.roles_claim;
  if (!claim) {
    return;
  }
  const roles = (event.authorization && event.authorization.roles) || [];
  api.idToken.setCustomClaim(claim, roles);
};
