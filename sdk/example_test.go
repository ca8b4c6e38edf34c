package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/tenonhq/tenon/sdk"
)

func OrderWorkflow(ctx workflow.Context, order string) (string, error) {
	return "charged " + order, nil
}

// A worker that is configured by its environment.
func ExampleDial() {
	cfg, err := sdk.FromEnv()
	if err != nil {
		log.Fatal(err)
	}
	c, err := sdk.Dial(context.Background(), cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	w := worker.New(c, "orders", worker.Options{})
	w.RegisterWorkflow(OrderWorkflow)
	if err := w.Run(worker.InterruptCh()); err != nil {
		log.Fatal(err)
	}
}

// A program on the machine where "tenon up" runs.
func ExampleFromDataDir() {
	_, err := sdk.FromDataDir("/nowhere", sdk.Client)
	fmt.Println(errors.Is(err, sdk.ErrNotRunning), err)
	// Output: true no cluster is running on /nowhere
}

// A service that gets its tokens from Auth0, as a machine-to-machine application
// whose API grants it "shop:worker".
func ExampleClientCredentials() {
	source, err := sdk.ClientCredentials(sdk.ClientCredentialsConfig{
		TokenURL:         "https://acme.eu.auth0.com/oauth/token",
		ClientID:         "orders-worker",
		ClientSecretFile: "/run/secrets/auth0",
		Audience:         "https://temporal.acme.example",
	})
	if err != nil {
		log.Fatal(err)
	}
	c, err := sdk.Dial(context.Background(), sdk.Config{
		Address:        "temporal.acme.example:7233",
		Namespace:      "shop",
		CAFile:         "/run/secrets/orders-ca.crt",
		CertFile:       "/run/secrets/orders.crt",
		KeyFile:        "/run/secrets/orders.key",
		PayloadKeyFile: "/run/secrets/payload.key",
		Token:          source,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
}

// More of the Temporal SDK's own options: here, what a handler waits for.
func ExampleOptions() {
	cfg, err := sdk.FromEnv()
	if err != nil {
		log.Fatal(err)
	}
	opts, err := sdk.Options(cfg)
	if err != nil {
		log.Fatal(err)
	}
	opts.Identity = "orders-api"
	opts.ConnectionOptions.GetSystemInfoTimeout = 2 * time.Second
	c, err := client.Dial(opts)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
}
