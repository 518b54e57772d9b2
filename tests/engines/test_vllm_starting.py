"""Why vLLM did not start, told in one line with the setting that would fit."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from adaptive_sd.engines.vllm.engine import VllmEngine
from adaptive_sd.engines.vllm.options import VllmOptions
from adaptive_sd.engines.vllm.starting import last_error, why_not_started
from adaptive_sd.errors import ConfigError, EngineError, MemoryLackError

OPTIONS = VllmOptions("owner/model-7b", context=4096)

CPU = (
    "ValueError: Available memory on node 0 (11.3/23.5 GiB) on startup is less than desired CPU "
    "memory utilization (0.92, 21.62 GiB). On the CPU backend, the `--gpu-memory-utilization` flag "
    "controls the fraction"
)
GPU = (
    "ValueError: Free memory on device cuda:0 (30.1/79.2 GiB) on startup is less than desired GPU "
    "memory utilization (0.9, 71.28 GiB). Decrease GPU memory utilization"
)
CACHE = (
    "ValueError: To serve at least one request with the model's max seq len (4096), (2.0 GiB KV "
    "cache is needed, which is larger than the available KV cache memory (1.25 GiB). Based on the "
    "available memory, the estimated maximum model length is 2560. Try increasing"
)
NO_CACHE = "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_ut"
WEIGHTS = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.02 GiB. GPU 0 has a total "
    "capacity of 15.77 GiB of which 512.00 MiB is free. Including non-PyTorch memory"
)
CONSEQUENCE = "RuntimeError: Engine core initialization failed. See root cause above. Failed core"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (CPU, ("21.62 GiB", "of 23.5 GiB 11.3 are free", "gpu_memory_utilization = 0.45")),
        (GPU, ("71.28 GiB", "of 79.2 GiB 30.1 are free", "gpu_memory_utilization = 0.36")),
        (CACHE, ("of 4096 tokens needs 2.0 GiB, 1.25 GiB are left", "set context = 2560")),
        (NO_CACHE, ("no memory for a cache", "a larger gpu_memory_utilization")),
        (WEIGHTS, ("1.02 GiB more", "of 15.77 GiB 512.00 MiB are free", "tensor_parallel_size")),
    ],
)
def test_a_lack_of_memory_tells_need_stock_and_the_setting_that_fits(
    said: str, told: tuple[str, ...]
) -> None:
    error = why_not_started(OPTIONS, f"Traceback:\n  File\n{said}\n{CONSEQUENCE}")
    assert isinstance(error, MemoryLackError)
    for part in (OPTIONS.model, *told):
        assert part in str(error)
    assert "\n" not in str(error)


def test_other_reasons_are_the_last_error_that_is_no_consequence() -> None:
    said = "ValueError: first\nOSError: owner/model-7b is not a local folder\n" + CONSEQUENCE
    error = why_not_started(OPTIONS, said)
    assert isinstance(error, ConfigError) and not isinstance(error, EngineError)
    assert str(error).endswith("vLLM does not start: owner/model-7b is not a local folder")
    died = (
        "TimeoutError: RPC call timed out.\nEngineDeadError: EngineCore encountered an issue. See"
    )
    assert last_error(died) == "RPC call timed out."
    assert last_error("nothing that looks like one\nlast line") == "last line"
    assert len(last_error("ValueError: " + "x" * 9999)) < 1000


class Loaded:
    """What vLLM starts, with a tokenizer that is none."""

    was_ended = False

    def get_tokenizer(self) -> object:
        return object()

    def shutdown(self) -> None:
        self.was_ended = True


def test_what_vllm_started_ends_where_its_tokenizer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = Loaded()
    monkeypatch.setattr("adaptive_sd.engines.vllm.engine.start", lambda *_: loaded)
    before = set(threading.enumerate())
    with pytest.raises(EngineError, match=r"no tokenizer\.json"):
        VllmEngine(tmp_path, OPTIONS)
    assert loaded.was_ended and set(threading.enumerate()) <= before
