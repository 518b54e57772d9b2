#!/usr/bin/env bash
# Debian's chromium, for the tests of `adaptive-sd report`; they are skipped without it.
# Does nothing where it is installed, and says why where it cannot be.
set -euo pipefail

if command -v chromium >/dev/null; then
  exit
fi
if [[ $EUID -ne 0 ]] || ! command -v apt-get >/dev/null; then
  echo "install_browser: no chromium, and it takes root and apt-get to install it; the tests in a" \
    "browser are skipped." >&2
  exit
fi
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; }; then
  echo "install_browser: chromium could not be installed; the tests in a browser are skipped." >&2
fi
