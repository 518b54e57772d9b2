"""What a calibration without labels found, and what it can and cannot promise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from adaptive_sd.decision.calibration import Interval
from adaptive_sd.decision.certificates import ASSUMED, Certificates
from adaptive_sd.forms import Form
from adaptive_sd.offline.fit import MIN_FORM_PROMPTS
from adaptive_sd.offline.promise import Promise
from adaptive_sd.offline.unlabelled.agreement import MEASURE
from adaptive_sd.offline.unlabelled.expected import Expected

Json = dict[str, object]

_NEVER_TOLD = (
    "whether {top} is right: where it is wrong and a smaller stage right, agreement counts that "
    "against the smaller stage, and where both are wrong alike, for it",
    "whether two texts in other words, or two programs written otherwise, are as good: they count "
    "as unlike",
    "anything of prompts unlike these",
)


class FormAgreement(NamedTuple):
    """Prompts of one form, and each stage's mean agreement; not `covered`: too few to fit on."""

    form: Form
    num_prompts: int
    covered: bool
    agreement: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """All quality is agreement with the stage `agreement_with`, the last of `stages`.

    Of the certificates of the fit, or of one with a target, or why there are none, in words, one
    is None.
    """

    agreement_with: str
    num_prompts: int
    num_failed: int
    num_unanswered: int
    forms: tuple[FormAgreement, ...]
    stages: Mapping[str, Interval]
    recommended: Expected
    lam_origin: str
    dial: tuple[Expected, ...]
    promise: Promise | None
    certified: Certificates | None
    uncertified: str | None

    def to_json(self) -> Json:
        return {
            "agreement_with": self.agreement_with,
            "num_prompts": self.num_prompts,
            "left_out": {"failed": self.num_failed, "unanswered": self.num_unanswered},
            "forms": [
                {
                    "form": found.form.value,
                    "num_prompts": found.num_prompts,
                    "covered": found.covered,
                    "measure": MEASURE[found.form],
                    "agreement": dict(zip(self.stages, found.agreement, strict=True)),
                }
                for found in self.forms
            ],
            "stages": [
                {"stage": name, **_numbers("agreement", found)}
                for name, found in self.stages.items()
            ],
            "recommended": _expected(self.recommended),
            "saving_shown": self.saves,
            "lambda_origin": self.lam_origin,
            "dial": [_expected(found) for found in self.dial],
            "promise": self.promise and self.promise.to_json(),
            "certified": self.certified and self.certified.to_json(),
            "uncertified": self.uncertified,
            "cannot_be_told": self._never_told(),
        }

    @property
    def saves(self) -> bool:
        """Whether what is recommended is shown to cost less than the largest stage alone."""
        return self.recommended.cost_share.high < 1

    def as_text(self) -> str:
        top = self.agreement_with
        lines = [f"{self.num_prompts} prompts; quality is agreement with the answers of {top}"]
        if self.num_failed:
            lines.append(f"left out: {self.num_failed} prompts on which a stage failed")
        if self.num_unanswered:
            lines.append(f"left out: {self.num_unanswered} prompts to which {top} has no answer")
        lines += [self._form_line(found) for found in self.forms]
        lines.append("in all: " + ", ".join(f"{n} {q}" for n, q in self.stages.items() if n != top))
        lines.append(
            f"expected of prompts like these, by fits that did not see them, with 95 % intervals "
            f"over prompts (cost as a share of always {top}):"
        )
        lines += [f"  {_expected_line(found)}" for found in self.dial]
        lines.append(f"recommended ({self.lam_origin}):")
        lines.append(f"  {_expected_line(self.recommended)}")
        if not self.saves:
            lines.append(f"  no saving is shown against asking {top} alone")
        lines += [*self._promised(), *(f"cannot be told: {what}" for what in self._never_told())]
        return "\n".join(lines)

    def _form_line(self, found: FormAgreement) -> str:
        stages = zip(self.stages, found.agreement, strict=True)
        agreement = ", ".join(f"{n} {q:.2f}" for n, q in stages if n != self.agreement_with)
        few = f"; fewer than {MIN_FORM_PROMPTS}, so {self.agreement_with} answers all"
        return (
            f"  {found.num_prompts} {found.form.value} ({MEASURE[found.form]}): {agreement}"
            f"{'' if found.covered else few}"
        )

    def _promised(self) -> list[str]:
        if self.promise is not None:
            return [self.promise.as_text()]
        if self.certified is None:
            return [f"nothing is promised, and nothing could be: {self.uncertified}"]
        known = self.certified
        return [
            f"nothing is promised; --target-quality Q could promise an agreement of up to "
            f"{known.highest}, by {known.num_prompts} prompts set aside, at "
            f"{known.confidence:.4g} confidence",
            f"  assumed then: {ASSUMED}",
        ]

    def _never_told(self) -> list[str]:
        return [what.format(top=self.agreement_with) for what in _NEVER_TOLD]


def _expected_line(found: Expected) -> str:
    return (
        f"lambda {found.lam:<9.3g} cost {found.cost_share:.2f}  agreement {found.quality:.2f}  "
        f"escalated {found.escalation_rate:.2f}"
    )


def _expected(found: Expected) -> Json:
    return {
        "lambda": found.lam,
        **_numbers("cost_share", found.cost_share),
        **_numbers("agreement", found.quality),
        **_numbers("escalation_rate", found.escalation_rate),
    }


def _numbers(name: str, found: Interval) -> Json:
    return {name: found.value, f"{name}_ci": [found.low, found.high]}
