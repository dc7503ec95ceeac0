# Two commands are all a fresh machine needs: `make demo` and `make test`.
# Each makes its own virtual environment and installs what it lacks; a second call starts at once.

PYTHON ?= python3
VENV   ?= .venv
# The version the tests run on. Any other: `make demo TORCH=torch` takes the newest.
# torch is installed before the package, so that a build made for your GPU is never replaced.
TORCH  ?= torch==2.13.0
# Processes that share the tests; each takes about 1 GB.
WORKERS ?= 2
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# What `make accel` compiles. Pinned: newer releases may come without code (PyG issue 10716).
ACCEL  ?= torch-scatter==2.1.2 torch-sparse==0.6.18

.PHONY: help demo test accel bench lint audit docs site site-test clean

help:
	@echo "make demo        restore a mosaicked photograph, write the pictures to runs/"
	@echo "make test        style, types, then all tests with coverage"
	@echo "make accel       compile torch-scatter and torch-sparse, and test what takes them (half an hour)"
	@echo "make bench       race against other packages, one script after another (an hour)"
	@echo "make lint        style and types only"
	@echo "make audit       ask the Python advisory database about everything that is installed for the tests"
	@echo "make docs        serve the documentation on this machine, also while it is edited"
	@echo "make site        build the documentation into site/, any warning is an error"
	@echo "make site-test   and open every page of it in a headless Chromium, where there is one"
	@echo "make clean       remove the virtual environment and everything that was built"

demo: $(VENV)/.demo
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python examples/image_demosaic.py

# PASSIVE: on a busy machine, waiting OpenMP threads that spin slow each other down many times over.
# TMPDIR: PyTorch Geometric leaves one generated file per layer class behind; they go with the folder.
# The cache of compiled kernels is kept apart from it, since it saves time on the next call.
# OMP_NUM_THREADS: the processes are threads enough.
# loadfile: the blocks of a page share their names, so one process runs them all.
# --no-loadscope-reorder: not the files of most tests first, or the slow ones of few come last.
test: lint
	@scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE MPLBACKEND=Agg TMPDIR="$$scratch" \
	TORCHINDUCTOR_CACHE_DIR="$(CURDIR)/.cache/inductor" \
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=10 --cov --cov-report=term $(PYTEST_ARGS)

accel: $(VENV)/.accel
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE MPLBACKEND=Agg \
	$(BIN)/python -m pytest -q -m accel tests $(PYTEST_ARGS)

# One after another, so that no script disturbs the next; a failure does not hide the rest.
bench: $(VENV)/.bench
	@failed=; for script in tests/benchmarks/bench_*.py; do \
		$(BIN)/python $$script $(BENCH_ARGS) || failed="$$failed $$script"; echo; \
	done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What is installed here, optional packages included; this package itself is on no index.
audit: $(VENV)/.audit
	$(BIN)/python -m pip_audit --local --skip-editable

# The variable hides a banner about MkDocs 2, which the documentation does not use.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

site: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

site-test: site $(VENV)/.browser
	SITE=site $(BIN)/python -m pytest -q -rs tests/site $(PYTEST_ARGS)

clean:
	rm -f gsp_unroll/kernels/native_*.so
	rm -rf $(VENV) .cache .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist site

$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -c 'import torch' 2>/dev/null || $(PIP) '$(TORCH)'
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	@echo "installing; where there is a C++ compiler the kernels are compiled, a minute or two without a word"
	$(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/.test: $(VENV)/.torch pyproject.toml
	$(PIP) --editable '.[test]'
	@touch $@

# Without isolation, since their set-up imports the torch that is installed, which comes first; out
# of the cache, since pip would hand out what was compiled against another torch.
$(VENV)/.accel: $(VENV)/.test
	@echo "compiling torch-scatter and torch-sparse: 24 minutes of one core, without a word"
	$(PIP) --no-build-isolation --no-cache-dir $(ACCEL)
	@touch $@

$(VENV)/.audit: $(VENV)/.test
	$(PIP) pip-audit
	@touch $@

$(VENV)/.browser: $(VENV)/.test
	$(PIP) playwright
	@touch $@

$(VENV)/.bench: $(VENV)/.torch pyproject.toml
	$(PIP) --editable '.[bench]'
	@touch $@

$(VENV)/.docs: $(VENV)/.torch pyproject.toml
	$(PIP) --editable '.[docs]'
	@touch $@
