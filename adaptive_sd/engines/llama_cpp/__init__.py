"""Embedded llama.cpp: models from GGUF files, in this process."""

import adaptive_sd.engines.waiting  # noqa: F401  # before llama.cpp is loaded
from adaptive_sd.engines.llama_cpp.engine import LlamaCppEngine

__all__ = ["LlamaCppEngine"]
