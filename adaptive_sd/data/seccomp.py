"""The system calls that untrusted code may not make, as a filter for seccomp(2)."""

from __future__ import annotations

import errno
import platform
import struct
from typing import NamedTuple

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_SOCK_STREAM, _SOCK_TYPE_MASK = 1, 0xF
_X32_CALLS = 0x40000000  # x86_64's second table, with other numbers

# Operations of classic BPF (linux/filter.h): on one 32 bit accumulator, jumps forward only.
_LOAD, _AND, _JUMP_EQUAL, _JUMP_ABOVE, _JUMP_BITS, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data


class _Calls(NamedTuple):
    """What a filter needs to know of one processor family (asm/unistd.h, linux/audit.h)."""

    architecture: int
    clone: int
    prctl: int
    socketpair: int
    forbidden: tuple[int, ...]


# forbidden: socket; unshare, setns (a user namespace gives rights over new ones); shmget, msgget,
# semget, memfd_create (memory that RLIMIT_AS does not count); add_key, request_key, keyctl (keys
# of whoever started the sandbox); io_uring_setup (a ring opens sockets that no filter sees).
_CALLS = {
    "x86_64": _Calls(0xC000003E, 56, 157, 53, (41, 272, 308, 29, 68, 64, 319, 248, 249, 250, 425)),
    "aarch64": _Calls(
        0xC00000B7, 220, 167, 199, (198, 97, 268, 194, 186, 190, 279, 217, 218, 219, 425)
    ),
}
_CLONE3 = 435  # its flags lie in memory; told that there is none, the C library takes clone


def forbidden_calls(machine: str | None = None) -> bytes:
    """The filter, an array of struct sock_filter, for `machine` (platform.machine()) or this one.

    Refused with EPERM: every socket but a pair of connected streams (what asyncio wakes itself
    with; a datagram socket of a pair could still send to a path), namespaces, memory outside of
    an address space, key rings, io_uring, and to outlive the process that started the sandbox.
    Empty where the numbers of the system calls are not known.
    """
    calls = _CALLS.get(machine or platform.machine())
    if calls is None:
        return b""
    refuse = _ERRNO | errno.EPERM
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, calls.architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_ABOVE, 0, 1, _X32_CALLS),
        (_RETURN, 0, 0, refuse),
    ]
    for number in calls.forbidden:
        program += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, refuse)]
    program += [
        (_JUMP_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        (_JUMP_EQUAL, 0, 4, calls.clone),
        (_LOAD, 0, 0, _ARGUMENTS),
        (_JUMP_BITS, 0, 1, _CLONE_NEWUSER),
        (_RETURN, 0, 0, refuse),
        (_RETURN, 0, 0, _ALLOW),
        (_JUMP_EQUAL, 0, 4, calls.prctl),
        (_LOAD, 0, 0, _ARGUMENTS),
        (_JUMP_EQUAL, 0, 1, _PR_SET_PDEATHSIG),
        (_RETURN, 0, 0, refuse),
        (_RETURN, 0, 0, _ALLOW),
        (_JUMP_EQUAL, 0, 4, calls.socketpair),
        (_LOAD, 0, 0, _ARGUMENTS + 8),
        (_AND, 0, 0, _SOCK_TYPE_MASK),
        (_JUMP_EQUAL, 1, 0, _SOCK_STREAM),
        (_RETURN, 0, 0, refuse),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in program)
