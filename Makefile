# The few things one does with Konzil.

# start the server with nothing configured: demo accounts, data in ./data
run:
	go run .

# packages that drive whole programs and browsers: one at a time, so that they do not starve each other, and never from the cache
PROGRAMS = ./internal/e2e ./internal/clients ./internal/lab ./sfu/browsertest

# everything CI runs: install what the end-to-end tests need (root on Debian), vet, unit tests, then end-to-end tests
test: deps
	go vet ./...
	go test $$(go list ./... | grep -v -e /internal/e2e$$ -e /internal/clients$$ -e /internal/lab$$ -e /sfu/browsertest$$)
	go test -p 1 -count=1 -timeout 15m $(PROGRAMS)

# what the end-to-end tests need from Debian; says what is missing when it cannot install
deps:
	@.ci/deps

# the long checks: gofmt, vet, staticcheck, govulncheck where reachable, race tests (they need a C compiler)
check:
	@test -z "$$(gofmt -l .)" || { echo "gofmt these:"; gofmt -l .; exit 1; }
	go vet ./...
	go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
	@.ci/vuln
	go test -race -p 1 -timeout 30m $$(go list ./... | grep -v -e /internal/e2e -e /internal/clients -e /internal/lab)

# every fuzzer in turn, FUZZTIME each
FUZZTIME ?= 20s
fuzz:
	@.ci/fuzz $(FUZZTIME)

# endpoints join and leave for SOAK: memory, goroutines and descriptors end where they began (make test: a few seconds of it)
SOAK ?= 10m
soak:
	KONZIL_SOAK=$(SOAK) go test -count=1 -v -timeout 30m -run 'TestSoak$$' ./sfu | grep -v -e '=== ' -e '--- PASS: .*/' -e '^twcc_sender_interceptor'

# servers, clients and the links between servers are killed at random under load for KILL; what was sent, archived and received is compared
# (root on Linux, dnsmasq; make test: a few seconds of it)
KILL ?= 5m
kill:
	KONZIL_KILL=$(KILL) go test -count=1 -v -timeout 60m -run 'TestKill$$' ./internal/lab

# what a real browser sees behind lossy, slow and changing paths, with konzil and, where it is installed, LiveKit: a table (root on Linux, Chromium,
# npm for LiveKit's client; six minutes). KONZIL_IMPAIR_ROUNDS=2 measures each row twice, KONZIL_IMPAIR_ROWS=steps,loss10 only those; nothing else may run.
impair:
	KONZIL_IMPAIR=1 go test -count=1 -v -timeout 30m -run TestImpairment ./sfu/browsertest

# packages with micro-benchmarks of hot stages: demux, open, parse, rewrite, seal, forward, UDP; tokenizer, router, rooms; TURN relay; store
HOT = ./sfu/... ./internal/udpio ./xmpp/... ./turn ./internal/store ./internal/archive

# micro-benchmarks of the hot stages, then the program against itself: what two equal servers differ by is the noise of this machine
bench:
	go test -run '^$$' -bench . -benchmem $(HOT)
	@mkdir -p artifacts && go build -o artifacts/konzil . && \
	./artifacts/konzil bench call -vs konzil,same=konzil -rounds 3 -d 5s -n 3 -html artifacts/bench.html -json artifacts/bench.json; \
	code=$$?; echo "the report is artifacts/bench.html"; exit $$code

# the same stages at BASE and now, in COUNT alternating runs
BASE ?= HEAD~1
COUNT ?= 6
PACKAGES ?= $(HOT)
bench-compare:
	@.ci/bench-compare $(BASE) $(COUNT) $(PACKAGES)

.PHONY: run test deps check fuzz soak kill impair bench bench-compare
