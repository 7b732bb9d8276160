# make test   virtual environment, build, installation, tests
# make lint   ruff and clang-format
# make demo   restores a degraded photograph in five ways; sheets in outputs/
# make bench  speed table, as ratios to copies of the same bytes; results in benchmarks/results/
# make gpu    on a machine with an NVIDIA GPU: builds, proves and measures the GPU kernels, in the
#             environment of $(PYTHON), without network; results in benchmarks/results/
PYTHON ?= python3
VENV ?= .venv
# the pinned version; on a machine without a GPU choose a CPU build of it
TORCH ?= torch==2.13.0
# weights for make demo: those of the package, or a file of `ddrm-fast train`
PRIOR ?= default
BIN = $(VENV)/bin
# (without the link to the folder of Triton kernels: the time of a folder changes with its caches)
SOURCES = $(filter-out ddrm_fast/triton_kernels,$(shell git ls-files csrc ddrm_fast triton_kernels setup.py pyproject.toml CMakeLists.txt))

.PHONY: test lint demo bench gpu clean

test: $(VENV)/installed
	$(BIN)/pytest tests

lint: $(VENV)/linters
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	git ls-files 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.cu' 'tests/cuda_host/*.h' 'tests/cuda_host/*.cpp' | xargs $(BIN)/clang-format --dry-run --Werror

demo: $(VENV)/installed
	$(BIN)/python examples/demo.py --prior $(PRIOR)

bench: $(VENV)/installed
	$(BIN)/pip install --quiet '.[bench]'
	$(BIN)/python benchmarks/report.py

gpu:
	$(PYTHON) benchmarks/gpu.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# torch first, so that a plain requirement never pulls another build of it
$(VENV)/installed: $(VENV)/bin/python $(SOURCES)
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet '.[test]'
	touch $@

$(VENV)/linters: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet ruff==0.17.5 clang-format==23.1.5
	touch $@

clean:
	rm -rf $(VENV) build outputs .benchmarks
