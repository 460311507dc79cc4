# Every target works on an empty machine with Python 3.11 or newer and the package index; `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
QUIETLY := --disable-pip-version-check -qq
PIP := $(BIN)/python -m pip $(QUIETLY)
# What the tests and CI run is what was looked at: wheels alone, each with a hash that the lock names.
HASHED := --require-hashes --only-binary=:all:
LOCKED := $(PIP) install $(HASHED)

DEMO := manifests/quickstart.yaml
DEMO_FOLDER := output/quickstart-sandbox

.DEFAULT_GOAL := help
.PHONY: help demo test check judges torture torture-uploads torture-long attack scale scale-long fleet load bench lock sbom screenshots docs clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## Make eight clips on the sandbox: no key, no cost
	@$(BIN)/clipmill run $(DEMO) --sandbox
	@echo "The clips are in $(DEMO_FOLDER)/clips, the results in $(DEMO_FOLDER)/results.jsonl."

test: $(VENV)/.dev ## Run the tests that need nothing but Python packages
	@$(BIN)/python -m pytest -q -m "not judge" -n auto --dist worksteal

check: $(VENV)/.dev ## Lint, formatting and types
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

judges: $(VENV)/.judges ## Run the tests that need other programs; what is missing is named and skipped
	@for part in ffprobe:"nobody else reads the clips" chromium:"nobody looks at the report" \
	  fusermount3:"no power is cut" strace:"no order of calls is checked"; do \
	  command -v "$${part%%:*}" >/dev/null || echo "missing: $${part%%:*} ($${part#*:})"; done
	@$(BIN)/python -m pytest -q -m judge -rs || [ $$? -eq 5 ]

TORTURE := $(BIN)/python -m tests.torture
PROVIDERS := modelmax venice
torture: $(VENV)/.dev ## Kill it everywhere: simulated crash points, mutants, real SIGKILLs, power cuts (about 10 minutes)
	@$(TORTURE).simulation --points 10000 --seed 1 --jobs 2
	@$(TORTURE).mutants --seed 1 --jobs 2
	@$(MAKE) --no-print-directory -j2 $(PROVIDERS:%=.killed-%)

.killed-%:
	@$(TORTURE).sigkill --provider $* --kills 110 --seed 1
	@$(TORTURE).halfway --provider $* --times 5 --seed 1
	@$(TORTURE).powercut --provider $* --cuts 110 --seed 1

attack: $(VENV)/.dev ## Attack it: fuzzing, cuts at every byte, faults of the disk, operators, each defence taken away
	@$(TORTURE).fuzz --runs 100000 --seed 1 --jobs 2
	@$(TORTURE).cuts --seed 1 --jobs 2
	@$(TORTURE).cuts --sockets 600 --seed 1
	@$(TORTURE).disks --seed 1 --jobs 2
	@$(TORTURE).operators --sequences 2000 --seed 1 --jobs 2
	@$(BIN)/python -m tests.security.removed --jobs 2

torture-uploads: $(VENV)/.judges ## Kill uploads, and cut their lines, against two real S3 servers (about 5 minutes)
	@$(TORTURE).uploads --kills 50 --seed 1

FROM ?= 1
SEEDS ?= 20
torture-long: $(VENV)/.dev ## Every simulated point and 50 SIGKILLs of each of SEEDS seeds; goes on where it stopped
	@$(TORTURE).simulation --from-seed $(FROM) --seeds $(SEEDS) --state torture-points.state --jobs 2
	@$(MAKE) --no-print-directory -j2 $(PROVIDERS:%=.killed-long-%)

.killed-long-%:
	@$(TORTURE).sigkill --provider $* --kills 25 --seed $(FROM) --seeds $(SEEDS) --state torture-kills-$*.state

