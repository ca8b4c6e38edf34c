package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tenonhq/tenon/internal/daemon"
)

func newCodec(a *app) *cobra.Command {
	var cfg daemon.CodecConfig
	cmd := &cobra.Command{
		Use:     "codec",
		GroupID: "role",
		Short:   "Decrypt payloads for the Web UI and the stock temporal CLI",
		Long: `Serve Temporal's remote codec over HTTPS, for the cluster of a data directory:
the Web UI and the stock temporal CLI send it the payloads of a history and show
what comes back.

A caller's bearer token must hold a role in the namespace that is asked for:
reader or more to decrypt, client or more to encrypt. Every decision is recorded
in an audit log of its own, which tenon audit reads with --data-dir DIR/codec.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := a.load()
			if err != nil {
				return err
			}
			if (cfg.CertFile == "") != (cfg.KeyFile == "") {
				return usagef(cmd, "--tls-cert and --tls-key are given together or not at all")
			}
			cfg.Paths, cfg.File, cfg.Settings, cfg.Logger = a.paths(), a.conf, settings, a.logger()
			return a.serveCodec(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Address, "listen", "127.0.0.1:8081", "host:port; port 0 takes a free one")
	f.StringSliceVar(&cfg.AllowOrigins, "allow-origin", nil, "origins of the Web UIs whose pages may ask, like https://127.0.0.1:8233 (default: none)")
	f.StringVar(&cfg.PayloadKeyFile, "payload-keys", "", "file of payload keys (default: the cluster's)")
	f.StringVar(&cfg.CertFile, "tls-cert", "", "certificate to serve, PEM (default: the cluster's)")
	f.StringVar(&cfg.KeyFile, "tls-key", "", "its private key, PEM")
	f.BoolVar(&cfg.Workers, "workers", false, "serve the role worker too, for workers that let this server encrypt for them")
	return cmd
}

// serveCodec runs the codec server until the process is interrupted, and says on
// stdout where it listens.
func (a *app) serveCodec(ctx context.Context, cfg daemon.CodecConfig) error {
	c, err := daemon.NewCodec(cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	printed := make(chan error, 1)
	go func() {
		select {
		case <-c.Ready():
			printed <- a.print(answer{
				data:  map[string]string{"codec": c.URL()},
				table: func(w io.Writer) { fmt.Fprintf(w, "codec  %s\n", c.URL()) },
				names: []string{c.URL()},
			})
		case <-ctx.Done():
			printed <- nil
		}
	}()
	err = c.Run(ctx)
	cancel()
	if printErr := <-printed; err == nil {
		err = printErr
	}
	return err
}
