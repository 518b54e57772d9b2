"""Whether the sums that a text writes out come out: "18 * 3 = 54" does, "18 * 3 = 64" does not."""

from __future__ import annotations

import itertools
import math
import re

# A piece of one line that is made of numbers, signs and brackets alone.
_RUN = re.compile(r"(?:[-\d()$%^+*/= \t]|[.,](?=\d))+")
_BULLET = re.compile(r"^[ \t]*[-*][ \t]", re.MULTILINE)
_TIMES = re.compile(r"(?<=[\d)])([ \t]?)x(?=[ \t]?[\d($])")
_SIGNS = str.maketrans({"\u00d7": "*", "\u00b7": "*", "\u00f7": "/", "\u2212": "-"})
_LATEX = (("\\times", "*"), ("\\cdot", "*"), ("\\div", "/"), ("{,}", ","))
_TOKEN = re.compile(r"((?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|[-+*/()=])|[^ \t$]")
_GOES_ON_AFTER = re.compile(
    r"(?<![ \t])[\w:'\"]|(?:dozen|hundred|thousand|\w+illion|remainder|mod)\b"
)
_GOES_ON_BEFORE = re.compile(r"\b(?:of|by|plus|minus|times|x)$")
_OPERATORS = frozenset("+-*/")
_MAX_TOKENS = 60
"""Of one side of an equation: what is longer is no sum of a worked answer."""

ROUNDING = 0.0101
"""What a result may be off, and a share of 1e-4 more: answers write 3.33 for a third of ten."""

Tokens = list[str]
"""Numbers, signs and brackets; "" for what is neither."""


class _NoSum(Exception):
    """Not one expression of numbers."""


def has_wrong_sum(text: str) -> bool:
    """Whether an equation of the text, of numbers alone, is wrong by more than rounding.

    What does not look like one (an unknown, a unit, a percentage or a range in it) is passed over;
    words around it that change what it says are mostly not understood.
    """
    if "=" not in text:
        return False
    text = _TIMES.sub(r"\1*", _BULLET.sub("", text).translate(_SIGNS))
    for name, sign in _LATEX:
        text = text.replace(name, sign)
    return any(_is_wrong(text, run) for run in _RUN.finditer(text) if "=" in run.group())


def _is_wrong(text: str, run: re.Match[str]) -> bool:
    """Of a run within its text: what stands next to it may belong to its first or last side."""
    sides = _split(_TOKEN.findall(run.group()))
    if not _any_differ(sides):
        return False
    first, *others = sides
    before = text[max(0, run.start() - 8) : run.start()]
    touches = not run.group()[0].isspace() and re.search(r"[\w:'^\\}]$", before)
    if touches or _GOES_ON_BEFORE.search(before) or (first and first[0] in _OPERATORS):
        sides[0] = []
    if others and _GOES_ON_AFTER.match(text, run.end()):
        sides[-1] = []
    return _any_differ(sides)


def _any_differ(sides: list[Tokens]) -> bool:
    return any(_differ(left, right) for left, right in itertools.pairwise(sides))


def _split(tokens: Tokens) -> list[Tokens]:
    """At the signs of equality."""
    sides: list[Tokens] = [[]]
    for token in tokens:
        if token == "=":
            sides.append([])
        else:
            sides[-1].append(token)
    return sides


def _differ(left: Tokens, right: Tokens) -> bool:
    """Whether these are a sum and another number than it comes to."""
    if _OPERATORS.isdisjoint(left) and _OPERATORS.isdisjoint(right):
        return False  # "12 = 1 dozen"
    try:
        one, other = _value(left), _value(right)
    except _NoSum:
        return False
    off = abs(one - other)
    if off <= ROUNDING + 1e-4 * abs(one):
        return False
    return off > max(_last_digit(right, one), _last_digit(left, other))


def _last_digit(side: Tokens, exact: float) -> float:
    """What one of its last digit is worth, where a number cannot say `exact` with its digits."""
    if len(side) > 1:
        return 0.0
    digit = 10.0 ** -len(side[0].partition(".")[2])
    return digit if abs(exact / digit - round(exact / digit)) > 1e-6 else 0.0


def _value(tokens: Tokens) -> float:
    if not 0 < len(tokens) <= _MAX_TOKENS:
        raise _NoSum
    value, end = _sum(tokens, 0)
    is_range = len(tokens) == 3 and tokens[1] == "-" and value < 0  # "90-100 = 4 points"
    if end < len(tokens) or is_range or not math.isfinite(value):
        raise _NoSum
    return value


def _sum(tokens: Tokens, place: int) -> tuple[float, int]:
    """Of the expression that begins there, and where it ends."""
    total = 0.0
    term, place = _factor(tokens, place)
    while place < len(tokens) and (operator := tokens[place]) in _OPERATORS:
        factor, place = _factor(tokens, place + 1)
        if operator == "*":
            term *= factor
        elif operator == "/":
            if not factor:
                raise _NoSum
            term /= factor
        else:
            total += term
            term = factor if operator == "+" else -factor
    return total + term, place


def _factor(tokens: Tokens, place: int) -> tuple[float, int]:
    token = tokens[place] if place < len(tokens) else ""
    if token[:1].isdigit():
        return float(token.replace(",", "")), place + 1
    if token == "-":
        value, place = _factor(tokens, place + 1)
        return -value, place
    if token == "(":
        value, place = _sum(tokens, place + 1)
        if tokens[place : place + 1] == [")"]:
            return value, place + 1
    raise _NoSum
