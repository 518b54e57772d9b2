"""A GGUF model in Hugging Face's layout, made once and kept in the home folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from adaptive_sd.models.catalogue import find
from adaptive_sd.models.home import home_dir
from adaptive_sd.models.store import file_of


def hf_folder(name: str) -> Path | None:
    """None where the model is not cached. Its weights are those of the GGUF file, in 32 bits."""
    source, folder = file_of(find(name)), home_dir() / "hf" / name
    if not source.exists():
        return None
    if not folder.exists():
        scratch = folder.with_name(f"{name}.{os.getpid()}.tmp")
        try:
            _dequantise(source, scratch)
            scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _dequantise(source: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    given = {"gguf_file": source.name}
    model = AutoModelForCausalLM.from_pretrained(
        source.parent,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
        **given,
    )
    del model.config.quantization_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source.parent, **given).save_pretrained(folder)
