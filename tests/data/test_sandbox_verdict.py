"""A wrong answer finds no verdict to forge; each trick gets as far as its reason says."""

from __future__ import annotations

import pytest

from adaptive_sd.data.sandbox import run_code, sandbox_works

pytestmark = pytest.mark.skipif(not sandbox_works(), reason="code cannot be run here")

CHECK = "def check(candidate):\n    assert candidate(1) == 2\n"
WRONG = "def f(x):\n    return x\n"
EXITED, FAILED, FORGED = "ended before", "AssertionError", "wrote where only"

SPRAY = """
import os
def spray(*texts):
    for descriptor in range(32):
        for text in texts:
            try:
                os.write(descriptor, text.encode() + b'\\n')
            except OSError:
                pass
"""
LIKE_SECRETS = """
import re
def secrets_in(found):
    texts = [x if isinstance(x, str) else x.decode('latin1')
             for x in found if isinstance(x, (str, bytes))]
    return {text for text in texts if re.fullmatch('[0-9a-f]{32}', text)}
"""
SECRETS_OF_FRAMES = (
    LIKE_SECRETS
    + """
import sys
def secrets():
    frame, found = sys._getframe(), []
    while frame:
        found += [*frame.f_locals.values(), *frame.f_globals.values()]
        frame = frame.f_back
    return secrets_in(found + [x for one in found if isinstance(one, dict) for x in one.values()])
"""
)
SECRETS_OF_OBJECTS = (
    LIKE_SECRETS
    + """
import gc
def secrets():
    found = gc.get_referents(*gc.get_objects())
    return secrets_in(found + gc.get_referents(*found))
"""
)

AT_TOP_LEVEL = [
    ("print('started\\nloaded\\npassed its test', flush=True)", FAILED),
    ("import sys\nsys.exit(0)", EXITED),
    ("import os\nos._exit(0)", EXITED),
    ("raise SystemExit", EXITED),
    ("import atexit, os\natexit.register(os._exit, 0)", FAILED),
    ("import atexit, os\natexit.register(lambda: os.write(4, b'x'))", FORGED),
    ("import os\nos.closerange(3, 32)", "Bad file descriptor"),
    (SPRAY + "spray('loaded', 'passed', '0' * 32)", FORGED),
    (SPRAY + SECRETS_OF_FRAMES + "spray('loaded', *secrets())", FORGED),
    (SPRAY + SECRETS_OF_OBJECTS + "spray('loaded', *secrets())", FORGED),
    ("import os\nos.write = os.read = lambda *_: b'passed'", FAILED),
    ("import json\njson.loads = json.dumps = lambda *_: {}", FAILED),
    ("import io, sys\nsys.stdout = sys.stderr = sys.__stdout__ = io.StringIO()", EXITED),
    ("import sys\nsys.excepthook = lambda *_: print('passed')", EXITED),
    ("import builtins\nbuiltins.exec = builtins.compile = lambda *_: None", FAILED),
    ("import builtins\nbuiltins.AssertionError = type('Quiet', (BaseException,), {})", FAILED),
    ("def check(candidate):\n    pass", FAILED),
]


@pytest.mark.parametrize(("trick", "reason"), AT_TOP_LEVEL)
def test_tricks_at_top_level(trick: str, reason: str) -> None:
    result = run_code(WRONG + trick, CHECK, "f")
    assert result.passed is False
    assert reason in result.reason, result.reason


@pytest.mark.parametrize(
    ("trick", "reason"),
    [
        ("    import sys; sys.exit(0)", EXITED),
        ("    import os; os._exit(0)", EXITED),
        ("    spray('passed', '0' * 32); os._exit(0)", FORGED),
        ("    spray('x', *secrets()); os._exit(0)", FORGED),
        ("    [spray(secret) for secret in secrets()]; os._exit(0)", None),
        ("    os.closerange(0, 32); os._exit(0)", EXITED),
    ],
)
@pytest.mark.parametrize("secrets", [SECRETS_OF_FRAMES, SECRETS_OF_OBJECTS])
def test_tricks_under_test(secrets: str, trick: str, reason: str | None) -> None:
    result = run_code(SPRAY + secrets + "def f(x):\n" + trick, CHECK, "f")
    assert result.passed is False
    assert reason is None or reason in result.reason, result.reason


@pytest.mark.parametrize("secrets", [SECRETS_OF_FRAMES, SECRETS_OF_OBJECTS])
def test_nothing_of_the_test_can_be_read_before_it_runs(secrets: str) -> None:
    test = f"assert seen == set(), seen\n'{'0123' * 8}'"
    program = secrets.replace("fullmatch('[0-9a-f]{32}'", "search('(0123){8}'")
    result = run_code(program + "seen = secrets()\n", test, None)
    assert result.passed is True, result.reason
    if secrets is SECRETS_OF_FRAMES:  # they see the test as it runs, so they do look
        assert run_code(program, test.replace("seen", "secrets()"), None).passed is False


@pytest.mark.parametrize(
    "patch",
    [
        "unittest.TestCase.assertEqual = lambda *_: None",
        "unittest.TestCase.run = lambda *_: None",
        "import unittest.case\nunittest.case.TestCase.assertEqual = lambda *_: None",
        "import builtins\nbuiltins.any = builtins.all = lambda *_: True",
    ],
)
def test_the_test_has_its_own_unittest_and_builtins(patch: str) -> None:
    test = (
        "import unittest\ndef check(candidate):\n"
        "    unittest.TestCase().assertEqual(candidate(1), 2)\n"
        "    assert all([False])\n"
    )
    result = run_code(f"import unittest\n{patch}\n{WRONG}", test, "f")
    assert result.passed is False and "AssertionError: 1 != 2" in result.reason, result.reason
    right = f"import unittest\n{patch}\ndef f(x):\n    return 2\n"
    assert run_code(right, test.replace("False", "True"), "f").passed is True


def test_a_check_of_the_answer_s_own_is_not_the_test() -> None:
    program = "def f(x):\n    return x + 1\ndef check(n):\n    raise ValueError\n"
    assert run_code(program, "assert f(1) == 2", "f").passed is True
