# make            format, lint, test
# make test       the whole suite, with the race detector where there is a C compiler; needs nothing but Go
# make test-real  the same against real servers and a real browser, and the shop under fire
# make consul     the Consul agent of the real tests, into the user's cache: once, about 5 minutes of two processors
# make kafka      the Kafka broker of the real tests, into the user's cache: once, seconds; needs Maven, and Java 17 to run
# make jaeger     Jaeger of the real tests, and make otelcol the OpenTelemetry Collector: likewise, minutes each
# make axe        what judges the console for accessibility, into the user's cache: once, seconds; needs Maven
# make engines    the shop under fire on Kafka and on RabbitMQ: minutes, quiet machine
# make schedules  1,000 simulated schedules of a replicated group under faults; make mutants: bugs put in on purpose are found
# make bugs       six bugs in a system that is drilled: each is found by the drill that should; needs nothing, ten minutes
# make drills     the shop is broken on purpose for three minutes: nobody may notice; needs nothing but Go
# make generate   protobuf code; leaves no difference when nothing changed
# make fuzz       each fuzz test on 10,000 new inputs: half an hour; INPUTS=2000 is 10 minutes
# make bench      benchmarks beside the code, then what a call costs and how a fleet is balanced: minutes
# make promises   ten other programs under bench/, which break things and judge what comes of it: an hour and a half, quiet machine, PostgreSQL
# make soak       the shop under load for 46 minutes: does the memory of any process grow? quiet machine
# make pictures   the pictures in docs/ (needs Chromium and tmux)

GO     ?= go
TOOL   := $(GO) tool -modfile=tools/go.mod
GOTEST ?= $(GO) test
TESTS  ?= 4# packages that are tested at a time
# The race detector has each process wait for a second when it ends, for races in what still runs then. goleak sees to it
# that nothing does, and there are a hundred packages, many of which start processes.
export GORACE ?= atexit_sleep_ms=0
# It needs a C compiler, without which Go has no cgo. Tests run without it, too, and say so.
RACE    = $(if $(filter 1,$(shell $(GO) env CGO_ENABLED)),-race)
# What is built for every one of the targets; all the rest, the platform, runs on linux and darwin.
LIBRARY   := . ./admission/... ./balance/... ./config/... ./drivers/... ./failure/... ./idempotency/... ./lifecycle/... ./lock/... ./policy/... ./queue/... \
             ./registry/... ./replica/... ./resilience/... ./rest/... ./rpc/... ./examples/greeter/...
TARGETS   := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64

.DEFAULT_GOAL := all
.PHONY: all build fmt lint test test-real engines consul kafka axe jaeger otelcol generate schedules mutants bugs drills cross fuzz bench promises soak pictures clean

all: fmt lint test

build: ## the command, into bin/
	$(GO) build -o bin/holdfast ./cmd/holdfast

fmt:
	$(TOOL) gofumpt -l -w $$(git ls-files -co --exclude-standard '*.go' | grep -v '\.pb\.go$$')

lint:
	@out=$$($(TOOL) gofumpt -l $$(git ls-files -co --exclude-standard '*.go' | grep -v '\.pb\.go$$')); \
	  if [ -n "$$out" ]; then echo "not gofumpt-ed (run make fmt):"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags real ./...
	$(GO) tool -modfile=tools/lint/go.mod golangci-lint run ./...

# Many packages wait more than they compute, so that more run at a time than there are processors; and a third of the processor time went into
# linking what nobody debugs.
test: ## without vet, which is part of lint, and sees all packages there
	@[ -n "$(RACE)" ] || echo 'no C compiler: without the race detector'
	$(GOTEST) $(RACE) -vet=off -p $(TESTS) -ldflags='-w -s' ./...

test-real: consul kafka axe jaeger otelcol
	$(GOTEST) $(RACE) -tags real -run 'Real' -count=1 -timeout 40m $(REAL) ./...

engines: kafka
	$(GOTEST) $(RACE) -tags real -run 'TestShopOnOtherEngines' -count=1 -timeout 20m -v ./examples/shop

# Only what is in tools/consul/go.mod decides what is built: not the user's flags, nor a workspace. It is a test server
# (its licence is the BSL) and is never committed nor linked. A build that was interrupted leaves nothing that counts.
CONSUL_VERSION := $(shell awk '$$1 == "github.com/hashicorp/consul" {sub("^v", "", $$2); print $$2}' tools/consul/go.mod)
CONSUL         := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/holdfast/consul-$(CONSUL_VERSION)/consul

consul: $(CONSUL)

$(CONSUL):
	@echo "building Consul $(CONSUL_VERSION) for the tests, once: $@"
	@mkdir -p $(@D)
	@cd tools/consul && env -u GOOS -u GOARCH GOFLAGS= GOWORK=off CGO_ENABLED=0 nice $(GO) build -p 2 -buildvcs=false -trimpath \
	  -ldflags '-s -w' -o $@.$$$$ github.com/hashicorp/consul && mv $@.$$$$ $@

