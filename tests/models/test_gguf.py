"""The header of a GGUF file is read without trust: any bytes give a header or one error."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from adaptive_sd.errors import DamagedModelError
from adaptive_sd.models.gguf import GgufHeader, read_header

many = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
u32, u64 = struct.Struct("<I"), struct.Struct("<Q")
BIG = 2**64 - 1


def text(value: bytes) -> bytes:
    return u64.pack(len(value)) + value


def file_of(num_tensors: int = 0, num_pairs: int = 0, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + u32.pack(version) + u64.pack(num_tensors) + u64.pack(num_pairs) + rest


def pair(kind: int, value: bytes, key: bytes = b"k") -> bytes:
    return text(key) + u32.pack(kind) + value


def read(folder: Path, data: bytes) -> GgufHeader | None:
    """The header, None where the file is refused; anything else raised fails the test."""
    path = folder / "x.gguf"
    path.write_bytes(data)
    try:
        return read_header(path)
    except DamagedModelError as error:
        assert str(error).startswith(str(path)) and len(str(error).splitlines()) == 1
        return None


def test_a_whole_file_says_what_it_is(tiny_path: Path) -> None:
    header = read_header(tiny_path)
    assert (header.architecture, header.name) == ("llama", "tiny")
    assert (header.context_length, header.has_chat_template) == (512, True)
    width, layers, feed, vocab = 32, 2, 64, 260
    layer = 4 * width**2 + 3 * width * feed + 2 * width
    assert header.num_parameters == 2 * vocab * width + layers * layer + width


def test_every_truncation_is_refused(tiny_path: Path, tmp_path: Path) -> None:
    data = tiny_path.read_bytes()
    last_tensor = 64 * 32 * 4
    end = len(data) - last_tensor
    for length in (*range(0, 12_000, 97), *range(12_000, end, 9_973), end):
        assert read(tmp_path, data[:length]) is None, length


@many
@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda b: b"GGUF\x03\0\0\0" + b))
def test_arbitrary_bytes(tmp_path: Path, data: bytes) -> None:
    read(tmp_path, data)


numbers = st.sampled_from([0, 1, 2, 31, 255, 2**31, 2**32 - 1, 2**53, 2**63, BIG])


@settings(many, max_examples=300)
@given(at=st.floats(0, 1, exclude_max=True), value=numbers, width=st.sampled_from([1, 4, 8]))
def test_changes_to_a_whole_file(
    tmp_path: Path, tiny_path: Path, at: float, value: int, width: int
) -> None:
    data = bytearray(tiny_path.read_bytes())
    place = int(at * 12_000)  # the header
    data[place : place + width] = u64.pack(value)[:width]
    read(tmp_path, bytes(data))


@settings(many, max_examples=300)
@given(
    st.integers(0, 3),
    st.integers(0, 3),
    st.lists(numbers.map(u64.pack) | numbers.map(lambda n: u32.pack(n % 2**32)) | st.binary()),
)
def test_lengths_that_lie(tmp_path: Path, tensors: int, pairs: int, rest: list[bytes]) -> None:
    read(tmp_path, file_of(tensors, pairs, b"".join(rest)))


NESTED = u32.pack(9) + u64.pack(1)
HOSTILE = {
    "counts": file_of(BIG, BIG),
    "length of a key": file_of(0, 1, u64.pack(BIG)),
    "length just below the bound": file_of(0, 1, u64.pack(2**24 - 1)),
    "length of a text": file_of(0, 1, pair(8, u64.pack(2**40))),
    "array of numbers": file_of(0, 1, pair(9, u32.pack(0) + u64.pack(2**24))),
    "array of texts": file_of(0, 1, pair(9, u32.pack(8) + u64.pack(2**24))),
    "array of empty arrays": file_of(0, 1, pair(9, u32.pack(9) + u64.pack(2**24))),
    "arrays in arrays": file_of(0, 1, pair(9, NESTED * 5000)),
    "unknown type": file_of(0, 1, pair(77, b"")),
    "text that is no text": file_of(0, 1, pair(8, text(b"\xff\xfe"))),
    "alignment of zero": file_of(0, 1, pair(4, u32.pack(0), b"general.alignment")),
    "alignment of text": file_of(0, 1, pair(8, text(b"x" * 99), b"general.alignment")),
    "dimensions": file_of(1, 0, text(b"t") + u32.pack(2**31)),
    "elements": file_of(
        1, 0, text(b"t") + u32.pack(4) + u64.pack(BIG) * 4 + u32.pack(0) + u64.pack(0) + bytes(99)
    ),
    "offset": file_of(
        1, 0, text(b"t") + u32.pack(1) + u64.pack(1) + u32.pack(0) + u64.pack(BIG) + bytes(99)
    ),
    "version": file_of(version=4) + bytes(99),
    "byte order": b"GGUF" + struct.pack(">I", 3) + bytes(99),
    "magic": b"GGML" + bytes(99),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_headers_are_refused_and_take_no_memory(tmp_path: Path, what: str) -> None:
    tracemalloc.start()
    try:
        assert read(tmp_path, HOSTILE[what]) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


@many
@given(st.integers(-(2**31), 2**31 - 1))
@example(-1)
def test_a_context_length_is_never_negative(tmp_path: Path, length: int) -> None:
    architecture = pair(8, text(b"llama"), b"general.architecture")
    context = pair(5, struct.pack("<i", length), b"llama.context_length")
    header = read(tmp_path, file_of(0, 2, architecture + context + bytes(64)))
    assert header is not None and header.context_length == max(0, length)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.gguf", tmp_path):
        with pytest.raises(DamagedModelError, match="cannot be read"):
            read_header(path)
