# Kamerton's chores; `make` lists them. Each does the set-up it needs, and none needs root.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTHONS := python3 python3.13 python3.12 python3.11
DEMO_DATA := runs/demo-data
PEERS := .venv-peers
VLLM := .venv-vllm
SUPPLY := .venv-audit
ELSEWHERE := .venv-elsewhere
LOCKED = $(SUPPLY)/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header

.PHONY: help
help:  ## List these targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: install
install: $(INSTALLED)  ## Make .venv with the locked requirements and Kamerton in editable form

$(INSTALLED): requirements.lock requirements-torch.txt pyproject.toml
	@for python in $(PYTHONS); do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "making $(VENV) with $$("$$python" --version)"; \
	        exec "$$python" -m venv $(VENV); \
	    fi; \
	done; \
	echo "Kamerton needs Python 3.11 or newer; none of $(PYTHONS) is one: install it and run make again" >&2; \
	exit 1
	# what builds packages comes first: then those that have no wheel (seqeval, rouge-score) need nothing outside the lock
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement \
	    <(sed -nE '/^(packaging|setuptools|setuptools-scm|vcs-versioning)==/,/[^\\]$$/p' requirements.lock)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --no-build-isolation --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --requirement requirements-torch.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: demo
demo: install  ## Tune two small models on real data and judge them (minutes, after the downloads)
	rm -rf runs/demo-reviews runs/demo-docstrings
	$(BIN)/kamerton models get minilm
	$(BIN)/python examples/get_data.py movie-reviews --out $(DEMO_DATA)/movie-reviews.csv
	$(BIN)/kamerton tune $(DEMO_DATA)/movie-reviews.csv --model minilm --method full --max-rows 2000 --epochs 2 \
	    --out runs/demo-reviews
	$(BIN)/kamerton models get smollm2
	$(BIN)/python examples/make_docstrings.py --out $(DEMO_DATA)/docstrings.jsonl
	$(BIN)/kamerton tune $(DEMO_DATA)/docstrings.jsonl --model smollm2 --method lora --max-rows 200 --epochs 2 \
	    --out runs/demo-docstrings

.PHONY: test
test: install  ## Run all tests, file by file in two processes
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: bench
bench: install $(PEERS)/.installed  ## Do the same work as HF Trainer, TRL and others beside them, and write docs/speed.md
	$(BIN)/kamerton models get minilm
	$(BIN)/kamerton models get smollm2
	$(BIN)/python benchmarks/peers/bench.py

.PHONY: bench-serve
bench-serve: install $(PEERS)/.installed  ## Serve beside other servers, and under 20,000 broken requests
	$(BIN)/kamerton models get smollm2
	$(BIN)/kamerton models get minilm
	$(BIN)/python examples/make_docstrings.py --out $(DEMO_DATA)/docstrings.jsonl
	$(BIN)/python examples/get_data.py movie-reviews --out $(DEMO_DATA)/movie-reviews.csv
	test -d runs/serve-writer || $(BIN)/kamerton tune $(DEMO_DATA)/docstrings.jsonl --model smollm2 --method lora \
	    --max-rows 60 --epochs 1 --out runs/serve-writer
	test -d runs/serve-classifier || $(BIN)/kamerton tune $(DEMO_DATA)/movie-reviews.csv --model minilm --method full \
	    --max-rows 200 --epochs 1 --out runs/serve-classifier
	$(BIN)/python benchmarks/serving.py speed runs/serve-writer runs/serve-classifier $(if $(GGUF),--gguf $(GGUF))
	$(BIN)/python benchmarks/serving.py harness runs/serve-writer runs/serve-classifier
	$(BIN)/python benchmarks/serving.py attack runs/serve-writer runs/serve-classifier

.PHONY: bench-studio
bench-studio: install  ## Measure the studio: events, memory, first paint (needs chromium)
	$(BIN)/python benchmarks/studio.py

.PHONY: bench-slurm
bench-slurm: install  ## Stop a job on a Slurm of one node in every way: it must go on (five minutes; needs slurmctld)
	$(BIN)/python benchmarks/on_slurm.py --out docs/slurm.md

