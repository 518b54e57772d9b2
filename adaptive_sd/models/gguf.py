"""Reads and checks the header of a GGUF file without loading it; trusts nothing in it."""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from adaptive_sd.errors import DamagedModelError

_MAX_ENTRIES = 100_000
_MAX_ARRAY = 1 << 24
_MAX_PARAMETERS = 1 << 50
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
            return _read(_Header(file, os.fstat(file.fileno()).st_size))
    except OSError as error:
        raise DamagedModelError(f"{path}: cannot be read ({error.strerror}).") from error
    except (_Damaged, struct.error, UnicodeDecodeError) as error:
        raise DamagedModelError(
            f"{path}: not a whole GGUF file ({error}); fetch it again."
        ) from error


class _Header(NamedTuple):
    """Takes from the file no more than is in it, whatever lengths the file claims."""

    file: BinaryIO
    size: int

    def check(self, count: int, what: str) -> None:
        if count > self.size - self.file.tell():
            raise _Damaged(f"it ends in the middle of {what}")

    def take(self, count: int) -> bytes:
        self.check(count, "its header")
        return self.file.read(count)

    def numbers(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(f"<{layout}", self.take(struct.calcsize(f"<{layout}")))

    def text(self) -> str:
        (length,) = self.numbers("Q")
        return self.take(length).decode("utf-8")

    def value(self, kind: int, depth: int = 0) -> object:
        """A scalar or text; of arrays only their end is found."""
        if kind in _SCALARS:
            return self.numbers(_SCALARS[kind])[0]
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY or depth >= _MAX_DEPTH:
            raise _Damaged(f"metadata of unknown type {kind}")
        item, count = self.numbers("IQ")
        if count > _MAX_ARRAY:
            raise _Damaged(f"an array of {count} items")
        if item in _SCALARS:
            skip = count * struct.calcsize(_SCALARS[item])
            self.check(skip, "an array")
            self.file.seek(skip, os.SEEK_CUR)
            return None
        for _ in range(count):
            self.value(item, depth + 1)
        return None


def _read(header: _Header) -> GgufHeader:
    magic = header.take(4)
    if magic != b"GGUF":
        raise _Damaged(f"it begins with {magic!r}, not b'GGUF'")
    version, num_tensors, num_pairs = header.numbers("IQQ")
    if version not in (2, 3):
        raise _Damaged(f"version {version}, known are 2 and 3")
    if max(num_tensors, num_pairs) > _MAX_ENTRIES:
        raise _Damaged(f"it claims {num_tensors} tensors and {num_pairs} metadata entries")
    pairs: dict[str, object] = {}
    for _ in range(num_pairs):
        key = header.text()
        pairs[key] = header.value(header.numbers("I")[0])
    num_parameters, end = _tensors(header, num_tensors)
    alignment = pairs.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 16:
        raise _Damaged(f"alignment {alignment!r:.40}")
    start = math.ceil(header.file.tell() / alignment) * alignment
    if start + end > header.size:
        raise _Damaged(f"its tensors end beyond byte {start + end}, the file has {header.size}")
    architecture = str(pairs.get("general.architecture", ""))
    context = pairs.get(f"{architecture}.context_length", 0)
    return GgufHeader(
        architecture=architecture,
        name=str(pairs.get("general.name", "")),
        context_length=max(0, context) if isinstance(context, int) else 0,
        num_parameters=num_parameters,
        has_chat_template="tokenizer.chat_template" in pairs,
    )


def _tensors(header: _Header, count: int) -> tuple[int, int]:
    """Sum of the tensors' elements, and the largest offset at which one begins."""
    num_parameters = end = 0
    for _ in range(count):
        header.text()
        (num_dims,) = header.numbers("I")
        if not 1 <= num_dims <= 4:
            raise _Damaged(f"a tensor has {num_dims} dimensions")
        num_parameters += math.prod(header.numbers(f"{num_dims}Q"))
        if num_parameters > _MAX_PARAMETERS:
            raise _Damaged(f"its tensors have more than {_MAX_PARAMETERS} elements")
        _, offset = header.numbers("IQ")
        end = max(end, offset + 1)
    return num_parameters, end
