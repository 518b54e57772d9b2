"""Embedded llama.cpp: models from GGUF files, in this process."""

from adaptive_sd.engines.llama_cpp.engine import LlamaCppEngine

__all__ = ["LlamaCppEngine"]
