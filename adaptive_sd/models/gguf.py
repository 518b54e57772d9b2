"""Reads and checks the header of a GGUF file without loading it; trusts nothing in it."""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from adaptive_sd.errors import DamagedModelError

_MAX_ENTRIES = 100_000
_MAX_STRING = 1 << 24
_MAX_ARRAY = 1 << 24
_MAX_DEPTH = 4
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says of itself."""

    architecture: str
    name: str
    context_length: int
    num_parameters: int
    has_chat_template: bool


class _Damaged(Exception):
    pass


def read_header(path: Path) -> GgufHeader:
    """Raises DamagedModelError naming the file and what is wrong with it."""
    try:
        with path.open("rb") as file:
            return _read(file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise DamagedModelError(f"{path}: cannot be read ({error.strerror}).") from error
    except (_Damaged, struct.error, UnicodeDecodeError) as error:
        raise DamagedModelError(
            f"{path}: not a whole GGUF file ({error}); fetch it again."
        ) from error


def _read(file: BinaryIO, size: int) -> GgufHeader:
    magic, version, num_tensors, num_pairs = struct.unpack("<4sIQQ", _take(file, 24))
    if magic != b"GGUF":
        raise _Damaged(f"it begins with {magic!r}, not b'GGUF'")
    if version not in (2, 3):
        raise _Damaged(f"version {version}, known are 2 and 3")
    if max(num_tensors, num_pairs) > _MAX_ENTRIES:
        raise _Damaged(f"it claims {num_tensors} tensors and {num_pairs} metadata entries")
    pairs: dict[str, object] = {}
    for _ in range(num_pairs):
        key = _string(file)
        pairs[key] = _value(file, struct.unpack("<I", _take(file, 4))[0], size, 0)
    num_parameters, end = _tensors(file, num_tensors)
    alignment = pairs.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 16:
        raise _Damaged(f"alignment {alignment!r}")
    start = math.ceil(file.tell() / alignment) * alignment
    if start + end > size:
        raise _Damaged(f"its tensors end beyond byte {start + end}, the file has {size}")
    architecture = str(pairs.get("general.architecture", ""))
    context = pairs.get(f"{architecture}.context_length", 0)
    return GgufHeader(
        architecture=architecture,
        name=str(pairs.get("general.name", "")),
        context_length=context if isinstance(context, int) else 0,
        num_parameters=num_parameters,
        has_chat_template="tokenizer.chat_template" in pairs,
    )


def _tensors(file: BinaryIO, count: int) -> tuple[int, int]:
    """Sum of the tensors' elements, and the largest offset at which one begins."""
    num_parameters = end = 0
    for _ in range(count):
        _string(file)
        (num_dims,) = struct.unpack("<I", _take(file, 4))
        if not 1 <= num_dims <= 4:
            raise _Damaged(f"a tensor has {num_dims} dimensions")
        dims = struct.unpack(f"<{num_dims}Q", _take(file, 8 * num_dims))
        _, offset = struct.unpack("<IQ", _take(file, 12))
        num_parameters += math.prod(dims)
        end = max(end, offset + 1)
    return num_parameters, end


def _take(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise _Damaged("it ends in the middle of its header")
    return data


def _string(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", _take(file, 8))
    if length > _MAX_STRING:
        raise _Damaged(f"a text of {length} bytes")
    return _take(file, length).decode("utf-8")


def _value(file: BinaryIO, kind: int, size: int, depth: int) -> object:
    """A scalar or text; of arrays only their end is found."""
    if kind in _SCALARS:
        code = _SCALARS[kind]
        return struct.unpack(f"<{code}", _take(file, struct.calcsize(code)))[0]
    if kind == _STRING:
        return _string(file)
    if kind != _ARRAY or depth >= _MAX_DEPTH:
        raise _Damaged(f"metadata of unknown type {kind}")
    item, count = struct.unpack("<IQ", _take(file, 12))
    if count > _MAX_ARRAY:
        raise _Damaged(f"an array of {count} items")
    if item in _SCALARS:
        skip = count * struct.calcsize(_SCALARS[item])
        if file.tell() + skip > size:
            raise _Damaged("an array ends beyond the file")
        file.seek(skip, os.SEEK_CUR)
        return None
    for _ in range(count):
        _value(file, item, size, depth + 1)
    return None
