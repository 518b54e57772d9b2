"""An answer's trace in words and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adaptive_sd.cascade import Cascade
from adaptive_sd.trace import Alternative, Answer, Step, Why, told_cost
from adaptive_sd.types import Action

if TYPE_CHECKING:  # loads pyarrow
    from adaptive_sd.offline.report.explained import Explained


_MAX_PROMPT = 300


def headline(answer: Answer) -> str:
    """One line: who answered, how sure, what it took."""
    marks = "" if answer.calibrated or answer.cut else ", not calibrated"
    marks += ", not the whole answer" if answer.cut else ""
    marks += f", degraded: {answer.degraded_by}" if answer.degraded else ""
    marks += ", abstained" if answer.abstained else ""
    return (
        f"[{answer.stage} · {_quality(answer)} {answer.quality:.2f}{marks} · "
        f"{answer.latency_s:.1f} s · cost {told_cost(answer.cost)} {answer.cost_unit} · "
        f"lambda {answer.lam:.3g}]"
    )


def _quality(answer: Answer) -> str:
    return f"agreement with {answer.agreement_with}" if answer.agreement_with else "quality"


def abstention(answer: Answer) -> str:
    """What is said in the place of an answer, one line."""
    return (
        f"no answer: no stage is good enough; the best draft, of {answer.stage}, has an estimated "
        f"{_quality(answer)} of {answer.quality:.2f} (cost {told_cost(answer.cost)} "
        f"{answer.cost_unit})"
    )


def explain(answer: Answer, cascade: Cascade) -> str:
    """Every step of the trace, and where lambda comes from."""
    lines = [*explain_steps(answer), *_agreement_line(answer)]
    lines.append(f"  form of the prompt: {answer.form.value}")
    lines.append(f"  lambda {answer.lam:.3g}: {cascade.lam_origin(answer.lam)}")
    if answer.cut:
        lines.append("  not calibrated: nothing tells how good the beginning of a draft is")
    elif not answer.calibrated:
        lines.append(f"  not calibrated: {cascade.judge.how_to_calibrate}")
    return "\n".join([*lines, headline(answer)])


def explain_prompt(found: Explained) -> str:
    """Of a recorded prompt: every decision, then what each stage brought in truth."""
    rows = [("in truth", "estimate", "quality", "cost", "")]
    for stage in found.stages:
        what = "returned" if stage.returned else "ran" if stage.ran else ""
        numbers = (f"{stage.estimate:.2f}", f"{stage.quality:.2f}", told_cost(stage.cost))
        rows.append((stage.stage, *numbers, what))
    text = " ".join(found.prompt.split())
    return "\n".join(
        [
            f"{found.prompt_id}: {text[:_MAX_PROMPT]}{'...' if len(text) > _MAX_PROMPT else ''}",
            *explain_steps(found.answer),
            *_agreement_line(found.answer),
            f"  lambda {found.answer.lam:.3g}: {found.lam_origin}",
            *(f"  {line}" for line in table(rows).splitlines()),
            f"  {found.answer.stage} is returned: quality {found.quality:.2f}, estimated "
            f"{found.answer.quality:.2f}, for {told_cost(found.answer.cost)}",
        ]
    )


def _agreement_line(answer: Answer) -> list[str]:
    """Where there is something to be said of what quality is."""
    if not answer.agreement_with:
        return []
    return [
        f"  quality is agreement with {answer.agreement_with}, as the ladder was calibrated "
        "without labels; not the chance of being right"
    ]


def explain_steps(answer: Answer) -> list[str]:
    """A line for each decision and step; below it what was expected of the alternatives."""
    last = answer.opening
    lines = [f"  {'before any draft':<20} -> {last.reason}", *_alternative_lines(last.alternatives)]
    for step in answer.trace:
        same = step.action is Action.SKIP and last.reason.endswith(step.reason)
        lines.append(f"  {_step_line(step, same=same)}")
        if step.alternatives != last.alternatives:
            lines += _alternative_lines(step.alternatives)
        last = Why(step.reason, step.alternatives)
    return lines


def _alternative_lines(alternatives: Sequence[Alternative]) -> list[str]:
    if not alternatives:
        return []
    least = min(alternatives, key=lambda alternative: alternative.loss)
    rows = [
        (
            "stop" if found.stage is None else f"run {found.stage}",
            f"quality {found.quality:.2f}",
            "" if found.gain is None else f"gain {found.gain:+.2f}",
            f"cost {told_cost(found.cost)}",
            f"loss {found.loss:.3g}",
            ", ".join(
                ["least"] * (found is least) + ["does not fit what is left"] * (not found.fits)
            ),
        )
        for found in alternatives
    ]
    return [f"      {line}" for line in table(rows).splitlines()]


def _step_line(step: Step, *, same: bool) -> str:
    """`same`: skipped by the decision of the line before."""
    if same:
        return f"{step.stage:<20} {step.action.value}"
    if step.action in (Action.SKIP, Action.RECALL, Action.ABSTAIN):
        paid = f" (cost {told_cost(step.cost)})" if step.cost else ""  # of a stage that failed
        return f"{step.stage:<20} {step.action.value:<7} {step.reason}{paid}"
    took = [f"cost {told_cost(step.cost)}"]
    if step.tokens_in:
        took.append(f"{step.tokens_in} + {step.tokens_out} tokens, {step.latency_s:.2f} s")
    if step.num_drafted:
        took.append(f"{step.num_accepted} of {step.num_drafted} draft tokens accepted")
    decision = step.decision.value if step.decision else ""
    quality = "" if step.quality is None else f"quality {step.quality:.2f} "
    return (
        f"{step.stage:<20} {step.action.value:<7} {quality}-> {decision}: "
        f"{step.reason} ({', '.join(took)})"
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
