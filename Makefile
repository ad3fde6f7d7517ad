# Each target is one of the scripts that CI runs; there is no second way.

.PHONY: run build test lint peers static install

run: ## the shipped configuration on simulated lines
	go run ./gateway run

build: ## ./sluice for this machine
	CGO_ENABLED=0 go build -buildvcs=auto -trimpath -o sluice ./gateway

test: ## everything: peers, lint, tests, static builds
	bash .ci/test

lint:
	bash .ci/lint

peers: ## what the tests talk to, from Debian and npm
	bash .ci/peers/install

static: ## dist/sluice-linux-{amd64,arm64,armv7,armv6}
	bash .ci/build

install: build ## binary, unit and configuration; DESTDIR is honoured
	sh systemd/install sluice
