"""Whether the sums that a text writes out come out: "18 * 3 = 54" does, "18 * 3 = 64" does not."""

from __future__ import annotations

import itertools
import re

# A piece of one line that is made of numbers, signs and brackets alone.
_RUN = re.compile(r"(?:[-\d()$%^+*/= \t]|[.,](?=\d))+")
_BULLET = re.compile(r"^[ \t]*[-*][ \t]", re.MULTILINE)
_TOKEN = re.compile(r"((?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|[-+*/()=])|[^ \t$]")
_SIGNS = str.maketrans({"x": "*", "\u00d7": "*", "\u00f7": "/"})
_LATEX = (("\\times", "*"), ("\\cdot", "*"), ("\\div", "/"))
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

    What is not plainly one (with an unknown, a unit or a percentage in it) is passed over.
    """
    if "=" not in text:
        return False
    text = _BULLET.sub("", text).translate(_SIGNS)
    for name, sign in _LATEX:
        text = text.replace(name, sign)
    return any(_is_wrong(run) for run in _RUN.findall(text) if "=" in run)


def _is_wrong(run: str) -> bool:
    sides = _split(_TOKEN.findall(run))
    if sides[0] and sides[0][0] in _OPERATORS:  # the end of what began with words
        del sides[0]
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
    return abs(one - other) > ROUNDING + 1e-4 * abs(one)


def _value(tokens: Tokens) -> float:
    if not 0 < len(tokens) <= _MAX_TOKENS:
        raise _NoSum
    value, end = _sum(tokens, 0)
    if end < len(tokens):
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
