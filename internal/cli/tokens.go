package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenonhq/tenon/internal/daemon"
	"github.com/tenonhq/tenon/internal/secret"
	"github.com/tenonhq/tenon/internal/token"
)

func newTokens(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "tokens", GroupID: "operate", Short: "Issue, verify, rotate and revoke tokens for the cluster"}
	cmd.AddCommand(newTokensIssue(a), newTokensShow(a), newTokensVerify(a), newTokensRotate(a), newTokensRevoke(a))
	return cmd
}

func newTokensIssue(a *app) *cobra.Command {
	var req token.IssueRequest
	var role, namespace, out string
	cmd := &cobra.Command{
		Use:   "issue --subject NAME --role ROLE --namespace NAMESPACE",
		Short: "Issue a token for one role in one namespace",
		Long: `Issue a token. It is printed once and kept nowhere; with --out it goes to a file
(0600) instead. Namespace "temporal-system" is every namespace.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			issuer, err := daemon.OpenIssuerIn(a.paths().Certs, a.logger())
			if err != nil {
				return err
			}
			grant, err := token.ParseGrant(role, namespace)
			if err != nil {
				return usagef(cmd, "%w", err)
			}
			req.Permissions = []token.Permission{grant}
			raw, claims, err := issuer.Issue(cmd.Context(), req)
			if err != nil {
				return err
			}
			text := raw.Reveal()
			if out != "" {
				if err := secret.WriteFile(out, []byte(text+"\n")); err != nil {
					return err
				}
				text = ""
			}
			info := tokenOf(claims)
			info.Token, info.File = text, out
			return a.print(answer{
				data: info,
				table: func(w io.Writer) {
					fmt.Fprintf(a.err, "%s for %s until %s (id %s)\n", strings.Join(info.Permissions, " "), info.Subject, info.Expires.Format(time.RFC3339), info.ID)
					if text != "" {
						fmt.Fprintln(w, text)
					}
				},
				names: []string{info.ID},
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&req.Subject, "subject", "", "who it is for (required)")
	f.StringVar(&role, "role", "", "reader, client, worker, operator or admin in the namespace, or system (required)")
	f.StringVar(&namespace, "namespace", "", "namespace of the role; temporal-system is every one (required, but for role system)")
	f.DurationVar(&req.TTL, "ttl", 24*time.Hour, "how long it is good, at most 90 days")
	f.StringVar(&out, "out", "", "file to write the token to, instead of stdout")
	return cmd
}

// tokenInfo is what is shown of a token.
type tokenInfo struct {
	ID          string    `json:"jti"`
	Subject     string    `json:"sub"`
	Issuer      string    `json:"iss,omitempty"`
	Permissions []string  `json:"permissions"`
	IssuedAt    time.Time `json:"iat"`
	Expires     time.Time `json:"exp"`
	KeyID       string    `json:"kid"`
	Revoked     bool      `json:"revoked"`
	Token       string    `json:"token,omitempty"`
	File        string    `json:"file,omitempty"`
}

func tokenOf(c *token.Claims) tokenInfo {
	info := tokenInfo{ID: c.ID, Subject: c.Subject, Issuer: c.Issuer, IssuedAt: c.IssuedAt, Expires: c.Expires, KeyID: c.KeyID}
	for _, p := range c.Permissions {
		info.Permissions = append(info.Permissions, p.String())
	}
	return info
}

func newTokensShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "List the tokens that were issued and have not expired, without the tokens themselves",
		Args:  exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			issuer, err := daemon.OpenIssuerIn(a.paths().Certs, a.logger())
			if err != nil {
				return err
			}
			issued, err := issuer.Tokens()
			if err != nil {
				return err
			}
			infos := make([]tokenInfo, len(issued))
			for i, t := range issued {
				infos[i] = tokenInfo{ID: t.ID, Subject: t.Subject, Permissions: t.Permissions, IssuedAt: t.IssuedAt, Expires: t.Expires, KeyID: t.KeyID, Revoked: t.Revoked}
			}
			return a.print(tokensAnswer(infos))
		},
	}
}

func tokensAnswer(infos []tokenInfo) answer {
	names := make([]string, len(infos))
	for i, t := range infos {
		names[i] = t.ID
	}
	return answer{
		data: infos,
		table: func(w io.Writer) {
			lines := [][]string{{"ID", "SUBJECT", "PERMISSIONS", "ISSUED", "EXPIRES", "STATE"}}
			for _, t := range infos {
				state := "good"
				if t.Revoked {
					state = "revoked"
				}
				lines = append(lines, []string{t.ID, t.Subject, strings.Join(t.Permissions, " "), t.IssuedAt.Format(time.RFC3339), t.Expires.Format(time.RFC3339), state})
			}
			rows(w, lines...)
		},
		names: names,
	}
}

func newTokensVerify(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "verify [FILE]",
		Short: "Verify a token as the cluster does, from a file or stdin",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef(cmd, "unexpected argument %q", args[1])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			issuer, err := daemon.OpenIssuerIn(a.paths().Certs, a.logger())
			if err != nil {
				return err
			}
			verifier, err := daemon.NewVerifier(issuer)
			if err != nil {
				return err
			}
			in := a.in
			if len(args) == 1 {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close() //nolint:errcheck // read only
				in = f
			}
			data, err := io.ReadAll(io.LimitReader(in, 64<<10))
			if err != nil {
				return err
			}
			claims, err := verifier.Verify(cmd.Context(), strings.TrimSpace(string(data)))
			if err != nil {
				return &failure{err, "the cluster refuses it too", exitCredentials}
			}
			return a.print(tokensAnswer([]tokenInfo{tokenOf(claims)}))
		},
	}
}

func newTokensRotate(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rotate",
		Short: "Replace the signing key; tokens of the old one are good until they expire",
		Args:  exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			issuer, err := daemon.OpenIssuerIn(a.paths().Certs, a.logger())
			if err != nil {
				return err
			}
			if err := issuer.Rotate(cmd.Context()); err != nil {
				return err
			}
			keys, err := issuer.Keys(cmd.Context())
			if err != nil {
				return err
			}
			var ids []string
			for _, k := range keys.Keys() {
				ids = append(ids, k.ID)
			}
			return a.print(answer{
				data:  map[string]any{"keys": ids},
				table: func(w io.Writer) { fmt.Fprintf(w, "trusted keys: %s\n", strings.Join(ids, ", ")) },
				names: ids,
			})
		},
	}
}

func newTokensRevoke(a *app) *cobra.Command {
	var subject, reason string
	cmd := &cobra.Command{
		Use:   "revoke [ID]",
		Short: "Revoke a token by its id, or all of a subject; takes effect within 5 s",
		Args: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 1) == (subject != "") || len(args) > 1 {
				return usagef(cmd, "name one token by its id, or --subject")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			issuer, err := daemon.OpenIssuerIn(a.paths().Certs, a.logger())
			if err != nil {
				return err
			}
			what := "all tokens of " + subject
			if subject != "" {
				err = issuer.RevokeSubject(cmd.Context(), subject, time.Time{}, reason)
			} else {
				what = "token " + args[0]
				known, listErr := issuer.Tokens()
				if listErr != nil {
					return listErr
				}
				if !hasToken(known, args[0]) {
					return &failure{fmt.Errorf("no token with the id %q is in use", args[0]), "ids are in: tenon tokens show", exitFailed}
				}
				err = issuer.Revoke(cmd.Context(), args[0], reason)
			}
			if err != nil {
				return err
			}
			return a.print(answer{
				data:  map[string]string{"revoked": what},
				table: func(w io.Writer) { fmt.Fprintln(w, "revoked", what) },
				names: []string{what},
			})
		},
	}
	cmd.Flags().StringVar(&subject, "subject", "", "revoke all tokens that this subject holds now")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	return cmd
}

func hasToken(list []token.Issued, id string) bool {
	for _, t := range list {
		if t.ID == id {
			return true
		}
	}
	return false
}
