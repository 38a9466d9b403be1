# Two commands on a fresh machine: `make demo` and `make test`. Both make the virtual environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# It declares TensorFlow's helpers, a second OpenCV and a Python that it does not need.
ONNX2TF := onnx2tf==2.6.9 sne4onnx==2.0.1 sng4onnx==2.0.1
STAMP := $(VENV)/.edgecv-dev-installed

.PHONY: demo test real remote arm64 check format clean

# In three steps: what the converters pin comes first, or pip tries old releases of everything else
# for minutes.
$(STAMP): pyproject.toml
	$(PYTHON) scripts/python_version.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable '.[convert]'
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps --ignore-requires-python $(ONNX2TF)
	touch $@

demo: $(STAMP)  ## Convert, verify, evaluate, bench and draw the model that the repository brings
	PATH="$(abspath $(BIN)):$$PATH" sh scripts/demo

test: $(STAMP)  ## Style, types and the fast tests
	PATH="$(abspath $(BIN)):$$PATH" sh scripts/check
	PATH="$(abspath $(BIN)):$$PATH" sh scripts/test

# Model zoos whose models are converted in tests; nothing of ours needs them. --no-deps, for their
# torchvision would bring another torch.
ZOO := ultralytics==8.4.190 timm==1.0.31 torchvision==0.28.0
ZOO_STAMP := $(VENV)/.edgecv-zoo-installed

$(ZOO_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --no-deps $(ZOO)
	$(BIN)/python -m pip install --quiet polars matplotlib requests psutil pillow PyYAML
	touch $@

real: $(ZOO_STAMP)  ## The tests on real models; EDGECV_REAL names their folder
	PATH="$(abspath $(BIN)):$$PATH" sh scripts/test-real

remote: $(STAMP)  ## Benchmarks over SSH; as root it installs openssh-server if need be
	PATH="$(abspath $(BIN)):$$PATH" sh scripts/test-remote

arm64: $(STAMP)  ## The runtime on emulated Raspberry Pis; as root it installs qemu-user if need be
	PATH="$(abspath $(BIN)):$$PATH" sh scripts/test-arm64

check: $(STAMP)  ## Style and types only
	PATH="$(abspath $(BIN)):$$PATH" sh scripts/check

format: $(STAMP)  ## Rewrite files in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove what the other targets made
	rm -rf out build dist $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
