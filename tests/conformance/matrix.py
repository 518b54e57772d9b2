"""The matrix of engines and capabilities: what a run showed, in a page between two markers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adaptive_sd.engines.base import EngineInfo
from tests.conformance.subject import Capability, Subject
from tests.conformance.subjects import SUBJECTS

BEGIN = "<!-- matrix: written by pytest tests/conformance --matrix docs/engines.md -->"
END = "<!-- end of the matrix -->"
NOT_RUN = "not run"
ROWS = ("version", "models", *Capability)

Column = dict[str, str]
"""What stands in each of ROWS."""


@dataclass
class Results:
    """What the laws of one run showed."""

    outcomes: dict[tuple[Subject, Capability], set[str]] = field(
        default_factory=lambda: defaultdict(set)
    )
    infos: dict[Subject, EngineInfo] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)
    """Engines some of whose laws the command line left out: nothing is said of them."""

    def columns(self) -> dict[str, Column]:
        """Of the engines that ran; by heading."""
        ran: dict[str, list[Subject]] = defaultdict(list)
        for subject in self.infos:
            if subject.engine not in self.left_out:
                ran[subject.engine].append(subject)
        return {heading: self._column(subjects) for heading, subjects in ran.items()}

    def _column(self, subjects: Sequence[Subject]) -> Column:
        versions = [s.version or self.infos[s].engine_version for s in subjects]
        column = {
            "version": ", ".join(dict.fromkeys(versions)),
            "models": ", ".join(s.model for s in subjects),
        }
        for capability in Capability:
            found = set().union(*(self.outcomes[s, capability] for s in subjects))
            word = "yes" if subjects[0].can(capability) else "no"
            column[capability] = word if found == {"passed"} else NOT_RUN
        return column


def update(page: Path, results: Results) -> str:
    """Put what ran into the page and keep the rest of it; returns what was done, or why nothing."""
    failed = [f"{s.name}: {c}" for (s, c), seen in results.outcomes.items() if "failed" in seen]
    if failed:
        return f"{page} is left as it is, since some failed: {'; '.join(failed)}"
    text = page.read_text()
    page.write_text(replace_block(text, read(text) | results.columns()))
    return f"{page} has the matrix of {', '.join(filter(None, results.columns()))}"


def replace_block(text: str, columns: Mapping[str, Column]) -> str:
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{render(columns)}\n{END}{after}"


def read(text: str) -> dict[str, Column]:
    """The columns in a page, by heading; none where there is no table yet."""
    block = text.partition(BEGIN)[2].partition(END)[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in _table(block)]
    if not rows:
        return {}
    (_, *headings), _, *rest = rows
    return {
        heading: {row[0]: row[place] for row in rest} for place, heading in enumerate(headings, 1)
    }


def _table(block: str) -> Iterable[str]:
    return (line for line in block.splitlines() if line.startswith("|"))


def render(columns: Mapping[str, Column], subjects: Sequence[Subject] = SUBJECTS) -> str:
    """The table, with a column for each engine that there is, and the reasons for every "no"."""
    shown = {subject.engine: subject for subject in reversed(subjects) if subject.engine}
    headings = list(dict.fromkeys(s.engine for s in subjects if s.engine))
    lines = [["", *headings], ["---"] * (1 + len(headings))]
    for row in ROWS:
        lines.append([row, *(columns.get(each, {}).get(row, NOT_RUN) for each in headings)])
    reasons = [
        f"- **{capability}**: {'; '.join(told)}."
        for capability in Capability
        if (told := list(_reasons(capability, shown)))
    ]
    table = ["| " + " | ".join(cells) + " |" for cells in lines]
    return "\n".join([*table, "", 'The reasons for every "no":', "", *reasons])


def _reasons(capability: Capability, subjects: Mapping[str, Subject]) -> Iterable[str]:
    """Each with the engines that give it."""
    engines: dict[str, list[str]] = defaultdict(list)
    for heading in reversed(subjects):
        if not subjects[heading].can(capability):
            engines[subjects[heading].lacks[capability]].append(heading)
    return (f"{reason} ({', '.join(names)})" for reason, names in engines.items())
