#!/usr/bin/env bash
# Installs what scripts/install.sh does, and Ray, into an environment of its own.
#
# usage: scripts/install_ray.sh [ENVIRONMENT]      a folder; default .venv-ray
#
# Ray is large and needed for more than one machine only, so `make test` does without.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment="${1:-.venv-ray}"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

scripts/install.sh "$environment"
python="$environment/bin/python"
stamp="$environment/.stamp-ray"
# install.sh's stamp is of all that it installs and of the locks, this one's among them.
[[ $(cat "$stamp" 2>/dev/null) != "$(cat "$environment/.stamp")" ]] || exit 0

rm -f "$stamp"
echo "install_ray: Ray" >&2
"$python" -m pip install --quiet --require-hashes --requirement requirements-ray.txt
cp "$environment/.stamp" "$stamp"
echo "install_ray: ready in $environment" >&2
