#!/usr/bin/env bash
# Installs the locked dependencies, hashes checked, and this package into one environment.
#
# usage: scripts/install.sh [ENVIRONMENT [REQUIREMENTS]]
#   ENVIRONMENT   a folder; default .venv, made with $PYTHON if absent
#   REQUIREMENTS  default requirements-dev.txt; every pin has its hashes
#
# llama-cpp-python is compiled for this CPU once and its wheel kept in the home folder of
# adaptive-sd, under a hash of all that the build depends on (design/0001-lock.md).
# CMAKE_ARGS adds options to the build, e.g. CMAKE_ARGS=-DGGML_CUDA=ON.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment="${1:-.venv}"
requirements="${2:-requirements-dev.txt}"
wheels="${ADAPTIVE_SD_HOME:-$HOME/.cache/adaptive-sd}/wheels"
cmake_args="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF${CMAKE_ARGS:+ $CMAKE_ARGS}"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

say() { echo "install: $*" >&2; }
fail() {
  say "$@"
  exit 1
}

supported() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; }

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if supported "$candidate"; then
      echo "$candidate"
      return
    fi
  done
  fail "no Python 3.11 to 3.13 (tried ${PYTHON:-python3, python3.13, python3.12, python3.11});" \
    "install one (Debian, Ubuntu: apt install python3 python3-venv; else pyenv or conda) or name" \
    "it: PYTHON=/path/to/python3.11 make demo"
}

prepare_environment() {
  if [[ -x $python ]] && "$python" -m pip --version >/dev/null 2>&1; then
    supported "$python" || fail "$environment has a Python that is not 3.11 to 3.13; remove it" \
      "and start again: rm -r $environment"
    return
  fi
  # A folder that is no virtual environment is not ours to clear.
  if [[ -e $environment && ! -e $environment/pyvenv.cfg ]]; then
    fail "$environment is no environment with pip; remove it or name another."
  fi
  local base
  base=$(find_python)
  "$base" -c 'import ensurepip, venv' 2>/dev/null || fail "$base has no venv module;" \
    "get it (Debian, Ubuntu: apt install python3-venv)."
  say "new environment $environment with $("$base" --version)"
  "$base" -m venv --clear "$environment"
}

sha256() { "$python" -c 'import hashlib, sys
print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'; }

llama_requirement() { awk '/^llama-cpp-python==/ {on = 1} on {print; if (!/\\$/) exit}' requirements.txt; }

# What decides whether a native build can be used again.
describe_build() {
  uname -sm
  getconf GNU_LIBC_VERSION 2>/dev/null || true
  if [[ -r /proc/cpuinfo ]]; then
    grep -E '^(vendor_id|cpu family|model|flags|Features|CPU (implementer|part))[[:space:]]*:' \
      /proc/cpuinfo | sort -u || true
  else
    sysctl -n machdep.cpu.brand_string machdep.cpu.features machdep.cpu.leaf7_features \
      2>/dev/null || true
  fi
  cat scripts/llama_cpp.cmake
  echo "$cmake_args ${CC:-} ${CXX:-} ${CFLAGS:-} ${CXXFLAGS:-}"
  llama_requirement
}

need_compiler() {
  command -v cmake >/dev/null || fail "cmake is missing and llama.cpp is built from source; get" \
    "it (Debian, Ubuntu: apt install cmake; macOS: brew install cmake; conda install cmake)."
  local compiler
  for compiler in ${CXX:-c++ g++ clang++}; do
    command -v "$compiler" >/dev/null && return
  done
  fail "no C++ compiler and llama.cpp is built from source; get one (Debian, Ubuntu: apt install" \
    "build-essential; macOS: xcode-select --install; conda install cxx-compiler)."
}

kept_wheel() { # prints the wheel of this key if it is there and whole
  local wheel
  for wheel in "$wheels/$key"/*.whl; do
    [[ -f $wheel && $(cat "$wheel.sha256" 2>/dev/null) == "$(sha256 <"$wheel")" ]] || continue
    echo "$wheel"
    return
  done
  return 1
}

build_wheel() { # prints the new wheel
  need_compiler
  say "compiling llama-cpp-python for this CPU: some minutes, once on this machine"
  llama_requirement >"$scratch/llama.txt"
  # pip's own cache knows neither the CPU nor CMAKE_ARGS.
  CMAKE_ARGS="$cmake_args -DCMAKE_PROJECT_llama.cpp_INCLUDE_BEFORE=$PWD/scripts/llama_cpp.cmake" \
    "$python" -m pip wheel --quiet --require-hashes --no-deps --no-cache-dir --no-build-isolation \
    --no-binary llama-cpp-python --requirement "$scratch/llama.txt" --wheel-dir "$scratch" >&2 ||
    fail "llama-cpp-python could not be built; the compiler's message is above."
  local built
  built=$(echo "$scratch"/*.whl)
  if ! mkdir -p "$wheels/$key" 2>/dev/null || [[ ! -w $wheels/$key ]]; then
    say "$wheels cannot be written: the build is used now but not kept"
    echo "$built"
    return
  fi
  local kept="$wheels/$key/${built##*/}"
  sha256 <"$built" >"$built.sha256"
  mv -f "$built.sha256" "$kept.sha256"
  mv -f "$built" "$kept"
  echo "$kept"
}

python="$environment/bin/python"
prepare_environment
key=$(describe_build | sha256)
state=$({
  echo "$key $PWD"
  cat requirements*.txt pyproject.toml scripts/install.sh
} | sha256)
stamp="$environment/.stamp"
[[ $(cat "$stamp" 2>/dev/null) != "$state" ]] || exit 0

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
rm -f "$stamp"
pip_install() { "$python" -m pip install --quiet "$@"; }

say "build tools"
pip_install --require-hashes --requirement requirements-build.txt
wheel=$(kept_wheel) || wheel=$(build_wheel)
say "locked dependencies"
pip_install --no-deps --no-index --force-reinstall "$wheel"
# --no-deps: each is a whole list, and one of them leaves out what is not needed.
pip_install --require-hashes --no-deps --requirement "$requirements"
say "adaptive-sd"
pip_install --no-deps --no-index --no-build-isolation --editable .
echo "$state" >"$stamp"
say "ready in $environment"
