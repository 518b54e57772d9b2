"""An answer's trace in words and numbers."""

from __future__ import annotations

from collections.abc import Sequence

from adaptive_sd.cascade import Cascade
from adaptive_sd.trace import Answer, Step
from adaptive_sd.types import Action


def headline(answer: Answer) -> str:
    """One line: who answered, how sure, what it took."""
    calibrated = "" if answer.calibrated else ", not calibrated"
    return (
        f"[{answer.stage} · quality {answer.quality:.2f}{calibrated} · {answer.latency_s:.1f} s · "
        f"cost {answer.cost:.3g} {answer.cost_unit} · lambda {answer.lam:.3g}]"
    )


def explain(answer: Answer, cascade: Cascade) -> str:
    """Every step of the trace, one line each, and where lambda comes from."""
    lines = [
        f"  {_step_line(step, same=step.action is Action.SKIP and step.reason == before)}"
        for step, before in zip(answer.trace, ["", *(s.reason for s in answer.trace)], strict=False)
    ]
    lines.append(f"  lambda {answer.lam:.3g}: {cascade.lam_origin(answer.lam)}")
    if not answer.calibrated:
        lines.append(f"  not calibrated: {cascade.judge.how_to_calibrate}")
    return "\n".join([*lines, headline(answer)])


def _step_line(step: Step, *, same: bool) -> str:
    """`same`: skipped for the reason that the line before gave."""
    if same:
        return f"{step.stage:<20} {step.action.value}"
    if step.action in (Action.SKIP, Action.RECALL):
        return f"{step.stage:<20} {step.action.value:<7} {step.reason}"
    drafted = (
        f", {step.num_accepted} of {step.num_drafted} draft tokens accepted"
        if step.num_drafted
        else ""
    )
    decision = step.decision.value if step.decision else ""
    quality = "" if step.quality is None else f"quality {step.quality:.2f} "
    return (
        f"{step.stage:<20} {step.action.value:<7} {quality}-> {decision}: "
        f"{step.reason} ({step.tokens_in} + {step.tokens_out} tokens, {step.latency_s:.2f} s"
        f"{drafted})"
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
