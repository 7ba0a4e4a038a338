# `make` alone lists the targets. Python 3 and make are enough: uv comes into .tools/ where the machine has none,
# and uv brings the right Python and everything the lock names into .venv/.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# A Python of pyenv counts even where its shims are not on the path: it saves a download.
PYENV_PYTHON := $(lastword $(sort $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/3.13.*/bin)))
export PATH := $(PATH)$(if $(PYENV_PYTHON),:$(PYENV_PYTHON))

UV := $(or $(shell command -v uv 2>/dev/null),.tools/bin/uv)
RUN := $(UV) run --frozen
PYTEST := $(RUN) pytest
# Stories wait more than they compute. A file stays in one process: its tests share what is dear to start.
WORKERS ?= 4
PARALLEL := -n $(WORKERS) --dist loadfile
COMPOSE := docker compose
TRUST_DOMAIN ?= interlock.local
CERTS = $(UV) run --frozen --no-dev interlock certs
CERT_TARGETS := certs certs-all certs-passphrase certs-remove-passphrase certs-jwt certs-jwt-ecdsa certs-mtls certs-client \
        certs-mcp-ca certs-mcp-gateway certs-mcp-plugin certs-mcp-all certs-mcp-check certs-check
COMPOSE_TLS := $(COMPOSE) --profile tls
TLS_TARGETS := compose-tls compose-tls-https compose-tls-down compose-tls-logs compose-tls-ps

.PHONY: help demo up test integration compose-test conformance clients bench bench-revocation rotation check lint types contracts format snapshots nats-config \
        compose-up compose-down compose-logs docker-prod clean $(CERT_TARGETS) $(TLS_TARGETS)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\n  certificates into certs/ (docs/certificate-tools.md):\n'
	@printf '%s\n' '$(CERT_TARGETS)' | fold -s -w 100 | sed 's/^/    /'

demo: | $(UV) ## see it work: real tool calls through all five services, in a scratch folder
	@$(UV) run --frozen --no-dev interlock demo

up: | $(UV) ## run the whole gateway on this machine; Ctrl-C stops it, the state stays
	@$(UV) run --frozen --no-dev interlock up

test: | $(UV) ## unit tests and the stories that need no Docker; TESTS=services/auth for a part
	@INTERLOCK_TEST_DOCKER=0 $(PYTEST) $(PARALLEL) -m "not docker and not clients" $(TESTS)

integration: | $(UV) ## the integration stories on real containers (needs a Docker engine)
	@docker version >/dev/null || { echo "error: no Docker engine answers; make test needs none" >&2; exit 1; }
	@$(PYTEST) $(PARALLEL) tests/integration --ignore tests/integration/compose
	@$(RUN) python tests/with_postgres.py pytest services -k "postgres"

compose-test: | $(UV) ## build the images, start the compose stack and call a tool through it (needs Docker)
	@$(PYTEST) tests/integration/compose

conformance: | $(UV) ## the official MCP suite, directly and through the gateway; ARGS='--cell modern_modern' for a part
	@$(RUN) python tests/conformance/run.py $(ARGS)

clients: | $(UV) ## real clients and servers (Python, TypeScript, FastMCP, Inspector, npm) with the gateway between them
	@PYTHONPATH=tests/conformance $(RUN) python tests/clients/run.py $(ARGS)
	@$(PYTEST) -q tests/clients/test_servers.py

bench: | $(UV) ## measure the edge against a bare proxy; writes build/bench.json
	@$(RUN) python benchmarks/run.py

bench-revocation: | $(UV) ## how long a revoked token is still accepted, at three edges; writes build/revocation.json
	@PYTHONPATH=tests/integration $(RUN) python benchmarks/revocation.py

rotation: | $(UV) ## replace certificates and CAs by the second under load; writes build/rotation.json
	@PYTHONPATH=tests/integration $(RUN) python benchmarks/rotation.py

check: lint types contracts ## lint, types and contracts: what a change must pass before its tests

lint: | $(UV) ## the code's style (ruff)
	@$(RUN) ruff check

types: | $(UV) ## the code's types (pyright, strict)
	@$(RUN) pyright

contracts: | $(UV) ## which package may import which (import-linter)
	@$(RUN) lint-imports

snapshots: | $(UV) ## accept a changed message contract: rewrite the snapshots, then look at the diff
	@UPDATE_SNAPSHOTS=1 $(PYTEST) -q libs/common -k snapshot

