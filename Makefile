# The words that a developer types. `make help` lists them.
SHELL := /bin/bash
PYTHON := .venv/bin/python
export PATH := $(CURDIR)/.venv/bin:$(PATH)
KERNEL_SOURCES := $(wildcard kernel/include/*.h kernel/subjects/*.[hc])
# What clang-format holds; kernel/tests is compiled by the tests alone.
KERNEL_ALL := $(KERNEL_SOURCES) $(wildcard kernel/tests/*.[hc])
SOURCES := $(shell find src -name '*.py')
COMPILED := $(KERNEL_SOURCES) $(wildcard src/firsthand/*/*.pyx) setup.py kernel/build.py
LIBRARIES := src/firsthand/probe/lib/libbpf.so.1
ROOMS := $(addprefix tests/,vm pods install kernel fuzz unit)
# As tests/landing.py, which a test compares.
SIDE_BY_SIDE := -n 3 --dist loadgroup --no-loadscope-reorder --max-worker-restart 0
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-tests run quick test test-all test-kernel test-pods test-vm bench check docs site format wheel image pins install rollback uninstall torture fuzz clean

help: ## list these words
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | column -t -s '	'

setup: .venv/.built $(LIBRARIES) .venv/.bytecode ## install what is needed (it says what and where first), build, leave .venv/bin/firsthand

.venv/.packages: pyproject.toml deploy/setup
	@deploy/setup

.venv/.tests: .venv/.packages deploy/setup
	@deploy/setup tests

.venv/.image: .venv/.packages deploy/setup
	@deploy/setup image

.venv/.built: .venv/.packages $(COMPILED)
	@echo "setup: compiling the BPF objects and the drain"
	@$(PYTHON) setup.py -q build_ext --inplace >build.log 2>&1 || { tail -40 build.log; exit 1; }
	@touch $@

$(LIBRARIES): | .venv/.built
	@$(PYTHON) setup.py -q libraries

# Roles run as users that may write nothing here: what is not compiled beforehand is compiled at each start.
.venv/.bytecode: .venv/.built $(SOURCES)
	@$(PYTHON) -m compileall -q src
	@touch $@

setup-tests: setup .venv/.tests ## install what only the tests need, daemons kept off

run: setup ## observe in the foreground until Ctrl-C; options by ARGS='--for 30s'
	@.venv/bin/firsthand run $(ARGS)

quick: setup .venv/.tests ## the tests of what changed against main, for 20 s at most; SINCE=HEAD~3 compares with another commit
	@FIRSTHAND_PROFILE=quick $(PYTHON) -m tests.changed $(SINCE)

# The aim is 8 minutes of two processors: all kinds of tests, one boot of a virtual machine; what is allowed more than the ordinary
# processor budget, or takes long (marker `landing`), runs in .ci/run and `make test-all`.
test: setup .venv/.tests ## all kinds of tests that this machine can run; the aim is 8 minutes of two processors
	@FIRSTHAND_PROFILE=$${FIRSTHAND_PROFILE:-quick} FIRSTHAND_BOOTS=one $(PYTHON) -m pytest $(ROOMS) -m 'not budget and not landing' $(SIDE_BY_SIDE) $(ARGS)

test-all: setup .venv/.tests ## everything, for a night: every case, eight boots, 1,000 kills, ten minutes of fuzzing for each target
	@FIRSTHAND_PROFILE=all FIRSTHAND_BOOTS=all FIRSTHAND_KILLS=1000 FIRSTHAND_FUZZ_SECONDS=$(or $(SECONDS),600) \
		$(PYTHON) -m pytest $(ROOMS) $(SIDE_BY_SIDE) $(ARGS)

test-kernel: setup .venv/.tests ## live tests on this kernel (root)
	@$(PYTHON) -m pytest tests/kernel $(ARGS)

test-pods: setup .venv/.tests ## containers and pods by runtimes of our own (root)
	@$(PYTHON) -m pytest tests/pods $(ARGS)

test-vm: setup .venv/.tests ## Debian's 6.1 and 6.12 kernels in QEMU, eight boots; writes docs/kernels.md anew
	@$(PYTHON) -m pytest tests/vm $(SIDE_BY_SIDE) $(ARGS)
	@$(PYTHON) -m tests.vm.report

bench: setup .venv/.tests ## measure, and print the figures of docs/performance.md
	@MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=33554432 $(PYTHON) -m pytest tests/bench -s -o python_files='bench_*.py' $(ARGS)

check: setup ## ruff, mypy, import contract, clang-format, schema lock, generated docs, words
	@ruff check .
	@ruff format --check .
	@mypy
	@lint-imports
	@clang-format --dry-run -Werror $(KERNEL_ALL)
	@$(PYTHON) -m firsthand.schema.lock --check
	@$(PYTHON) -m firsthand.schema.reference --check
	@$(PYTHON) -m firsthand.settings.page --check
	@$(PYTHON) -m docs.words
	@codespell $(wildcard *.md) docs

docs: setup ## write the generated pages anew
	@$(PYTHON) -m firsthand.schema.lock
	@$(PYTHON) -m firsthand.schema.reference
	@$(PYTHON) -m firsthand.settings.page
	@$(PYTHON) -m grpc_tools.protoc -I src --python_out=src src/firsthand/identity/runtimes/messages.proto

.venv/.site: pyproject.toml
	@deploy/setup site

site: .venv/.packages .venv/.site ## build the docs as one site into build/site, readable without a network
	@$(PYTHON) -m sphinx -q -W --keep-going -d build/site.doctrees -c docs . build/site
	@echo "site: open build/site/index.html"

format: setup ## put the sources into the house's form
	@ruff format .
	@ruff check --fix .
	@clang-format -i $(KERNEL_ALL)

wheel: setup ## build the wheel into dist/
	@$(PYTHON) -m pip wheel -q --no-deps --no-build-isolation -w dist .

image: setup .venv/.image ## make the OCI image in dist/ for deploy/daemonset.yaml; nothing but Debian's and PyPI's packages is fetched
	@rm -rf dist/firsthand-*.whl build/lib*
	@$(MAKE) -s wheel
	@SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct)} $(PYTHON) -m deploy.image dist/firsthand-*.whl

pins: setup ## choose the newest versions of the image's Python packages, and write their digests to deploy/image/requirements.txt
	@uv pip compile pyproject.toml --upgrade --universal --generate-hashes --no-annotate --no-header -q -o deploy/image/requirements.txt

install: setup ## install under PREFIX=/opt/firsthand with unit, users and link, or upgrade what is there
	@deploy/install

rollback: ## go back to the version that was installed before
	@deploy/install rollback

uninstall: setup ## remove what `make install` made; the history stays; ARGS='--dry-run' shows it, ARGS='--purge' removes all
	@.venv/bin/firsthand uninstall $(ARGS)

torture: setup .venv/.tests ## 1,000 kills of each role in turn, under load
	@FIRSTHAND_KILLS=1000 $(PYTHON) -m pytest tests/kernel/test_torture.py -k kills -s $(ARGS)

fuzz: setup .venv/.tests ## fuzz each target for SECONDS=600; what is found is kept in build/fuzz
	@FIRSTHAND_FUZZ_SECONDS=$(or $(SECONDS),600) $(PYTHON) -m pytest tests/fuzz -k hostile -s $(ARGS)

clean: ## remove what was built; the history stays
	rm -rf build dist build.log .venv/.built .venv/.bytecode src/firsthand/probe/objects src/firsthand/probe/lib
	find src -name '*.so' -delete
	find src -name __pycache__ -exec rm -r {} +
