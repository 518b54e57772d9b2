"""Memory that a checkpoint takes, what there is, and which settings would fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from adaptive_sd.engines.sequences import num_cells
from adaptive_sd.engines.transformers.model import Checkpoint, dtype_of
from adaptive_sd.engines.transformers.options import TransformersOptions
from adaptive_sd.errors import ConfigError, MemoryLackError
from adaptive_sd.machine import memory_bytes

_OVERHEAD_BYTES = 400_000_000
"""Rows of logits, activations of a pass and buffers of libraries."""

_LEAST_CONTEXT = 512


FreeBytes = Callable[[TransformersOptions], int]


class Setting(NamedTuple):
    """What decides how much memory is taken."""

    options: TransformersOptions
    context: int
    slots: int


class Shape(NamedTuple):
    """Of a model: parameters of layers that can be quantised and others, numbers kept a token."""

    num_linear: int
    num_other: int
    cell_width: int


def check_memory(
    checkpoint: Checkpoint, setting: Setting, name: str, free: FreeBytes | None = None
) -> None:
    """Raises MemoryLackError, and ConfigError for a GPU that is not there.

    `free` tells what there is under some options, by default what is measured now.
    """
    options = setting.options
    _check_device(options.device_map, name)
    needed = needed_bytes(shape_of(checkpoint), setting, checkpoint)
    if needed > (free or free_bytes)(options):
        raise lack(checkpoint, setting, name, free)


def _check_device(device_map: str, name: str) -> None:
    if not device_map.startswith("cuda"):
        return
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(device_map.partition(":")[2] or 0) < count:
        return
    other = f"cuda:{count - 1}" if count else "cpu"
    found = f"none beyond {other}" if count else "no GPU"
    raise ConfigError(
        f"{name}: device_map is {device_map!r}, but torch finds {found} here; write "
        f'device_map = "{other}".'
    )


def lack(
    checkpoint: Checkpoint, setting: Setting, name: str, free: FreeBytes | None = None
) -> MemoryLackError:
    """What is needed, what there is, and the first setting that would fit."""
    shape, free = shape_of(checkpoint), free or free_bytes
    needed, here = needed_bytes(shape, setting, checkpoint), free(setting.options)
    for told, other in _smaller(setting, is_gguf=checkpoint.is_gguf):
        less = needed_bytes(shape, other, checkpoint)
        if less < needed and less <= free(other.options):
            advice = f"{told} would fit ({_gb(less)})"
            break
    else:
        advice = "no setting would fit here: take a smaller model"
    return MemoryLackError(f"{name} needs {_gb(needed)} of memory, {_gb(here)} are free; {advice}.")


def shape_of(checkpoint: Checkpoint) -> Shape:
    """From the checkpoint's configuration alone."""
    net = checkpoint.skeleton()
    head = net.get_output_embeddings()
    linear = sum(
        module.weight.numel()
        for module in net.modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    )
    text = net.config.get_text_config()
    queries = getattr(text, "num_attention_heads", 0)  # none of a model that only recurs
    heads = getattr(text, "num_key_value_heads", None) or queries
    width = getattr(text, "head_dim", None) or text.hidden_size // max(queries, 1)
    cell_width = 2 * text.num_hidden_layers * heads * width
    return Shape(linear, net.num_parameters() - linear, cell_width)


def needed_bytes(shape: Shape, setting: Setting, checkpoint: Checkpoint) -> int:
    """While it is loaded and used: a GGUF file is made whole in 32 bits first."""
    options = setting.options
    size = _itemsize(dtype_of(options, checkpoint), checkpoint)
    linear: float = size
    if options.load_in_8bit:
        linear = 1
    elif options.load_in_4bit:  # a scale for 64 weights: 32 bits, or 8 and a little
        linear = (4.127 if options.bnb_4bit_use_double_quant else 4.5) / 8
    weights = shape.num_linear * linear + shape.num_other * size
    if checkpoint.is_gguf:
        weights += 4 * (shape.num_linear + shape.num_other)
    cells = num_cells(setting.context, setting.slots) * shape.cell_width * size
    return round(weights + cells) + _OVERHEAD_BYTES


def free_bytes(options: TransformersOptions) -> int:
    """Where the device map puts weights; quantised ones are not spread to the CPU beside GPUs."""
    here = memory_bytes()[1]
    if options.device_map == "cpu" or not torch.cuda.is_available():
        return here
    _, _, number = options.device_map.partition(":")
    if options.device_map.startswith("cuda"):
        return int(torch.cuda.mem_get_info(int(number or 0))[0])
    gpus = sum(int(torch.cuda.mem_get_info(i)[0]) for i in range(torch.cuda.device_count()))
    return gpus if options.is_quantised else gpus + here


def _smaller(setting: Setting, *, is_gguf: bool) -> Iterator[tuple[str, Setting]]:
    """Settings that take less, those first that change answers least."""
    options, context, slots = setting
    contexts = [context >> i for i in range(1, 8) if context >> i >= _LEAST_CONTEXT]
    for fewer in range(slots - 1, 0, -1):
        yield f"slots = {fewer}", Setting(options, context, fewer)
    for less in contexts:
        yield f"context = {less}", Setting(options, less, slots)
    if options.device_map.startswith("cuda"):
        for place in ("auto", "cpu"):
            spread = replace(options, device_map=place)
            yield f'device_map = "{place}"', Setting(spread, context, slots)
    plain = replace(options, load_in_4bit=False, load_in_8bit=False, dtype="auto")
    kinds = [('dtype = "bf16"', replace(plain, dtype="bf16"))]
    if not is_gguf:  # which is dequantised
        kinds.append(("load_in_8bit = true", replace(plain, load_in_8bit=True)))
        kinds.append(("load_in_4bit = true", replace(plain, load_in_4bit=True)))
    for told, other in kinds:
        yield told, Setting(other, context, slots)
    for less in contexts:
        yield f"{told} and context = {less}", Setting(other, less, 1)


def _itemsize(dtype: Any, checkpoint: Checkpoint) -> int:
    if dtype == "auto":
        dtype = getattr(checkpoint.config, "dtype", None) or torch.float32
    return int(dtype.itemsize)


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
