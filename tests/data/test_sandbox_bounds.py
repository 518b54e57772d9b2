"""The total of memory, files and processes is as stated; nothing outside can be talked to."""

from __future__ import annotations

import os
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from adaptive_sd.data.sandbox import FOLDER_BYTES, NUM_PROCESSES, run_code, sandbox_works

pytestmark = pytest.mark.skipif(not sandbox_works(), reason="code cannot be run here")

MEMORY_BYTES = 64 << 20

GREEDY = """
import os, signal, time
def hoard():
    held = []
    try:
        while True:
            held.append(b'x' * (1 << 20))
    except MemoryError:
        return held
reading, writing = os.pipe()
children = 0
try:
    while children < 100:
        if os.fork() == 0:
            held = hoard()
            os.write(writing, len(held).to_bytes(2, 'big'))
            signal.pause()
        children += 1
except BlockingIOError:
    pass
sizes = [int.from_bytes(os.read(reading, 2), 'big') << 20 for _ in range(children)]
sizes.append(len(hoard()) << 20)
"""


def test_children_that_take_all_they_can_stay_in_the_total() -> None:
    test = (
        f"assert 4 <= children == {NUM_PROCESSES} - 1, children\n"
        f"assert all({MEMORY_BYTES} // 4 <= size <= {MEMORY_BYTES} for size in sizes), sizes\n"
        f"assert sum(sizes) <= {NUM_PROCESSES * MEMORY_BYTES}\n"
    )
    result = run_code(GREEDY, test, None, memory_bytes=MEMORY_BYTES)
    assert result.passed is True, result.reason


def test_sandboxes_side_by_side_do_not_share_their_processes() -> None:
    program = (
        "import os, time\nchildren = 0\n"
        f"while children < {NUM_PROCESSES} - 1:\n"
        "    if os.fork() == 0:\n        time.sleep(60)\n        os._exit(0)\n"
        "    children += 1\n"
        "time.sleep(1)\n"
    )
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: run_code(program, "", None), range(2)))
    assert [result.passed for result in results] == [True, True], results


@pytest.mark.parametrize(
    ("name", "size"),
    [("d/" * depth + "f", size) for depth in (0, 3) for size in (100, 1 << 19)],
)
def test_the_folder_is_bounded_as_a_whole(name: str, size: int) -> None:
    program = (
        "import errno, os\nwritten = count = 0\n"
        f"os.makedirs(os.path.dirname('./{name}'), exist_ok=True)\n"
        f"try:\n    while count < 10**5:\n        with open(f'{name}{{count}}', 'wb') as file:\n"
        f"            written += file.write(b'x' * {size})\n        count += 1\n"
        "except OSError as error:\n    assert error.errno == errno.ENOSPC, error\n"
        f"assert 0 < written <= {FOLDER_BYTES}, written\n"
    )
    result = run_code(program, "", None)
    assert result.passed is True, result.reason


@pytest.mark.parametrize(
    "call",
    [
        "os.memfd_create('x')",
        "check(libc.shmget(0, 1 << 20, 0o1600))",
        "check(libc.msgget(0, 0o1600))",
        "check(libc.semget(0, 100, 0o1600))",
        "check(libc.unshare(0x10000000))",
        "check(libc.syscall(425, 8, ctypes.byref(ctypes.create_string_buffer(256))))",
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
    ],
)
def test_memory_sockets_and_namespaces_beside_the_limits_are_refused(call: str) -> None:
    program = (
        "import ctypes, os, socket\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "def check(result):\n    if result < 0:\n"
        "        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))\n"
        f"try:\n    {call}\nexcept PermissionError:\n    refused = True\n"
    )
    result = run_code(program, "assert refused", None)
    assert result.passed is True, result.reason


REACH = """
import contextlib, socket
reached = []
for family, kind, make in (
    (socket.AF_UNIX, socket.SOCK_STREAM, lambda *of: [socket.socket(*of)]),
    (socket.AF_UNIX, socket.SOCK_DGRAM, lambda *of: [socket.socket(*of)]),
    (socket.AF_UNIX, socket.SOCK_STREAM, socket.socketpair),
    (socket.AF_UNIX, socket.SOCK_DGRAM, socket.socketpair),
    (socket.AF_UNIX, socket.SOCK_SEQPACKET, socket.socketpair),
):
    with contextlib.ExitStack() as opened, contextlib.suppress(OSError):
        sockets = [opened.enter_context(one) for one in make(family, kind)]
        with contextlib.suppress(OSError):
            sockets[0].sendto(b"x", ADDRESS)
            reached.append(kind)
        sockets[0].connect(ADDRESS)
        reached.append(kind)
"""


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("abstract", [False, True])
def test_a_unix_socket_outside_cannot_be_reached(kind: int, abstract: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, kind) as listener:
        os.chmod(folder, 0o755)
        place = str(Path(folder) / "socket")
        address: str | bytes = f"\0{place}".encode() if abstract else place
        listener.bind(address)
        if kind == socket.SOCK_STREAM:
            listener.listen()
        if not abstract:
            os.chmod(place, 0o777)
        reach = REACH.replace("ADDRESS", repr(address))
        names: dict[str, object] = {}
        exec(reach, names)
        assert names["reached"]  # the attack works where it is not forbidden
        result = run_code(reach, "assert not reached, reached", None)
        assert result.passed is True, result.reason
