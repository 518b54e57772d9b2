#!/usr/bin/env bash
# Makes the lock anew: requirements.txt, requirements-dev.txt, requirements-ray.txt,
# requirements-build.txt.
# Pins already there stay; `scripts/lock.sh --upgrade` takes the newest (see design/0001-lock.md).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v uv >/dev/null || {
  echo "lock.sh: uv is missing; get it with: pip install uv" >&2
  exit 1
}

compile() {
  # --no-config: the lock must not depend on the index settings of the machine that makes it.
  # --fork-strategy fewest: one version for all Pythons, so that all give the same numbers.
  uv pip compile --quiet --no-config --universal --python-version 3.11 --fork-strategy fewest \
    --generate-hashes --no-emit-index-url --no-header --no-annotate "$@"
}

compile pyproject.toml --output-file requirements.txt "$@"
compile pyproject.toml --extra dev --constraints requirements.txt \
  --output-file requirements-dev.txt "$@"
compile pyproject.toml --extra dev --extra ray --constraints requirements-dev.txt \
  --output-file requirements-ray.txt "$@"
compile requirements-build.in --constraints requirements-dev.txt \
  --output-file requirements-build.txt "$@"
