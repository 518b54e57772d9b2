"""Runs one program inside the sandbox; sent as text to an interpreter of its own.

Standard input brings one line {"program", "entry_point", "filter" (hex), "limits" (a number by
the name of setrlimit(2))} as JSON; after the program's top level has run, 16 digits (the
test's length in bytes), the test, and a token of 32 characters. What was standard output gets the
lines "started", "loaded" and the token: before the program, after its top level, after the test.

So while the answer's top level runs, neither test nor token is on this side, and while its
functions run under test the token is still unread: no print, exit, descriptor closed or filled
with noise, replaced function or walk through frames and objects makes a verdict. What remains: an
answer written against this very runner, which plays its part (it has the descriptors) or rewrites
it, or makes the test's own means lie (an `__eq__` that is always true, a trace function), since
it shares the interpreter with its test.
"""

import builtins
import ctypes
import json
import os
import resource
import sys
from os import read, write  # an answer may put others into the module

BUILTINS = dict(vars(builtins))

# landlock(7): the numbers of its system calls are the same on every architecture.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
ALL_RIGHTS = (1 << 16) - 1  # since the fifth version of the interface
SYSTEM = ("/bin", "/lib", "/lib64", "/nix/store", "/opt", "/proc", "/usr")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
SETTINGS = ("/etc/ld.so.cache", "/etc/localtime")
SET_SECCOMP, SECCOMP_MODE_FILTER, SET_NO_NEW_PRIVS = 22, 2, 38  # prctl(2)


class PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


class Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def check_privileges() -> None:
    with open("/proc/self/status") as status:
        capable = any(line.startswith("CapPrm") and int(line[7:], 16) for line in status)
    if os.getpid() != 1 or capable:
        sys.exit("the code would have privileges")


def hide_files(libc: ctypes.CDLL) -> None:
    """Only Python, the system's programs and this folder can be read, only this folder written.

    Nothing is hidden where the kernel has no Landlock.
    """
    version = libc.syscall(CREATE_RULESET, None, 0, 1)
    if version < 1:
        return
    rights = RIGHTS.get(version, ALL_RIGHTS)
    rules = libc.syscall(CREATE_RULESET, ctypes.byref(ctypes.c_uint64(rights)), 8, 0)
    allowed = {path: EXECUTE | READ_FILE | READ_DIR for path in (*SYSTEM, sys.base_prefix)}
    allowed |= dict.fromkeys(DEVICES, READ_FILE | WRITE_FILE)
    allowed |= dict.fromkeys(SETTINGS, READ_FILE) | {os.getcwd(): rights}
    for path, right in allowed.items():
        if os.path.exists(path):
            rule = PathBeneath(right, os.open(path, os.O_PATH))
            libc.syscall(ADD_RULE, rules, 1, ctypes.byref(rule), 0)
            os.close(rule.parent)
    if libc.syscall(RESTRICT_SELF, rules, 0) != 0:
        sys.exit("files could not be hidden")
    os.close(rules)


def forbid_calls(libc: ctypes.CDLL, steps: bytes) -> None:
    program = Filter(len(steps) // 8, steps)
    if not steps or libc.prctl(SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
        sys.exit("sockets could not be forbidden by a seccomp filter")


def enter(steps: str, limits: dict[str, int]) -> None:
    check_privileges()
    os.environ.pop("LD_LIBRARY_PATH", None)  # this interpreter's, no other program's
    libc = ctypes.CDLL(None)
    libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # without which nobody may restrict himself
    hide_files(libc)
    forbid_calls(libc, bytes.fromhex(steps))
    for kind, limit in limits.items():
        resource.setrlimit(getattr(resource, kind), (limit, limit))


def receive(control: int, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = read(control, size - len(received))
        if not part:
            raise EOFError("the test was not sent")
        received += part
    return received


def main() -> None:
    task = json.loads(sys.stdin.readline())
    control, verdict, nothing = os.dup(0), os.dup(1), os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    enter(task["filter"], task["limits"])
    names: dict[str, object] = {"__name__": "answer"}
    write(verdict, b"started\n")
    exec(compile(task["program"], "answer.py", "exec"), names)
    builtins.__dict__.update(BUILTINS)
    for name in [name for name in sys.modules if name.partition(".")[0] == "unittest"]:
        del sys.modules[name]  # the test imports its own
    write(verdict, b"loaded\n")
    before = names.get("check")
    test = receive(control, int(receive(control, 16)))
    exec(compile(test, "test.py", "exec"), names)
    check = names.get("check")
    if callable(check) and check is not before and task["entry_point"] is not None:
        check(names[task["entry_point"]])
    write(verdict, receive(control, 32) + b"\n")


main()
