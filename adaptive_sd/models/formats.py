"""Other quantisations of a model, made on this machine from its file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from adaptive_sd.errors import ModelError

FORMATS = ("Q4_0", "IQ4_NL", "Q8_0")
"""Those that llama.cpp has fast kernels for on CPUs, smallest first."""

_PROGRAM = """
import ctypes, os, sys
import llama_cpp
source, quant, target, num_threads = sys.argv[1:]
params = llama_cpp.llama_model_quantize_default_params()
params.ftype = getattr(llama_cpp, "LLAMA_FTYPE_MOSTLY_" + quant)
params.allow_requantize = True
params.nthread = int(num_threads)
paths = os.fsencode(source), os.fsencode(target)
sys.exit(llama_cpp.llama_model_quantize(*paths, ctypes.byref(params)))
"""


def requantise(source: Path, quant: str, target: Path) -> None:
    """Write `source` in the format `quant` to `target`, whole or not at all.

    The same bytes come out for the same source and version of llama.cpp. Raises ModelError when
    it cannot be made: an unknown format, no disk, a model that llama.cpp cannot convert.
    """
    if quant not in FORMATS:
        raise ModelError(f"no format {quant[:40]!r}; known: {', '.join(FORMATS)}.")
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    num_threads = str(len(os.sched_getaffinity(0)))
    command = [sys.executable, "-c", _PROGRAM, str(source), quant, str(temporary), num_threads]
    try:  # in a process of its own, since llama.cpp ends the process over some damaged files
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if ended.returncode or not temporary.exists():
            said = (ended.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ModelError(f"{source}: cannot be written as {quant} ({said[:200]}).")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
