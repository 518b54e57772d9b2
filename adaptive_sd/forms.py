"""Forms of tasks: what kind of answer a prompt wants, and the answer in a comparable shape."""

from __future__ import annotations

import enum
import re
import string
import unicodedata
from fractions import Fraction


class Form(enum.StrEnum):
    """What kind of answer a prompt wants."""

    CHOICE = "choice"
    NUMBER = "number"
    CODE = "code"
    READING = "reading"
    SHORT = "short"
    OPEN = "open"


_OPTION = re.compile(r"^\s*\(?([A-J])[.):]\s+\S", re.MULTILINE)
_CODE = re.compile(
    r"^\s*(def|class|import|from) .*|\bwrite (a|an|the)?\s*(python|function|program|method|code)\b"
    r"|\byour code should pass|\bpython function\b",
    re.IGNORECASE | re.MULTILINE,
)
_QUANTITY = re.compile(
    r"\bhow (many|much|far|long|old|tall|fast|heavy)\b|\bwhat (is|was|are) the (total|sum|price|"
    r"cost|average|difference|area|distance|number|perimeter|probability|percentage|value)\b"
    r"|\b(calculate|compute|solve|find the)\b|\bpercent\b|\bhow \w+ (more|many|much|fewer|less)\b"
    r"|\bhow\b[^.?]{0,40}\?\s*$|[\d)]\s*[-+*/^=x]\s*[\d(]",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"^\s*(who|whom|whose|what|when|where|which|is|are|was|were|does|do|did|can|has|have|had|will|"
    r"in what|in which|on what|how many|how much|how old|how tall|how long)\b",
    re.IGNORECASE,
)
_EXPLAIN = re.compile(
    r"\s*(why|explain|describe|how (do|does|did|can|should|would|is|are))\b", re.IGNORECASE
)
_COUNT = re.compile(
    r"\d+|\b(two|three|four|five|six|seven|eight|nine|ten|twelve|half|twice|dozen|third)\b",
    re.IGNORECASE,
)
_PASSAGE_CHARACTERS = 200
_SHORT_CHARACTERS = 220


def detect_form(prompt: str) -> Form:
    """The form of a prompt from its text alone, as it has to be told for live prompts."""
    options = [match.group(1) for match in _OPTION.finditer(prompt)]
    if options[:2] == ["A", "B"]:
        return Form.CHOICE
    if _CODE.search(prompt):
        return Form.CODE
    *body, last = [p for p in re.split(r"\n\s*\n|\n(?=Question:)", prompt.strip()) if p] or [""]
    passage = sum(map(len, body))
    if passage >= _PASSAGE_CHARACTERS and len(last) <= _SHORT_CHARACTERS:
        return Form.READING
    num_counts = len(_COUNT.findall(prompt))
    if num_counts and _QUANTITY.search(prompt) and not _is_trivia(prompt, num_counts):
        return Form.NUMBER
    asks = _QUESTION.match(prompt) or prompt.rstrip().endswith("?")
    if _EXPLAIN.match(prompt):
        return Form.OPEN
    if len(prompt) <= _SHORT_CHARACTERS and asks and "\n" not in prompt.strip():
        return Form.SHORT
    return Form.OPEN


def _is_trivia(prompt: str, num_counts: int) -> bool:
    """A short question whose only number is a year or a date asks for a fact, not a sum."""
    years = len(re.findall(r"\b(1[5-9]|20)\d\d\b", prompt))
    return len(prompt) <= _SHORT_CHARACTERS and years > 0 and num_counts <= years + 1


def canonical_answer(text: str, form: Form) -> str:
    """The answer in a shape in which equal answers compare equal; "" when there is none."""
    match form:
        case Form.CHOICE:
            return find_letter(text)
        case Form.NUMBER:
            number = find_number(text)
            return "" if number is None else str(number)
        case Form.CODE:
            return "\n".join(line.rstrip() for line in find_code(text).splitlines() if line.strip())
        case Form.READING | Form.SHORT:
            first = text.strip().splitlines()[0] if text.strip() else ""
            return normalise_words(first)
        case Form.OPEN:
            return normalise_words(text)


_STATED_LETTER = re.compile(
    r"(?:answer|option|choice)(?:\s+is)?\s*[:\-]?\s*[(\[*_`\s]*([A-J])(?![A-Za-z'])", re.IGNORECASE
)
_LEADING_LETTER = re.compile(r"^[\s(\[*_`]*([A-Ja-j])(?:[\s)\].:,*_`]|$)")
_LONE_LETTER = re.compile(r"(?:^|[\s(\[*])([A-J])(?:[)\].:*]|\s*$)", re.MULTILINE)


def find_letter(text: str) -> str:
    """The option that an answer names, as a capital letter; the last one stated wins."""
    stated = [m.upper() for m in _STATED_LETTER.findall(text)]
    if stated:
        return str(stated[-1])
    if leading := _LEADING_LETTER.match(text):
        return leading.group(1).upper()
    lone = _LONE_LETTER.findall(text)
    return str(lone[-1]) if lone else ""


_NUMBER = r"-?\$?\s?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|-?\.\d+"
_FRACTION = re.compile(r"(-?\d+)\s*/\s*(\d+)")
_LATEX_FRACTION = re.compile(r"(-?)\\d?frac\s*\{(-?\d+)\}\s*\{(-?\d+)\}")
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_STATED_NUMBER = re.compile(
    r"(?:answer|total|result)\s*(?:is|=|:)+[^\d\-.\\\n]*([^\n]*)", re.IGNORECASE
)


def find_number(text: str) -> Fraction | None:
    """The number that an answer states: boxed, after ####, after "the answer is", or the last."""
    boxed = _BOXED.findall(text)
    if boxed and (number := _first_number(boxed[-1])) is not None:
        return number
    if "####" in text and (number := _first_number(text.rsplit("####", 1)[1])) is not None:
        return number
    for stated in reversed(_STATED_NUMBER.findall(text)):
        if (number := _first_number(stated)) is not None:
            return number
    numbers = [n for n in map(_first_number, _spans(text)) if n is not None]
    return numbers[-1] if numbers else None


def _spans(text: str) -> list[str]:
    pattern = rf"{_LATEX_FRACTION.pattern}|{_FRACTION.pattern}|{_NUMBER}"
    return [match.group(0) for match in re.finditer(pattern, text)]


def _first_number(text: str) -> Fraction | None:
    spans = _spans(text)
    if not spans:
        return None
    span = spans[0]
    if latex := _LATEX_FRACTION.fullmatch(span):
        sign, top, bottom = latex.groups()
        return _ratio(int(top) * (-1 if sign else 1), int(bottom))
    if plain := _FRACTION.fullmatch(span):
        return _ratio(int(plain.group(1)), int(plain.group(2)))
    return Fraction(re.sub(r"[$,\s]", "", span))


def _ratio(top: int, bottom: int) -> Fraction | None:
    return Fraction(top, bottom) if bottom else None


_FENCE = re.compile(r"```[ \t]*(?:[\w+-]*)[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)


def find_code(text: str) -> str:
    """The code of an answer: its first fenced block, or all of it."""
    fenced = _FENCE.search(text)
    return fenced.group(1) if fenced else text


_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation, " "))


def normalise_words(text: str) -> str:
    """SQuAD's normalisation: lower case, no punctuation, no articles, single spaces."""
    plain = unicodedata.normalize("NFKC", text).lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", plain).split())