# Only what is in tools/kafka/pom.xml decides what is fetched. A fetch that was interrupted leaves nothing that counts.
KAFKA_VERSION := $(shell sed -n 's|.*<kafka.version>\(.*\)</kafka.version>.*|\1|p' tools/kafka/pom.xml)
KAFKA         := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/holdfast/kafka-$(KAFKA_VERSION)

kafka: $(KAFKA)

$(KAFKA):
	@echo "fetching Kafka $(KAFKA_VERSION) for the tests, once: $@"
	@mkdir -p $(@D) && rm -rf $@.$$$$ && \
	  mvn -B -q -f tools/kafka/pom.xml dependency:copy-dependencies -DoutputDirectory=$@.$$$$ && mv $@.$$$$ $@

# Likewise test servers, which nothing else is built with.
JAEGER_VERSION  := $(shell awk '$$1 == "github.com/jaegertracing/jaeger" {sub("^v", "", $$2); print $$2}' tools/jaeger/go.mod)
JAEGER          := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/holdfast/jaeger-$(JAEGER_VERSION)/jaeger
OTELCOL_VERSION := $(shell awk '$$1 == "go.opentelemetry.io/collector/otelcol" {sub("^v", "", $$2); print $$2}' tools/otelcol/go.mod)
OTELCOL         := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/holdfast/otelcol-$(OTELCOL_VERSION)/otelcol

jaeger: $(JAEGER)

$(JAEGER):
	@echo "building Jaeger $(JAEGER_VERSION) for the tests, once: $@"
	@mkdir -p $(@D)
	@cd tools/jaeger && env -u GOOS -u GOARCH GOFLAGS= GOWORK=off CGO_ENABLED=0 nice $(GO) build -p 2 -buildvcs=false -trimpath \
	  -ldflags '-s -w' -o $@.$$$$ github.com/jaegertracing/jaeger/cmd/all-in-one && mv $@.$$$$ $@

otelcol: $(OTELCOL)

$(OTELCOL):
	@echo "building the OpenTelemetry Collector $(OTELCOL_VERSION) for the tests, once: $@"
	@mkdir -p $(@D)
	@cd tools/otelcol && env -u GOOS -u GOARCH GOFLAGS= GOWORK=off CGO_ENABLED=0 nice $(GO) build -p 2 -buildvcs=false -trimpath \
	  -ldflags '-s -w' -o $@.$$$$ . && mv $@.$$$$ $@

# axe-core, for the console's test; only what is in tools/axe/pom.xml decides what is fetched.
AXE_VERSION := $(shell sed -n 's|.*<axe.version>\(.*\)</axe.version>.*|\1|p' tools/axe/pom.xml)
AXE         := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/holdfast/axe-$(AXE_VERSION)

axe: $(AXE)

$(AXE):
	@echo "fetching axe-core for the tests, once: $@"
	@mkdir -p $(@D) && rm -rf $@.$$$$ && \
	  mvn -B -q -f tools/axe/pom.xml dependency:copy-dependencies -DoutputDirectory=$@.$$$$ && mv $@.$$$$ $@

generate:
	$(TOOL) buf lint
	$(TOOL) buf generate

schedules: ## seeds 1 to 1000, each judged; one again: go run ./replica/internal/sim/schedules -log -seed N
	$(GO) run ./replica/internal/sim/schedules -n 1000

MUTANTS := stale_read double_apply lost_fsync
mutants: ## what finds nothing proves nothing: each of these builds has a bug, and the simulator must find it
	@for m in $(MUTANTS); do \
	  echo "== $$m"; $(GO) run -tags mutant_$$m ./replica/internal/sim/schedules -quiet -expect-bug || exit 1; \
	done

bugs: ## the same for drills: each of six bugs is put into a small system, and the drill that should must find it; keeps the reports
	$(GO) run ./bench/bugs -without

DRILLS ?= quick leaders-die gateways-die
drills: ## a minute each; all there are: holdfast drill --all examples/shop
	$(GO) run ./cmd/holdfast drill --tries 3 --html drills.html --seed 1 examples/shop $(DRILLS)

cross: ## compiles for every platform, runs nothing
	@for t in $(TARGETS); do \
	  pkgs='$(LIBRARY)'; case $$t in linux/*|darwin/arm64) pkgs=./... ;; esac; \
	  echo "build $$t"; CGO_ENABLED=0 GOOS=$${t%/*} GOARCH=$${t#*/} $(GO) build $$pkgs || exit 1; \
	done

INPUTS ?= 10000
fuzz: ## new inputs each time; what was found before is a seed, and with `make test`
	./.ci/fuzz $(INPUTS)

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./admission ./balance ./resilience ./rpc ./rest
	$(GO) run ./bench/echo
	$(GO) run ./bench/balancing

soak: ## draws soak.html; shorter, and nothing judged: go run ./bench/soak -short
	$(GO) run ./bench/soak

promises: consul
	@for p in sick overload storm hedge throttle rolling outage locks outbox elastic; do \
	  echo "== bench/$$p"; $(GO) run ./bench/$$p || failed="$$failed $$p"; \
	done; [ -z "$$failed" ] || { echo "broken:$$failed"; exit 1; }

pictures:
	./docs/pictures/make.sh

clean:
	rm -rf bin .holdfast drills.html
