"""Prompt styles: how a stage asks for each form of task; which one a stage uses is measured."""

from __future__ import annotations

from dataclasses import dataclass

from adaptive_sd.errors import ConfigError
from adaptive_sd.forms import Form
from adaptive_sd.types import Message


@dataclass(frozen=True, slots=True)
class Style:
    """Worked examples as earlier turns, an instruction after the prompt."""

    instruction: str = ""
    examples: tuple[tuple[str, str], ...] = ()
    max_tokens: int = 512

    def messages(self, prompt: str) -> list[Message]:
        messages: list[Message] = []
        for question, answer in self.examples:
            messages.append(Message("user", self._ask(question)))
            messages.append(Message("assistant", answer))
        messages.append(Message("user", self._ask(prompt)))
        return messages

    def _ask(self, prompt: str) -> str:
        return f"{prompt}\n\n{self.instruction}" if self.instruction else prompt


_LETTER = "Answer with the letter of the correct option only."
_REASON = "Think in one or two short sentences, then end with 'Answer: ' and the letter."
_STEPS = "Solve it in brief steps, then end with 'The answer is ' and the number."
_PHRASE = "Answer with a short phrase only."
_CODE = "Answer with the complete function in one Python code block, without explanation."

_CHOICE_EXAMPLES = (
    (
        "Which gas do plants take in to make sugar?\nA. oxygen\nB. helium\n"
        "C. carbon dioxide\nD. nitrogen",
        "C",
        "Plants make sugar from water and carbon dioxide in the light.\nAnswer: C",
    ),
    (
        "Maria sees lightning and hears the thunder three seconds later. Why?\n"
        "A. Light travels faster than sound.\nB. Thunder begins after lightning ends.\n"
        "C. Sound travels faster than light.\nD. Clouds hold the sound back.",
        "A",
        "Both start together, but light reaches her almost at once and sound takes longer.\n"
        "Answer: A",
    ),
    (
        "If 3x + 5 = 20, what is x?\nA. 3\nB. 5\nC. 8\nD. 15",
        "B",
        "3x = 20 - 5 = 15, so x = 5.\nAnswer: B",
    ),
    (
        "A court may refuse to enforce a contract that was signed\nA. on a Sunday\nB. by fax\n"
        "C. without a lawyer\nD. under threat of violence",
        "D",
        "Consent given under threat is duress, which makes a contract voidable.\nAnswer: D",
    ),
)

_STEPS_EXAMPLES = (
    (
        "A baker fills 6 trays with 12 rolls each. She sells 50 rolls and gives 4 to a friend. "
        "How many rolls are left?",
        "Rolls baked: 6 * 12 = 72.\nRolls gone: 50 + 4 = 54.\nLeft: 72 - 54 = 18.\n"
        "The answer is 18.",
    ),
    (
        "Tom is twice as old as Ana. In 5 years the sum of their ages will be 40. "
        "How old is Tom now?",
        "Sum now: 40 - 2 * 5 = 30.\nTom is 2 parts of 3: 30 / 3 * 2 = 20.\nThe answer is 20.",
    ),
    (
        "A jacket costs $80. It is reduced by 25%, then 10% tax is added. "
        "What is the price to pay in dollars?",
        "Reduced price: 80 * 0.75 = 60.\nTax: 60 * 0.10 = 6.\nPrice: 60 + 6 = 66.\n"
        "The answer is 66.",
    ),
)

_CODE_EXAMPLES = (
    (
        "Write a function that returns the squares of the even numbers in a list.\n"
        "Your code should pass these tests:\nassert even_squares([1, 2, 4]) == [4, 16]",
        "```python\ndef even_squares(numbers):\n"
        "    return [n * n for n in numbers if n % 2 == 0]\n```",
    ),
)

_READING_EXAMPLES = (
    (
        "The lighthouse at Cape Morrow was built in 1871 by the engineer Ada Finch. It was "
        "rebuilt after the storm of 1902, when its lamp was changed from oil to gas.\n\n"
        "Who built the lighthouse?",
        "Ada Finch",
    ),
    (
        "Sea otters keep a favourite stone in a pouch under the arm. They use it to open shells "
        "while they float on their backs.\n\nWhat do sea otters use the stone for?",
        "to open shells",
    ),
)

_SHORT_EXAMPLES = (
    ("who painted the ceiling of the sistine chapel", "Michelangelo"),
    ("What is the capital of Australia?", "Canberra"),
    ("is a tomato a fruit?", "yes"),
)

STYLES: dict[Form, dict[str, Style]] = {
    Form.CHOICE: {
        "letter": Style(_LETTER, max_tokens=8),
        "few_shot": Style(_LETTER, tuple((q, a) for q, a, _ in _CHOICE_EXAMPLES), max_tokens=8),
        "few_reason": Style(_REASON, tuple((q, r) for q, _, r in _CHOICE_EXAMPLES), max_tokens=160),
    },
    Form.NUMBER: {"few_steps": Style(_STEPS, _STEPS_EXAMPLES, max_tokens=320)},
    Form.CODE: {
        "block": Style(_CODE, max_tokens=448),
        "few_shot": Style(_CODE, _CODE_EXAMPLES, max_tokens=448),
    },
    Form.READING: {
        "phrase": Style(_PHRASE, max_tokens=48),
        "few_shot": Style(_PHRASE, _READING_EXAMPLES, max_tokens=48),
    },
    Form.SHORT: {
        "phrase": Style(_PHRASE, max_tokens=48),
        "few_shot": Style(_PHRASE, _SHORT_EXAMPLES, max_tokens=48),
    },
    Form.OPEN: {"plain": Style("", max_tokens=512)},
}

DEFAULT_STYLES: dict[Form, str] = {
    Form.CHOICE: "few_shot",
    Form.NUMBER: "few_steps",
    Form.CODE: "block",
    Form.READING: "few_shot",
    Form.SHORT: "few_shot",
    Form.OPEN: "plain",
}

STEP_STYLES = {Form.CHOICE: "few_reason", Form.NUMBER: "few_steps"}
"""The forms that have a style which reasons before it answers, and that style."""


def find_style(form: Form, name: str) -> Style:
    """Raises ConfigError with the known names for an unknown one."""
    known = STYLES[form]
    if name not in known:
        raise ConfigError(
            f"no style {name!r} for {form.value} tasks; known: {', '.join(sorted(known))}."
        )
    return known[name]


def examples_asked_twice() -> list[tuple[list[Message], list[Message]]]:
    """Two prompts in each style that has worked examples: these are what the two share."""
    styles = [style for styles in STYLES.values() for style in styles.values() if style.examples]
    return [(style.messages("0"), style.messages("a")) for style in styles]