.PHONY: bench-growth
bench-growth: install  ## Train on 1 to 32 times the data: time and memory, written into docs/speed.md
	$(BIN)/kamerton models get minilm
	$(BIN)/kamerton models get smollm2
	$(BIN)/python benchmarks/peers/bench.py --growth

$(PEERS)/.installed: benchmarks/peers/requirements.txt $(INSTALLED)
	rm -rf $(PEERS)
	$(BIN)/python -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --requirement benchmarks/peers/requirements.txt
	@touch $@

.PHONY: bench-methods
bench-methods: install  ## Tune two small models by every method on real data, and write docs/methods.md
	$(BIN)/kamerton models get minilm
	$(BIN)/kamerton models get smollm2
	$(BIN)/python benchmarks/methods.py --beside

.PHONY: bench-memory
bench-memory: install  ## Hold the estimate of memory against what one epoch takes, by every method, in docs/methods.md
	$(BIN)/kamerton models get minilm
	$(BIN)/kamerton models get smollm2
	$(BIN)/python benchmarks/methods.py --memory

.PHONY: bench-cross
bench-cross: install  ## Put every task, method and classification head together, and write docs/cross.md
	$(BIN)/python benchmarks/cross.py

.PHONY: bench-exports
bench-exports: install  ## Export a tiny tuned model of every task to every format, each proven in its engine or refused
	$(BIN)/python benchmarks/exports.py

.PHONY: bench-ray
bench-ray: $(ELSEWHERE)/.installed  ## Train eight seeds here, in processes and on Ray: equal results, and the time of one worker and of two
	$(ELSEWHERE)/bin/python benchmarks/workers.py

.PHONY: bench-ray-train
bench-ray-train: $(ELSEWHERE)/.installed  ## Train with two workers of Ray's TorchTrainer, killed and not: weights as of `kamerton launch 2`
	$(ELSEWHERE)/bin/python benchmarks/ray_train.py

.PHONY: bench-storage
bench-storage: $(ELSEWHERE)/.installed  ## Tune at s3:// addresses of a local server under twenty kills: whole at any moment, equal at the end
	$(ELSEWHERE)/bin/python benchmarks/storage.py

# Kamerton as it is installed, and beside it what is too heavy for its own environment, or does not fit its lock
$(ELSEWHERE)/.installed: requirements-elsewhere.lock $(INSTALLED)
	rm -rf $(ELSEWHERE)
	$(BIN)/python -m venv $(ELSEWHERE)
	$(ELSEWHERE)/bin/python -m pip install --quiet --no-deps --require-hashes --requirement requirements-elsewhere.lock
	$(BIN)/python -c 'import pathlib, site; print(site.getsitepackages()[0], pathlib.Path("src").resolve(), sep="\n")' \
	    > $$($(ELSEWHERE)/bin/python -c 'import site; print(site.getsitepackages()[0])')/kamerton.pth
	@touch $@

.PHONY: bench-vllm
bench-vllm: install $(VLLM)/.installed  ## Serve exports by real vLLM (CPU build), and hold its answers to the run's
	$(BIN)/kamerton models get smollm2
	$(BIN)/python examples/make_docstrings.py --out $(DEMO_DATA)/docstrings.jsonl
	test -d runs/serve-writer || $(BIN)/kamerton tune $(DEMO_DATA)/docstrings.jsonl --model smollm2 --method lora \
	    --max-rows 60 --epochs 1 --out runs/serve-writer
	$(BIN)/python benchmarks/in_vllm.py runs/serve-writer

$(VLLM)/.installed: benchmarks/peers/requirements-vllm.txt $(INSTALLED)
	rm -rf $(VLLM)
	$(BIN)/python -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --only-binary :all: --requirement benchmarks/peers/requirements-vllm.txt || { \
	    echo "vLLM's CPU build cannot be installed here: nothing was compared" >&2; exit 1; }
	# PyPI's builds of these are for CUDA and do not load beside a torch for CPUs; text needs none of them
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

