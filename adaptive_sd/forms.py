"""Forms of tasks: what kind of answer a prompt wants, and the answer in a comparable shape."""

from __future__ import annotations

import enum
import functools
import re
import string
import unicodedata
from fractions import Fraction
from typing import NamedTuple


class Form(enum.StrEnum):
    """What kind of answer a prompt wants."""

    CHOICE = "choice"
    NUMBER = "number"
    CODE = "code"
    READING = "reading"
    SHORT = "short"
    OPEN = "open"


# [^\S\n] and not \s after ^: else a prompt of many empty lines takes quadratic time.
_OPTION = re.compile(r"^[^\S\n]*\(?([A-J])[.):]\s+\S", re.MULTILINE)
_OPTION_WITHIN = re.compile(r"(?<!\S)\(?([A-J])[.)]\s+\S")
_ASKS_TO_CHOOSE = re.compile(
    r"(\?|\b(which|choose|select|pick)\b[^?\n]{0,200}:)\s*$", re.IGNORECASE
)
_CODE = re.compile(
    r"^[^\S\n]*(def \w+ ?\(|class \w+ ?[(:]|from \S+ import |import [\w.]+( as \w+)?[^\S\n]*$)"
    r"|\bwrite (a|an|the)?\s*(python|function|program|method|code)\b"
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
_NUMERAL = re.compile(r"(?<![\w.,])\d[\d,]*(?:\.\d+)?(?![\w/])")
_YEAR = re.compile(r"\b(1[5-9]|20)\d\d\b")
_AMOUNTS = (
    "ages?|amount|area|average|balance|bill|budget|capacity|charge|combined|cost|count|degrees?|depth|"
    "discount|distance|earnings?|expenses?|fee|fraction|grade|height|hours|income|interest|length|loss|"
    "mass|maximum|minimum|minutes|money|number|pay|percent(?:age)?|perimeter|population|price|"
    "probability|profit|quantity|rate|ratio|remainder|salary|sales|savings?|score|size|speed|sum|tax|"
    "temperature|tip|total|value|volume|wage|weight|width|worth"
)
_ASKS_FOR_AMOUNT = re.compile(
    rf"\bhow (?:many|much)\b|\bwhat (?:place|year)\b|\bwhat\b[^?]*\b(?:{_AMOUNTS})\b", re.IGNORECASE
)
_ASKS_FOR_PART = re.compile(
    r"(?:(?:by|for|from|to|with|of) )?(?:who|whom|whose|when|where)\b", re.IGNORECASE
)
_SPEAKS_OF_US = re.compile(r"\b(?:i|my|me|mine|we|our|us|you|your)\b", re.IGNORECASE)
_PASSAGE_CHARACTERS = 200
_SHORT_CHARACTERS = 220
_STORY_CHARACTERS = 1000
_TOLD_CHARACTERS = 100


def detect_form(prompt: str) -> Form:
    """The form of a prompt from its text alone, as it has to be told for live prompts."""
    if _has_options(prompt):
        return Form.CHOICE
    if _CODE.search(prompt):
        return Form.CODE
    if _has_options_within(prompt):
        return Form.CHOICE
    *body, last = [p for p in re.split(r"\n\s*\n|\n(?=Question:)", prompt.strip()) if p] or [""]
    passage = sum(map(len, body))
    if passage >= _PASSAGE_CHARACTERS and len(last) <= _SHORT_CHARACTERS:
        return Form.READING
    num_counts = len(_COUNT.findall(prompt))
    if num_counts and _QUANTITY.search(prompt) and not _is_trivia(prompt, num_counts):
        return Form.NUMBER
    if _is_told_in_numbers(prompt):
        return Form.NUMBER
    if _tells_then_asks(prompt):
        return Form.READING
    asks = _QUESTION.match(prompt) or prompt.rstrip().endswith("?")
    if _EXPLAIN.match(prompt):
        return Form.OPEN
    if len(prompt) <= _SHORT_CHARACTERS and asks and "\n" not in prompt.strip():
        return Form.SHORT
    return Form.OPEN


def _has_options(prompt: str) -> bool:
    """On lines of their own; statements I, II and III may stand between question and options."""
    letters = "".join(_OPTION.findall(prompt))
    return letters.startswith("AB") or (letters.startswith("IAB") and "?" in prompt)


def _has_options_within(prompt: str) -> bool:
    """Three or more in one line, right after what asks to choose."""
    within = list(_OPTION_WITHIN.finditer(prompt))
    at = "".join(match.group(1) for match in within).find("ABC")
    return at >= 0 and _ASKS_TO_CHOOSE.search(prompt[: within[at].start()][-300:]) is not None


def _sentences(prompt: str) -> list[str]:
    return re.split(r"(?<=[.?!])\s+", prompt.strip())


def _tells_then_asks(prompt: str) -> bool:
    """A passage in one paragraph with its question: whom, when or where of something told.

    What and which are asked of problems as well; of what I, you or we do people do not quiz.
    """
    *told, last = _sentences(prompt)
    return (
        sum(map(len, told)) >= _TOLD_CHARACTERS
        and _ASKS_FOR_PART.match(last) is not None
        and last.endswith("?")
        and "?" not in "".join(told)
        and not (_ASKS_FOR_AMOUNT.search(last) or _SPEAKS_OF_US.search(prompt))
    )


def _is_told_in_numbers(prompt: str) -> bool:
    """A few sentences with two or more amounts, and at the end a question for another one."""
    if len(prompt) > _STORY_CHARACTERS:
        return False
    *told, last = _sentences(prompt)
    if not (told or "if " in last.lower()) or not last.endswith("?"):
        return False
    numerals = [n for n in _NUMERAL.findall(prompt) if not _YEAR.fullmatch(n)]
    return len(numerals) >= 2 and _ASKS_FOR_AMOUNT.search(last) is not None


def _is_trivia(prompt: str, num_counts: int) -> bool:
    """A short question whose only number is a year or a date asks for a fact, not a sum."""
    years = len(_YEAR.findall(prompt))
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


_NOT_A_WORD = r"(?![A-Za-z'\u2019])"


class _Letters(NamedTuple):
    """Ways to name an option, surest first; of one way the last one in a text wins."""

    boxed: re.Pattern[str]
    answer: re.Pattern[str]
    option: re.Pattern[str]
    leading: re.Pattern[str]
    lone: re.Pattern[str]
    begun: re.Pattern[str]


@functools.cache
def _letters(last: str) -> _Letters:
    low = last.lower()
    either = (
        rf"([A-{last}](?!\s+(?:am|do|don't|can|can't|cannot|think|believe|would|have|was|will)\b)"
        rf"{_NOT_A_WORD}|[a-{low}](?=[^\S\n]*(?:[).\]:,;*_`]|$)))"
    )
    # Bounded and without neighbours that match alike: no text makes these take quadratic time.
    opening = r"[\s(\[{*_`\"$:\-]{0,12}"
    word = "(?i:options?|choice|letter)"
    return _Letters(
        boxed=re.compile(
            rf"\\boxed\s{{0,3}}\{{(?:\\\w{{1,10}}\{{)?[\s(]{{0,3}}([A-{last}])[\s)]{{0,3}}\}}"
        ),
        answer=re.compile(
            rf"(?i:answer)(?:\s{{1,3}}(?i:is))?{opening}(?:{word}{opening})?{either}", re.MULTILINE
        ),
        option=re.compile(rf"{word}(?:\s{{1,3}}(?i:is))?{opening}{either}", re.MULTILINE),
        leading=re.compile(rf"{opening}([A-{last}a-{low}])[^\S\n]*(?:[)\].:,*_`}}\"]|\n|$)"),
        lone=re.compile(
            rf"(?:^|[\s(\[{{*\"$])([A-{last}])(?:[)\]}}.:*\"$]|[^\S\n]*$)", re.MULTILINE
        ),
        begun=re.compile(rf"{opening}([A-{last}])\s+(?!(?i:i|am|do|can|think|believe)\b)"),
    )


def find_letter(text: str, last: str = "J") -> str:
    """The option, A to `last`, that an answer names, as a capital letter; "" when none."""
    ways = _letters(last)
    for pattern in (ways.boxed, ways.answer, ways.option):
        if stated := pattern.findall(text):
            return str(stated[-1]).upper()
    if leading := ways.leading.match(text):
        return leading.group(1).upper()
    if lone := ways.lone.findall(text):
        return str(lone[-1])
    begun = ways.begun.match(text)  # "B carbon dioxide", but also "A dog", so last of all
    return begun.group(1) if begun and begun.group(1) != "I" else ""


# A minus after a number or a bracket is a difference or a range, not a sign.
_MINUS = r"(?<![\w)])(?<![\w)]\s)-"
_DIGITS = r"(?:(?:\d{1,3}(?:,\d{3}){1,40}(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
_NUMBER = rf"(?:{_MINUS}[^\S\n]?)?(?:\$[^\S\n]?)?(?:{_MINUS})?{_DIGITS}"
_FRACTION = re.compile(rf"((?:{_MINUS})?\d+)\s*/\s*(\d+)")
_LATEX_FRACTION = re.compile(r"(-?)\\[dt]?frac\s*\{(-?\d+)\}\s*\{(-?\d+)\}")
_SPAN = re.compile(rf"{_LATEX_FRACTION.pattern}|{_FRACTION.pattern}|{_NUMBER}")
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_STATED_NUMBER = re.compile(
    r"\b(?:answer|total|result)\s*(?:is|=|:)+(?=([^\n]{0,200}))", re.IGNORECASE
)
_BEFORE_NUMBER = re.compile(r"[^\d\-.\\]*")
_SIGNS = r"[-+*/^().,$%\d\s\u00d7\u00f7]*"
_SUM = re.compile(rf"{_SIGNS}[-+*/^\u00d7\u00f7]{_SIGNS}=[^=]*\d")
_MAX_DIGITS = 300


def find_number(text: str) -> Fraction | None:
    """The number that an answer states: boxed, after ####, after "the answer is", or the last."""
    text = text.replace("\u2212", "-")
    boxed = _BOXED.findall(text)
    if boxed and (number := _first_number(boxed[-1])) is not None:
        return number
    if "####" in text and (number := _first_number(text.rsplit("####", 1)[1])) is not None:
        return number
    for stated in reversed(_STATED_NUMBER.findall(text)):
        if (number := _result(stated)) is not None:
            return number
    numbers = [n for n in map(_to_number, _spans(text)) if n is not None]
    return numbers[-1] if numbers else None


def _result(stated: str) -> Fraction | None:
    """The first number of a statement, or of "5 * 3 = 15" what stands after the sign."""
    begun = _BEFORE_NUMBER.match(stated)
    sentence = re.split(r"\.(?:\s|$)", stated[begun.end() if begun else 0 :], maxsplit=1)[0]
    if _SUM.match(sentence):
        sentence = sentence.rsplit("=", 1)[1]
    return _first_number(sentence)


def _spans(text: str) -> list[str]:
    return [match.group(0) for match in _SPAN.finditer(text)]


def _first_number(text: str) -> Fraction | None:
    first = _SPAN.search(text)
    return _to_number(first.group(0)) if first else None


def _to_number(span: str) -> Fraction | None:
    if len(span) > _MAX_DIGITS:
        return None
    if latex := _LATEX_FRACTION.fullmatch(span):
        sign, top, bottom = latex.groups()
        return _ratio(int(top) * (-1 if sign else 1), int(bottom))
    if plain := _FRACTION.fullmatch(span):
        return _ratio(int(plain.group(1)), int(plain.group(2)))
    return Fraction(re.sub(r"[$,\s]", "", span).replace("--", "-"))


def _ratio(top: int, bottom: int) -> Fraction | None:
    return Fraction(top, bottom) if bottom else None


_FENCE = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)


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