POINTS = 2500
BATCHES = 4
scale: $(VENV)/.dev ## Several workers on one ledger: simulated crash points, kills of workers, the server, connections (about 10 minutes)
	@$(TORTURE).simulation --store postgres --points $(POINTS) --seed 1 --jobs 2
	@for provider in $(PROVIDERS); do $(TORTURE).workers --provider $$provider --batches $(BATCHES) --strikes 8 --seed 1 || exit 1; done

scale-long: POINTS = 10000
scale-long: BATCHES = 14
scale-long: scale ## The same, four times as long, and the mutants (about 45 minutes)
	@$(TORTURE).mutants --store postgres --seed 1 --jobs 2

fleet: $(VENV)/.judges ## A crew on a real Ray cluster: workers and nodes killed, the same batch by 1, 2 and 4 workers
	@$(TORTURE).fleet --times 10 --seed 1
	@$(TORTURE).fleet --makespans --seed 1
	@$(TORTURE).fleet --decoding --seed 1

load: $(VENV)/.dev ## Long manifests, many jobs, storms, a soak of 20 minutes (about an hour)
	@$(TORTURE).load

bench: $(VENV)/.dev ## Run the benchmarks
	@set -e; for script in benchmarks/bench_*.py; do \
	  [ -e "$$script" ] || { echo "There is no benchmarks/bench_*.py."; break; }; \
	  echo "== $$script"; $(BIN)/python "$$script"; done

RESOLVE := $(VENV)/supply/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade
lock: $(VENV)/.supply ## Renew the locks; nothing that is younger than a week is taken
	@$(RESOLVE) --no-header --exclude-newer "7 days" --extra all --extra postgres --extra s3 --group dev pyproject.toml -o requirements/dev.txt
	@$(RESOLVE) --no-header --exclude-newer "7 days" --group supply pyproject.toml -o requirements/supply.txt
	@$(RESOLVE) --no-header --exclude-newer "7 days" --extra all --extra postgres --extra s3 --group dev --group judges -c requirements/dev.txt \
	  pyproject.toml -o requirements/judges.txt

sbom: $(VENV)/.supply ## Write build/sbom.json, the bill of materials of the lock (CycloneDX)
	@mkdir -p build
	@$(VENV)/supply/bin/cyclonedx-py requirements requirements/dev.txt --pyproject pyproject.toml \
	  --output-reproducible --of JSON -o build/sbom.json

screenshots: $(VENV)/.judges ## Take the pictures of the README again: a real run on the sandbox, in Chromium
	@$(BIN)/python -m docs.screenshots

docs: $(VENV)/.dev ## Write the generated pages again
	@$(BIN)/python docs/state_machine.py > docs/state-machine.md.new
	@mv docs/state-machine.md.new docs/state-machine.md

clean: ## Remove the virtual environment, the caches and the builds; never a batch
	@rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit("clipmill needs Python 3.11 or newer; name one: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# An environment for development has all of it already.
$(VENV)/.demo: pyproject.toml | $(VENV)/made
	@echo "Installing clipmill into $(VENV) ..."
	@[ -e $(VENV)/.dev ] || $(PIP) install --only-binary=av,pillow -e ".[media]" || { \
	  echo "PyAV and Pillow have no wheels for this machine; the sandbox hands out packaged clips instead."; \
	  $(PIP) install -e .; }
	@touch $@

$(VENV)/.dev: pyproject.toml requirements/dev.txt | $(VENV)/made
	@echo "Installing clipmill and its tests into $(VENV) ..."
	@$(LOCKED) -r requirements/dev.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.supply: requirements/supply.txt | $(VENV)/made
	@$(PYTHON) -m venv $(VENV)/supply
	@$(VENV)/supply/bin/python -m pip $(QUIETLY) install $(HASHED) -r requirements/supply.txt
	@touch $@

$(VENV)/.judges: requirements/judges.txt | $(VENV)/.dev
	@echo "Installing what the judges need into $(VENV) ..."
	@$(LOCKED) -r requirements/judges.txt
	@touch $@
