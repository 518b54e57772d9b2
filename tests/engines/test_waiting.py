"""How llama.cpp's threads wait for each other is settled before it is loaded."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ({}, "1000"),
        ({"GOMP_SPINCOUNT": "77"}, "77"),
        ({"OMP_WAIT_POLICY": "passive"}, "0"),
    ],
)
def test_threads_give_way_unless_the_user_says_otherwise(own: dict[str, str], wanted: str) -> None:
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    told = subprocess.run(
        [sys.executable, "-c", "import adaptive_sd.engines.llama_cpp"],
        env={**kept, "OMP_DISPLAY_ENV": "VERBOSE", **own},
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    found = re.findall(r"GOMP_SPINCOUNT = '(\d+)'", told)
    if not found:
        pytest.skip("llama.cpp is compiled without OpenMP of GCC here")
    assert set(found) == {wanted}
