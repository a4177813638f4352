# Two commands on a fresh machine (root or sudo): `make demo` and `make test`. `make` alone lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-pure test-workers fuzz soak verify-verdict test-kernels test-vm tls-material lint bench bench-instructions bpf-bytecode install uninstall man deb debs rpm wheel repo release tag docs clean

VM_ARGS ?=

# Minutes of live tests that start a daemon of their own with settings of their own: once is enough.
ONCE := $(addprefix --ignore=tests/netns/,test_ai_demo.py test_demo.py test_websocket_demo.py test_trying.py test_copies.py) --ignore=tests/faults/test_workers.py

DEMO_ARGS ?=
PYTEST_ARGS ?=
VERIFY_ARGS ?=
BENCH_ARGS ?=

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 8

setup: ## install what shadowd needs to run: system packages, .venv, the project (PYTHON= chooses the interpreter)
	@.ci/setup runtime

demo: ## mirror a small service to its next version, live, for 30 s (DEMO_ARGS='--seconds 10 --json')
	@# told before anything is installed, which takes minutes
	@[ "$$(id -u)" = 0 ] || { echo "error: the demo loads a program into the kernel and needs root — run: sudo make demo" >&2; exit 2; }
	@$(MAKE) --no-print-directory setup
	@.venv/bin/shadowctl demo $(DEMO_ARGS)

test: ## run all tests (PYTEST_ARGS='-k ledger')
	@.ci/setup test
	@$(MAKE) --no-print-directory bpf-bytecode
	@# the tests start hundreds of processes: each would compile all modules where bytecode is not kept
	SHADOWD_COMPILED=required env -u PYTHONDONTWRITEBYTECODE .venv/bin/python -m pytest $(PYTEST_ARGS)

test-pure: ## the unit and network tests with the sources instead of what was compiled
	@.ci/setup test
	@$(MAKE) --no-print-directory bpf-bytecode
	SHADOWD_PURE=1 env -u PYTHONDONTWRITEBYTECODE .venv/bin/python -m pytest tests/unit tests/netns $(ONCE) $(PYTEST_ARGS)

test-workers: ## the tests with live traffic once more, with three worker processes instead of none
	@.ci/setup test
	@$(MAKE) --no-print-directory bpf-bytecode
	SHADOWD_TEST_WORKERS=3 SHADOWD_COMPILED=required env -u PYTHONDONTWRITEBYTECODE .venv/bin/python -m pytest tests/netns tests/faults $(ONCE) $(PYTEST_ARGS)

verify-verdict: ## how the verdict does in the catalogue's worlds, for hours (VERIFY_ARGS='--runs 10 --worlds blip_2s,gc_pauses')
	@.ci/setup test
	@.venv/bin/python -m tests.catalogue.table $(VERIFY_ARGS)

test-kernels: ## the acceptance script under Debian's kernels 5.10, 6.1 and 6.12, in qemu (VM_ARGS=bookworm; minutes each)
	@.ci/setup vm
	@.venv/bin/python -m tests.vm.kernels $(VM_ARGS)

test-vm: ## the package where systemd is PID 1: a Debian guest in qemu (VM_ARGS=--keep keeps its disk; some 20 minutes)
	@.ci/setup vm
	@.venv/bin/python -m tests.vm.service $(VM_ARGS)

tls-material: ## for tests that skip without: servers with other TLS libraries (node, Envoy, grpcio, Go), helm (400 MB, build/)
	@.ci/setup test
	@.venv/bin/python -m tests.material

fuzz: ## libFuzzer on every parser, so long for each (FUZZ=60s); findings are left in build/fuzz
	@.ci/setup dev
	@.venv/bin/python -c 'import atheris' 2>/dev/null || .venv/bin/python -m pip install -q --disable-pip-version-check atheris
	@.venv/bin/python -m tests.fuzz.run $(or $(FUZZ),60s)

soak: ## mixed and hostile load, filters that come and go, a shadow and a disk that fail (SOAK=1h; root)
	@.ci/setup test
	@.venv/bin/python -m tests.soak.run $(or $(SOAK),1h)

lint: ## ruff and mypy
	@.ci/setup dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy --strict shadowd

bench: setup ## measure beside nginx's mirror module and Envoy (BENCH_ARGS=--quick takes a minute)
	@.venv/bin/python -m bench.run $(BENCH_ARGS)

bench-instructions: ## instructions that an exchange costs, by valgrind (MODES='mirror compare')
	@.ci/setup test
	@.venv/bin/python -m bench.instructions $(MODES)

bpf-bytecode: ## compile the capture program for machines without bcc: bpf/shadowd.bytecode (BCC_PYTHON= has bcc; no root)
	@$(or $(BCC_PYTHON),/usr/bin/python3) bpf/build_bytecode.py

install: ## install on this host, by root (PREFIX=/usr/local DESTDIR= PYTHON=); then systemctl enable --now shadowd
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' systemd/install.sh install

uninstall: ## remove what install made; configuration and state stay
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' systemd/install.sh uninstall

man: ## the manual pages, from the commands' own help, into build/man (man -l build/man/man1/shadowctl.1)
	@.ci/setup runtime
	@.venv/bin/python -B systemd/manpages.py build/man

deb: bpf-bytecode ## build dist/shadowd_VERSION_ARCH.deb for this release of Debian or Ubuntu
	@systemd/build-deb.sh

docs: ## the documentation as a site that needs no network: build/site (its tools in build/docs-venv; no root)
	@test -x build/docs-venv/bin/mkdocs || { $(or $(PYTHON),python3) -m venv build/docs-venv && \
	    build/docs-venv/bin/pip install -q --disable-pip-version-check 'mkdocs-material>=9.5,<10'; }
	@# not --quiet: strict would not see the warnings
	@NO_MKDOCS_2_WARNING=1 build/docs-venv/bin/mkdocs build --strict
	@echo 'build/site/index.html; with its search: python3 -m http.server -d build/site'

debs: bpf-bytecode ## a package each for Debian 12, 13, Ubuntu 22.04, 24.04: built and tried in chroots, by root (RELEASES='bookworm noble')
	@/usr/bin/python3 systemd/chroots.py $(RELEASES)

rpm: ## dist/shadowd-VERSION-1.ARCH.rpm for RHEL 9 and its like, from the package for Debian 12
	@systemd/build-rpm.sh

repo: ## build/repo, an apt repository of the packages in dist/ (GPG_KEY= signs it)
	@GPG_KEY='$(GPG_KEY)' systemd/build-repo.sh

release: ## checksums and notes of all artefacts in dist/ (GPG_KEY= signs them); CONTRIBUTING.md says how a release is made
	@GPG_KEY='$(GPG_KEY)' systemd/release.sh

tag: ## tag this commit as the version that pyproject.toml names (GPG_KEY= signs it); nothing is pushed
	@GPG_KEY='$(GPG_KEY)' systemd/tag.sh

wheel: bpf-bytecode ## build dist/: sdist, and a manylinux wheel for every CPython >= 3.11 here (PYTHONS= names them)
	@.ci/wheels

clean: ## remove what was built here, .venv included
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis bench/results bpf/shadowd.bytecode
	find shadowd -name '*.so' -delete
	rm -f shadowd/compiled.json
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
