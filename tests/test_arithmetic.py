"""Sums that come out are never called wrong, those that do not always are; the rest is let be."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from adaptive_sd.arithmetic import has_wrong_sum

Sum = tuple[str, Fraction]

numbers = st.one_of(
    st.integers(0, 10**6).map(lambda n: (str(n), Fraction(n))),
    st.integers(1000, 10**9).map(lambda n: (f"{n:,}", Fraction(n))),
    st.integers(0, 10**4).map(lambda n: (f"${n / 100:.2f}", Fraction(n, 100))),
)


def _joined(parts: tuple[Sum, str, Sum]) -> Sum:
    (left, one), sign, (right, other) = parts
    exact = {"+": one + other, "-": one - other, "*": one * other}
    value = exact[sign] if sign != "/" else one / other if other else Fraction(0)
    return (f"({left} {sign} {right})" if other or sign != "/" else "0"), value


sums = st.recursive(
    numbers,
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(_joined),
    max_leaves=5,
)
around = st.sampled_from(
    [("", ""), ("Cost of 3 pens: ", " dollars."), ("- ", "\n"), ("2. ", ", so"), ("<<", ">>")]
)


def _written(value: Fraction) -> str:
    return f"{float(value):.2f}"


@given(sums, around)
@example(("10 / 3", Fraction(10, 3)), ("", " minutes"))
@example(("(4 + 2) * 3 + 1", Fraction(19)), ("", ""))
@example(("2 + 3 * 4", Fraction(14)), ("", ""))
@example(("7 - 2 - 1", Fraction(4)), ("", ""))
def test_a_sum_is_wrong_where_its_result_is(made: Sum, around: tuple[str, str]) -> None:
    text, value = made
    assume(any(sign in text for sign in "+*/"))
    assume(abs(value) < 10**9)  # above, floats are no better than the rounding
    before, after = around
    assert not has_wrong_sum(f"{before}{text} = {_written(value)}{after}")
    off = value + 1 + abs(value) / 100
    assert has_wrong_sum(f"{before}{text} = {_written(off)}{after}")
    right = f"{text} = {_written(value)}"
    assert has_wrong_sum(f"{right}\nSo {text} = {_written(off)}.\n{right}")


@pytest.mark.parametrize(
    "text",
    [
        "21 + 8 + 3 = 3 * 7 + 2 * 4 + 3 = 32.",
        "40 \u2212 8 = 32, since 4 \u00b7 8 = 32",
        "f(2) = 3 * 2 + 4 = 10 and 5 = sqrt(9 + 16), so 30 + 2 = 32",
        r"2 \times 3 = 6, 6 \div 2 = 3 and 2 \cdot 2 = 4",
        "4 x 5 = 20 \u00d7 1 = 20 \u00f7 1",
    ],
)
def test_other_ways_to_write_a_sum(text: str) -> None:
    assert not has_wrong_sum(text)
    assert has_wrong_sum(text.replace("32", "33").replace("5 =", "6 =").replace("2 = 3", "2 = 4"))


@pytest.mark.parametrize(
    "text",
    [
        "x = 5",
        "2x = 10 and x = 7",
        "30% * 5 = 2",
        "30 % 5 = 2 + 2",
        "5 + 3 ^ 2 = 4",
        "2^3 + 1 = 9",
        "20 / 100 = 20%",
        "2x - 5 = 11, 5x - 10 = 0",
        "f(2) = 7",
        "sqrt(9 + 16) = 5",
        "10% of 40 + 40 = 44",
        "7 days x 24 x 60 = 10080",
        "90-100 = 4 points, 2019-2023 = 4 years",
        "9:30 + 45 = 10:15",
        "12 + 12 = 2 dozen",
        "10 + 15 = 5n",
        "17 / 5 = 3 remainder 2",
        "1{,}000 + 500 = 1{,}500",
        "10 / 3 = 3, 10 / 3 = 3.3, 1000 / 7 = 142.85, 365 / 7 = 52 weeks",
        "3.33 * 3 = 10",
        "4 apples + 5 = 6",
        "Total - 5 + 3 = 8",
        "12 = 1 dozen",
        "1 / 0 = 3",
        "(5 + 3 = 9",
        "5 + = 9",
        "1.5 + 3 kg = 9",
        "60 * 24 minutes = 7",
        "a == b",
        "1 + " * 300 + "1 = 5",
        "",
    ],
)
def test_what_is_not_plainly_a_sum_is_let_be(text: str) -> None:
    assert not has_wrong_sum(text)


@given(st.text() | st.text("0123456789.,()+-*/x= $\n", max_size=300))
@example("(" * 199 + "=1+1")
@example("-" * 199 + "1 = 1 + 1")
@example("9" * 199 + " * " + "9" * 190 + " = 1")
@example("=" * 1000)
def test_no_text_is_an_error(text: str) -> None:
    has_wrong_sum(text)