.PHONY: bench-prove
bench-prove: install $(PEERS)/.installed  ## Prove models that Trainer, PEFT and TRL tuned, beside a plain script; write docs/prove.md
	$(BIN)/kamerton models get minilm
	$(BIN)/kamerton models get smollm2
	$(BIN)/python examples/make_docstrings.py --out $(DEMO_DATA)/docstrings.jsonl
	$(BIN)/python examples/get_data.py movie-reviews --out $(DEMO_DATA)/movie-reviews.csv
	$(BIN)/python benchmarks/proving.py $(DEMO_DATA)/movie-reviews.csv $(DEMO_DATA)/docstrings.jsonl --write

.PHONY: bench-families
bench-families: install  ## Tune a tiny model of every family of transformers, and write docs/models.md (half an hour)
	$(BIN)/python benchmarks/families.py

.PHONY: bench-devices
bench-devices: install  ## Tune by every method on a pretend GPU, and write docs/devices.md (a quarter of an hour)
	$(BIN)/python benchmarks/on_devices.py

.PHONY: bench-probe
bench-probe: install  ## Hold the rate that `--learning-rate auto` finds against a sweep, on two data sets
	$(BIN)/kamerton models get minilm
	$(BIN)/python examples/get_data.py movie-reviews --out $(DEMO_DATA)/movie-reviews.csv
	$(BIN)/python examples/get_data.py address-parts --out $(DEMO_DATA)/address-parts.csv
	$(BIN)/python benchmarks/rate_probe.py $(DEMO_DATA)/movie-reviews.csv $(DEMO_DATA)/address-parts.csv

.PHONY: bench-statistics
bench-statistics: install  ## Show by simulation that intervals, tests and verdicts keep what they promise
	$(BIN)/python benchmarks/statistics_truth.py

.PHONY: bench-forgetting
bench-forgetting: install  ## Time the forgetting probe, and see what the dial gives back on real data
	$(BIN)/kamerton models get smollm2
	$(BIN)/python examples/get_data.py address-requests --out $(DEMO_DATA)/address-requests.jsonl
	$(BIN)/python examples/make_docstrings.py --out $(DEMO_DATA)/docstrings.jsonl
	$(BIN)/python benchmarks/forgetting.py $(DEMO_DATA)/address-requests.jsonl $(DEMO_DATA)/docstrings.jsonl

.PHONY: bench-forgetting-encoders
bench-forgetting-encoders: install  ## See what encoders forget at the usual rate and at rates far too high
	$(BIN)/kamerton models get minilm
	$(BIN)/kamerton models get e5-small
	$(BIN)/python examples/get_data.py movie-reviews --out $(DEMO_DATA)/movie-reviews.csv
	$(BIN)/python examples/get_data.py russian-senses --out $(DEMO_DATA)/russian-senses.csv
	$(BIN)/python benchmarks/forgetting_encoders.py minilm=$(DEMO_DATA)/movie-reviews.csv \
	    e5-small=$(DEMO_DATA)/movie-reviews.csv e5-small=$(DEMO_DATA)/russian-senses.csv

.PHONY: check
check: install  ## Look at the code without running it: format, lint, types, architecture, docs and catalogues in step
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest tests/test_architecture.py
	$(BIN)/python docs/generate.py --check
	$(BIN)/python docs/messages.py --check

.PHONY: docs
docs: install  ## Write the generated pages of docs/ anew
	$(BIN)/python docs/generate.py

.PHONY: messages
messages: install  ## Update the translations' catalogue with the messages of the code, and compile it
	$(BIN)/python docs/messages.py

.PHONY: bench-curve
bench-curve: install  ## Time the learning curve, and hold its band against the truth on real data
	$(BIN)/kamerton models get minilm
	$(BIN)/python examples/get_data.py movie-reviews --out $(DEMO_DATA)/movie-reviews.csv
	$(BIN)/python benchmarks/learning_curve.py $(DEMO_DATA)/movie-reviews.csv

.PHONY: check-gpu
check-gpu: install  ## Check methods, memory, writing and speed on this machine's accelerator (eight minutes)
	$(BIN)/python benchmarks/check_gpu.py --out runs/check-gpu.json

.PHONY: fuzz
fuzz: install  ## Read ten thousand broken data files: no traceback, no hang, every row accounted for
	$(BIN)/python benchmarks/fuzz_reading.py

