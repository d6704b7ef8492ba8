# Each target installs the commands and Python packages that it needs and that are missing
# (.ci/setup). To install missing commands, make must run as root.
#
# PYTHON  a version, as in `make test PYTHON=3.11`; without it, the oldest and the newest found (demo
#         and bench: the newest)
# ARGS    handed to pytest, the demo or the benchmark, as in `make test ARGS="-k hold"`
PYTHON =
ARGS =
REQUIRE_OLDEST =
export REQUIRE_OLDEST
# Python 3.6 takes its encoding from the locale.
export LC_ALL = C.UTF-8

SHELL = /bin/bash
COMMANDS = ovsdb-server ovs-vswitchd ovs-vsctl ip ping udevadm python3

.PHONY: help demo test lint bench bundle rpm clean

help:
	@echo "make demo   show what xenvif-tagger does, on a private Open vSwitch"
	@echo "make test   run the tests on the oldest and the newest Python (PYTHON=3.11 ARGS='-k hold')"
	@echo "make lint   check style, types, Python 3.6, shell scripts and whitespace"
	@echo "make bench  measure the commands beside the ovs-vsctl script that an admin would write"
	@echo "make bundle make dist/xenvif-tagger-VERSION.tar.gz, for a dom0 without network and pip"
	@echo "make rpm    make an RPM of the bundle"
	@echo "make clean  remove the files that these targets made in this directory"

# The tests run with every version, even if a test has failed with an earlier version. Most of a
# test's time is spent waiting for a daemon's answer or for the end of a time limit, so three tests
# run at a time for each processor.
test:
	@.ci/setup system $(COMMANDS) git rpmbuild cpio strace systemd openssl zsh man mandoc
	@set -eu; failed=; versions=$$(.ci/setup versions $(PYTHON)); \
	for version in $$versions; do \
	    bin=$$(.ci/setup venv $$version); \
	    echo "== Python $$version"; \
	    $$bin/python -m pytest -n $$((3 * $$(nproc))) $(ARGS) || failed="$$failed $$version"; \
	done; \
	if [ -n "$$failed" ]; then echo "tests failed on Python$$failed" >&2; exit 1; fi

# python3 and xenvif-tagger are those of the virtual environment, which comes first on the PATH.
demo bench: START_demo = python3 demo/demo.py
demo bench: START_bench = bench/run.py
demo bench:
	@.ci/setup system $(COMMANDS)
	@set -eu; bin=$$(.ci/setup venv $(or $(PYTHON),newest)); \
	PATH="$$bin:$$PATH" $(START_$@) $(ARGS)

# The virtual environment has the pip that fetches the packages of packaging/vendor.txt, once.
bundle rpm:
	@.ci/setup system git python3 $(and $(filter rpm,$@),rpmbuild)
	@set -eu; bin=$$(.ci/setup venv newest); PATH="$$bin:$$PATH" packaging/$@ $(ARGS)

# ruff knows no Python older than 3.7. So vermin looks in the code that gets installed for syntax and
# library functions that 3.6 lacks. (The tests run all other code on 3.6.) mypy.ini says what mypy
# checks.
lint:
	@.ci/setup system git python3 shellcheck
	@set -eu; bin=$$(.ci/setup venv newest lint); failed=; \
	mapfile -t python < <(.ci/setup files python); \
	mapfile -t shell < <(.ci/setup files shell); \
	mapfile -t text < <(.ci/setup files all); \
	mapfile -t installed < <(printf '%s\n' "$${python[@]}" | grep -E '^(xenvif_tagger|hotplug)/'); \
	run() { echo "$$1, $$2 files"; shift 2; "$$@" || failed=yes; }; \
	if [ $${#python[@]} -gt 0 ]; then \
	    run ruff $${#python[@]} $$bin/ruff check --quiet --force-exclude "$${python[@]}"; fi; \
	if [ $${#installed[@]} -gt 0 ]; then \
	    run vermin $${#installed[@]} $$bin/vermin --violations --no-tips -t=3.6- "$${installed[@]}"; fi; \
	run mypy $$(printf '%s\n' "$${python[@]}" | grep -c ^xenvif_tagger/) $$bin/mypy --no-error-summary; \
	if [ $${#shell[@]} -gt 0 ]; then \
	    run shellcheck $${#shell[@]} shellcheck "$${shell[@]}"; fi; \
	if [ $${#text[@]} -gt 0 ]; then \
	    echo "whitespace, $${#text[@]} files"; \
	    if grep -InE '[[:blank:]]+$$' "$${text[@]}"; then \
	        echo "whitespace at the end of these lines" >&2; failed=yes; fi; fi; \
	[ -z "$$failed" ]

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -path ./.git -prune -o -name __pycache__ -prune -exec rm -rf {} +
