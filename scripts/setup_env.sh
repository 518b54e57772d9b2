#!/usr/bin/env bash
# Sets up the conda environment adaptive-sd, or .venv where conda is absent.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

conda="${CONDA_EXE:-$(command -v conda || true)}"
if [[ -z $conda ]]; then
  scripts/install.sh
  echo "conda is not installed, so the environment is .venv. Activate it with:"
  echo "  source .venv/bin/activate"
  exit
fi

prefix_of() { "$conda" run --name adaptive-sd python -c 'import sys; print(sys.prefix)' 2>/dev/null; }
if ! prefix=$(prefix_of); then
  "$conda" create --yes --quiet --name adaptive-sd python=3.11 pip
  prefix=$(prefix_of)
fi
scripts/install.sh "$prefix"
echo "Activate the environment with:"
echo "  conda activate adaptive-sd"
