"""Runs one program inside the sandbox; sent as text to an interpreter of its own.

Reads {"program", "test", "entry_point", "nonce", "cpu_s", "memory_bytes"} from standard input and
writes the nonce to what was standard output only when the test has come to its end. A program that
hunts for the nonce in its own interpreter could forge that; one that prints, exits or dies cannot.
"""

import json
import os
import resource
import sys


def main() -> None:
    task = json.loads(sys.stdin.readline())
    verdict = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for kind, limit in (
        (resource.RLIMIT_CPU, task["cpu_s"]),
        (resource.RLIMIT_AS, task["memory_bytes"]),
        (resource.RLIMIT_FSIZE, 1 << 20),
        (resource.RLIMIT_NPROC, 16),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))
    names: dict[str, object] = {"__name__": "answer"}
    exec(compile(task["program"], "answer.py", "exec"), names)
    exec(compile(task["test"], "test.py", "exec"), names)
    check = names.get("check")
    if callable(check) and task["entry_point"] is not None:
        check(names[task["entry_point"]])
    os.write(verdict, task["nonce"].encode())


main()
