.DEFAULT_GOAL := help
TOOL := go tool -modfile=tools/go.mod
# More flags of ./bench, for example BENCH="-terraform DIR".
BENCH :=
# The packages of ours that start goroutines.
RACE := ./internal/... ./sdk/...

.PHONY: help
help: ## Show the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

.PHONY: build
build: ## Build bin/tenon
	go build -trimpath -o bin/tenon ./cmd/tenon

.PHONY: test
test: ## Run the tests, offline
	go test ./...

.PHONY: race
race: ## Run the tests of packages with goroutines of ours under the race detector
	go test -race -short $(RACE)

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, and workflowcheck for deterministic workflows
	@test -z "$$(gofmt -l .)" || { echo "not gofmt'ed:"; gofmt -l .; exit 1; }
	go vet ./...
	$(TOOL) staticcheck ./...
	$(TOOL) workflowcheck -config tools/workflowcheck.yaml ./internal/workflows/...

.PHONY: gen
gen: ## Write generated files anew: references, goldens and recorded histories
	go test ./api/v1 -run Docs -update
	go test ./api/v1 -run KindPages -update
	go test ./internal/cli -run Reference -update
	go test ./internal/cluster/access -run Matrix -update
	go test ./internal/auth0sim -run Catalog -update
	go test ./test -run 'WorkflowsReference|Histories' -update

.PHONY: bench
bench: build ## Measure: beside an unsecured cluster and other tools, as ratios, and the simulator
	go run ./bench -tenon bin/tenon $(BENCH)
	go test ./internal/auth0sim -run '^$$' -bench .

.PHONY: demo
demo: build ## Run the main job
	bin/tenon demo
