# make demo    set up and answer six prompts through the ladder
# make test    the tests (fetches the two smallest models if they are not cached)
# make test-vllm  the tests against a real vLLM and transformers, in an environment of their own
#              (.venv-vllm; on a CPU)
# make test-ray  the tests of adaptive_sd.distributed, in .venv-ray
# make reproduce  the README's figures again, from the recorded answers (two minutes)
# make check   format, lint, types, import contracts
# make clean   remove the environment and caches; models and the compiled wheel stay in
#              ~/.cache/adaptive-sd, results/ stays too
# PYTHON=...   the Python 3.11 to 3.13 to use, else the first found

SHELL := bash
BIN := .venv/bin
TABLE := recordings/default-ladder.parquet
.DEFAULT_GOAL := demo
.PHONY: demo test test-vllm test-ray reproduce check clean FORCE

# Always asked: install.sh compares contents and does nothing when all is as it was.
.venv/.stamp: FORCE
	@PYTHON="$(PYTHON)" scripts/install.sh .venv

.venv-vllm/.stamp: FORCE
	@PYTHON="$(PYTHON)" scripts/install.sh .venv-vllm requirements-vllm.txt

.venv-ray/.stamp: FORCE
	@PYTHON="$(PYTHON)" scripts/install.sh .venv-ray requirements-ray.txt

demo: .venv/.stamp
	@$(BIN)/adaptive-sd models pull smollm2-135m qwen2.5-coder-0.5b qwen2.5-coder-1.5b
	@$(BIN)/adaptive-sd refit $(TABLE)
	@$(BIN)/adaptive-sd demo

test: .venv/.stamp
	@$(BIN)/adaptive-sd models pull smollm2-135m qwen2.5-coder-0.5b \
	  || echo "make test: models could not be fetched; the tests that need them are skipped." >&2
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

test-vllm: .venv-vllm/.stamp
	@.venv-vllm/bin/adaptive-sd models pull smollm2-135m qwen2.5-coder-0.5b
	@.venv-vllm/bin/python -m pytest -W ignore tests/vllm tests/conformance \
	  tests/engines/test_transformers*.py -k "vllm or transformers" $(PYTEST_ARGS)

test-ray: .venv-ray/.stamp
	@.venv-ray/bin/python -m pytest tests/distributed $(PYTEST_ARGS)

# Fits the recorded answers' fit half and measures on the other: nothing is read from the shipped fit.
reproduce: .venv/.stamp
	@$(BIN)/adaptive-sd fit $(TABLE) --out results/artifact
	@$(BIN)/python experiments/evaluate_all.py --table $(TABLE) --artifact results/artifact
	@$(BIN)/adaptive-sd replay $(TABLE)

check: .venv/.stamp
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@! command -v shellcheck >/dev/null || shellcheck scripts/*.sh .ci/run

clean:
	rm -rf .venv .venv-vllm .venv-ray build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis \
	  .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