.PHONY: bench-processes
bench-processes: install  ## Train by 2 and 4 processes, stop, kill, and compare with one: docs/processes.md
	$(BIN)/python benchmarks/processes.py --out docs/processes.md

.PHONY: screenshots
screenshots: install  ## Make two runs in the studio and photograph its pages: docs/images (ten minutes; needs Chromium)
	$(BIN)/kamerton models get minilm
	$(BIN)/python docs/screenshots.py

.PHONY: chaos
chaos: install  ## Kill tiny runs at every file operation, damage every file, fill the disk: nothing may be lost (hours)
	$(BIN)/python benchmarks/chaos.py --random 1000 --out docs/chaos.md

.PHONY: bench-data
bench-data: install  ## Read and look through tables of 10,000 to 1,000,000 rows: seconds and memory
	$(BIN)/python benchmarks/data_at_size.py

.PHONY: bench-audits
bench-audits: install  ## Plant faults in real data, and count how many the audit finds
	$(BIN)/kamerton models get minilm
	$(BIN)/kamerton models get e5-small
	$(BIN)/python benchmarks/planted_faults.py

.PHONY: build
build: install $(SUPPLY)/.installed  ## Make the source package, the wheel and the list of its components (SBOM) in dist/
	$(BIN)/python -m build --no-isolation
	wheel=$$(ls -t dist/*.whl | head -n 1); cat requirements.lock requirements-torch.txt | $(SUPPLY)/bin/python -W ignore -m cyclonedx_py \
	    requirements - --pyproject pyproject.toml --output-reproducible --output-file "$${wheel%.whl}.cdx.json"

.PHONY: lock
lock: install $(SUPPLY)/.installed  ## Pin what is installed now, with the hashes of every file of each version
	$(BIN)/pip freeze --all --exclude-editable --exclude pip | sed 's/+[a-z0-9.]*$$//' > $(SUPPLY)/pins
	{ grep '^#' requirements.lock; grep -v '^torch==' $(SUPPLY)/pins | $(LOCKED) --no-deps -; } > requirements.lock.new
	{ grep '^#' requirements-torch.txt; grep '^torch==' $(SUPPLY)/pins; } > requirements-torch.txt.new
	{ grep '^#' requirements-audit.lock; printf '%s\n' pip-audit cyclonedx-bom uv | $(LOCKED) -; } > requirements-audit.lock.new
	# botocore, which s3fs needs, does not take the python-dateutil that another package needs
	sed '/^python-dateutil==/d; /^torch==/d' $(SUPPLY)/pins > $(SUPPLY)/constraints
	{ grep '^#' requirements-elsewhere.lock; printf '%s\n' ray s3fs 'moto[server]' \
	    | $(LOCKED) --constraint $(SUPPLY)/constraints -; } > requirements-elsewhere.lock.new
	for file in requirements.lock requirements-torch.txt requirements-audit.lock requirements-elsewhere.lock; do mv $$file.new $$file; done

.PHONY: audit-deps
audit-deps: $(SUPPLY)/.installed  ## Look up the known vulnerabilities of every locked package
	@$(SUPPLY)/bin/pip-audit --strict --disable-pip --no-deps --progress-spinner off \
	    $(addprefix --requirement ,requirements.lock requirements-torch.txt requirements-audit.lock) 2>&1 \
	    | tee $(SUPPLY)/audit.log || { \
	    grep -q '^Found' $(SUPPLY)/audit.log || echo "nothing was audited: PyPI's vulnerability service did not answer for" \
	        "every package; run \`make audit-deps\` where there is a network that reaches it" >&2; exit 1; }

$(SUPPLY)/.installed: requirements-audit.lock $(INSTALLED)
	rm -rf $(SUPPLY)
	$(BIN)/python -m venv $(SUPPLY)
	$(SUPPLY)/bin/python -m pip install --quiet --no-deps --require-hashes --only-binary :all: --requirement requirements-audit.lock
	@touch $@

.PHONY: clean
clean:  ## Remove what was built and cached; runs/ and .venv stay
	rm -rf build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -prune -exec rm -rf {} +