nats-config: | $(UV) build ## write deploy/nats/authorization.conf from the table of permissions
	@{ echo '# Written by make nats-config from interlock_common/messages/access.py: change that.'; \
	    $(RUN) python -c 'import sys; from interlock_common.messages.access import render_accounts; \
	        sys.stdout.write(render_accounts(sys.argv[1]))' $(TRUST_DOMAIN); } > build/authorization.conf
	@mv build/authorization.conf deploy/nats/authorization.conf

# Certificates. CERT_DIR, CERT_DAYS, MCP_CERT_DAYS, CA_DAYS, KEY_SIZE and MCP_PLUGIN_CONFIG are read by the command itself;
# ARGS='--force' replaces what is there, ARGS='--san gateway.example.com' adds a name.
certs: | $(UV)
	@$(CERTS) front $(ARGS)

certs-all: | $(UV)
	@$(CERTS) all $(ARGS)

certs-passphrase: | $(UV)
	@$(CERTS) passphrase $(ARGS)

certs-remove-passphrase: | $(UV)
	@$(CERTS) remove-passphrase $(ARGS)

certs-jwt: | $(UV)
	@$(CERTS) jwt $(ARGS)

certs-jwt-ecdsa: | $(UV)
	@$(CERTS) jwt-ecdsa $(ARGS)

certs-mtls: | $(UV)
	@$(CERTS) mtls $(ARGS)

# NAME of the environment does not count: some shells set it to the name of the machine.
certs-client: | $(UV)
	@[ '$(origin NAME)' = 'command line' ] || { echo 'error: whose certificate? make certs-client NAME=ada' >&2; exit 2; }
	@$(CERTS) client $(ARGS) -- "$$NAME"

certs-mcp-ca: | $(UV)
	@$(CERTS) mcp-ca $(ARGS)

certs-mcp-gateway: | $(UV)
	@$(CERTS) mcp-gateway $(ARGS)

certs-mcp-plugin: | $(UV)
	@[ -n "$${PLUGIN_NAME-}" ] || { echo 'error: of which plugin? make certs-mcp-plugin PLUGIN_NAME=my-plugin' >&2; exit 2; }
	@$(CERTS) mcp-plugin $(ARGS) -- "$$PLUGIN_NAME"

certs-mcp-all: | $(UV)
	@$(CERTS) mcp-all $(ARGS)

certs-mcp-check: | $(UV)
	@$(CERTS) mcp-check $(ARGS)

certs-check: | $(UV)
	@$(CERTS) check $(ARGS)

compose-up: ## build and start the deployed form with Docker, and wait until it is healthy
	@$(COMPOSE) config --quiet
	@$(COMPOSE) up --build --wait

compose-down: ## stop the deployed form; its data stays in the volumes
	@$(COMPOSE) down

compose-logs: ## follow what the deployed form says
	@$(COMPOSE) logs --follow --tail 50

compose-tls: ## the same with nginx before it, HTTP 8080 and HTTPS 8443; also -https (redirects), -down, -logs, -ps
	@$(COMPOSE_TLS) config --quiet
	@$(COMPOSE_TLS) up --build --wait

compose-tls-https:
	@NGINX_FORCE_HTTPS=true $(MAKE) --no-print-directory compose-tls

compose-tls-down:
	@$(COMPOSE_TLS) down

compose-tls-logs:
	@$(COMPOSE_TLS) logs --follow --tail 50

compose-tls-ps:
	@$(COMPOSE_TLS) ps

docker-prod: ## build every image of the deployed form
	@$(COMPOSE_TLS) build

clean: ## remove what was built; .interlock/ (your state) stays
	@rm -rf build dist .tools .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

build:
	@mkdir -p build

.tools/bin/uv:
	@echo "uv is missing here: installing it into .tools/" >&2
	@command -v python3 >/dev/null || { echo "error: python3 is needed once, to fetch uv" >&2; exit 1; }
	@python3 -m venv .tools || { rm -rf .tools; \
	    echo "error: python3 cannot make a virtual environment (on Debian: apt install python3-venv)," >&2; \
	    echo "       or install uv yourself: https://docs.astral.sh/uv/" >&2; exit 1; }
	@.tools/bin/pip install --quiet --disable-pip-version-check 'uv>=0.13,<0.14' || { rm -rf .tools; exit 1; }
