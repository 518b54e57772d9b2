"""The filter, run here step by step as the kernel runs it."""

from __future__ import annotations

import errno
import platform
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.data.seccomp import forbidden_calls

ALLOWED, KILLED = 0x7FFF0000, 0x80000000
REFUSED, UNKNOWN = 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# From asm/unistd_64.h and asm-generic/unistd.h.
NUMBERS = {
    "x86_64": {"socket": 41, "socketpair": 53, "clone": 56, "prctl": 157, "connect": 42},
    "aarch64": {"socket": 198, "socketpair": 199, "clone": 220, "prctl": 167, "connect": 203},
}


def outcome(steps: bytes, architecture: int, number: int, *arguments: int) -> int:
    """What the filter returns for a call, in the words of linux/filter.h."""
    arguments = (*arguments, *(0,) * (6 - len(arguments)))
    data = struct.pack("<IIQ6Q", number, architecture, 0, *arguments)
    program = list(struct.iter_unpack("=HBBI", steps))
    place = accumulator = 0
    while True:
        operation, if_true, if_false, k = program[place]
        place += 1
        if operation == 0x06:
            return k
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif operation == 0x54:
            accumulator &= k
        else:
            holds = {0x15: accumulator == k, 0x35: accumulator >= k, 0x45: bool(accumulator & k)}
            place += if_true if holds[operation] else if_false


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_calls_and_their_outcome(machine: str) -> None:
    steps, number = forbidden_calls(machine), NUMBERS[machine]

    def of(name: str, *arguments: int) -> int:
        return outcome(steps, ARCHITECTURES[machine], number[name], *arguments)

    unix, stream, datagram, cloexec = 1, 1, 2, 0o2000000
    assert of("socket", unix, stream) == of("socket", 2, stream) == REFUSED
    assert of("socketpair", unix, stream) == of("socketpair", unix, stream | cloexec) == ALLOWED
    assert of("socketpair", unix, datagram) == of("socketpair", unix, datagram | cloexec) == REFUSED
    assert of("clone", 0x11) == of("clone", 0x3D0F00) == ALLOWED
    assert of("clone", 0x10000011) == of("clone", 0x7E020011) == REFUSED
    assert of("prctl", 1, 0) == of("prctl", 1 | 1 << 32, 0) == REFUSED
    assert of("prctl", 15) == of("connect", 3) == ALLOWED
    assert outcome(steps, ARCHITECTURES[machine], 435) == UNKNOWN


@given(st.sampled_from(sorted(ARCHITECTURES)), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_another_architecture_is_killed_and_every_call_has_an_outcome(
    machine: str, architecture: int, number: int
) -> None:
    steps = forbidden_calls(machine)
    if architecture != ARCHITECTURES[machine]:
        assert outcome(steps, architecture, number) == KILLED
    result = outcome(steps, ARCHITECTURES[machine], number)
    assert result in (ALLOWED, REFUSED, UNKNOWN)
    assert number < 0x40000000 or result == REFUSED


def test_where_the_numbers_are_not_known_there_is_no_filter() -> None:
    assert forbidden_calls("sparc64") == b""
    if platform.machine() in ARCHITECTURES:
        assert forbidden_calls() == forbidden_calls(platform.machine())
