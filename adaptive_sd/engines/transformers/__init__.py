"""Checkpoints of the model hub with transformers on PyTorch; the engine is in `engine`."""

import adaptive_sd.engines.waiting  # noqa: F401  # before torch is loaded
