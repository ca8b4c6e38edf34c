// Command tenon is durable identity provisioning for Auth0 on a Temporal
// cluster that is secure by default. Every role of the system is a subcommand.
package main

import (
	"os"

	"github.com/tenonhq/tenon/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
