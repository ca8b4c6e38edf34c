// Command caller is a service that calls another one. It has one token for all
// its calls, and gets the next shortly before that one expires.
//
//	AUTH0_DOMAIN         host of the tenant, acme.eu.auth0.com
//	AUTH0_AUDIENCE       identifier of the API that is called
//	AUTH0_CLIENT_ID      of the caller's client
//	AUTH0_CLIENT_SECRET  of the same
//	API_URL              where the API is, http://127.0.0.1:8080
//
// It makes -n calls, -parallel at a time, and prints each status that came back
// with how often it did.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

func main() {
	n := flag.Int("n", 1, "calls")
	parallel := flag.Int("parallel", 4, "calls at a time")
	method := flag.String("method", http.MethodGet, "GET lists orders, POST creates one")
	flag.Parse()
	if err := run(context.Background(), *n, *parallel, *method); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, n, parallel int, method string) error {
	client, err := newClient(ctx)
	if err != nil {
		return err
	}
	target, err := url.JoinPath(os.Getenv("API_URL"), "orders")
	if err != nil {
		return err
	}
	var (
		mu       sync.Mutex
		statuses = map[int]int{}
		failures []error
		workers  sync.WaitGroup
		calls    = make(chan struct{})
	)
	for range parallel {
		workers.Go(func() {
			for range calls {
				status, err := call(ctx, client, method, target)
				mu.Lock()
				if err != nil {
					failures = append(failures, err)
				} else {
					statuses[status]++
				}
				mu.Unlock()
			}
		})
	}
	for range n {
		calls <- struct{}{}
	}
	close(calls)
	workers.Wait()
	for _, status := range slices.Sorted(maps.Keys(statuses)) {
		fmt.Println(status, statuses[status])
	}
	return errors.Join(failures...)
}

// newClient returns a client that puts the token on every request. The token is
// kept until a minute before its end: a call that is under way when a token
// expires would be refused.
func newClient(ctx context.Context) (*http.Client, error) {
	cfg := clientcredentials.Config{
		ClientID:       os.Getenv("AUTH0_CLIENT_ID"),
		ClientSecret:   os.Getenv("AUTH0_CLIENT_SECRET"),
		TokenURL:       "https://" + os.Getenv("AUTH0_DOMAIN") + "/oauth/token",
		EndpointParams: url.Values{"audience": {os.Getenv("AUTH0_AUDIENCE")}},
		AuthStyle:      oauth2.AuthStyleInParams,
	}
	if cfg.ClientID == "" || cfg.ClientSecret == "" {
		return nil, errors.New("set AUTH0_CLIENT_ID and AUTH0_CLIENT_SECRET")
	}
	// Not cfg.TokenSource, which keeps a token until ten seconds before its end.
	fresh := tokenSource(func() (*oauth2.Token, error) { return cfg.Token(ctx) })
	source := oauth2.ReuseTokenSourceWithExpiry(nil, fresh, time.Minute)
	return &http.Client{Transport: &oauth2.Transport{Source: source}, Timeout: 10 * time.Second}, nil
}

type tokenSource func() (*oauth2.Token, error)

func (f tokenSource) Token() (*oauth2.Token, error) { return f() }

func call(ctx context.Context, client *http.Client, method, target string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return 0, err
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}
