"""A real vLLM server: started in a process group of its own, which ends in every case."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2

from adaptive_sd.engines.vllm.options import VllmOptions
from tests.vllm.hf_folder import hf_folder

SMALL, LARGER = "smollm2-135m", "qwen2.5-coder-0.5b"
CONTEXT = 1024
START_S = 600
"""Longest wait for a server: a busy machine takes minutes."""

ON_CPU = {
    "VLLM_TARGET_DEVICE": "cpu",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # several servers share the cores
    "OMP_NUM_THREADS": "1",
    "VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS": "3600",  # of one step, on a machine that is busy
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}

OPTIONS = ("--dtype", "float32", "--enforce-eager", "--max-num-seqs", "8", "--block-size", "32")
"""32 bits: so little noise that greedy answers part at near-ties only."""


_AS_CHILD = ("setpriv", "--pdeathsig", "TERM") if shutil.which("setpriv") else ()
"""Ends it even where we are killed."""


class RunningServer:
    """Serves a folder under `name`; `wait` until it answers."""

    def __init__(self, folder: Path, name: str, log: Path) -> None:
        self.name, self.log = name, log
        self.port = _free_port()
        command = [*_AS_CHILD, sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
        command += ["--model", str(folder), "--served-model-name", name]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--max-model-len", str(CONTEXT), "--enable-prompt-tokens-details", *OPTIONS]
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | ON_CPU,
                start_new_session=True,
            )
        atexit.register(self.stop)  # where no fixture is torn down

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def wait(self) -> RunningServer:
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(f"http://127.0.0.1:{self.port}/health").is_success:
                    return self
            time.sleep(0.5)
        said = self.log.read_text(errors="replace")[-3000:]
        self.stop()
        raise RuntimeError(f"vLLM did not start:\n{said}")

    def num_running(self) -> float:
        """Requests that it works on or that wait, by its own metrics."""
        return self.metric("vllm:num_requests_")

    def metric(self, name: str) -> float:
        """The sum of all of its metrics whose names begin so."""
        url = f"http://127.0.0.1:{self.port}/metrics"
        lines = httpx2.get(url, timeout=START_S).text.splitlines()
        found = [float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)]
        assert found
        return sum(found)

    def settle(self) -> float:
        """Requests that it still has after a while."""
        end = time.monotonic() + 30
        while (found := self.num_running()) and time.monotonic() < end:
            time.sleep(0.1)
        return found

    def kill(self) -> None:
        """At once, as a machine that fails."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """A second one does nothing."""
        atexit.unregister(self.stop)
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=20)
        self.kill()

    def _signal(self, number: int) -> None:
        """To the server and all that it started, also where only those are left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def penalised(folder: Path, copy: Path) -> Path:
    """The same model, whose generation_config.json has servers change greedy answers."""
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).symlink_to(path)
    config = json.loads((folder / "generation_config.json").read_text())
    (copy / "generation_config.json").unlink()
    liked = config | {"repetition_penalty": 1.5, "top_k": 3}
    (copy / "generation_config.json").write_text(json.dumps(liked))
    return copy


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def options_of(name: str, **options: object) -> VllmOptions:
    """As OPTIONS, of vLLM in process."""
    given = {"enforce_eager": True, "max_num_seqs": 8, "block_size": 32} | options
    return VllmOptions(name, CONTEXT, dtype="float32", options=given)


@functools.cache
def small_server() -> RunningServer:
    """One for all tests, started now; it ends with this process."""
    folder = hf_folder(SMALL)
    assert folder is not None
    log = Path(tempfile.mkdtemp(prefix="adaptive-sd-vllm-")) / "server.log"
    return RunningServer(folder, SMALL, log)
