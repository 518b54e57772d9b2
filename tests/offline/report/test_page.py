"""The page's text: the replay's figures, inert whatever the table holds, and easy to reach."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from html.parser import HTMLParser

import pytest

from adaptive_sd.decision.fit_table import MAX_STAGES
from adaptive_sd.offline.replay.contest import POLICIES
from adaptive_sd.offline.report.figures import label
from adaptive_sd.offline.report.gather import Report
from adaptive_sd.offline.report.page import DESCRIPTIONS
from adaptive_sd.offline.report.palette import (
    COLOURS,
    POLICY_COLOURS,
    STAGES,
    SURFACES,
    TEXTS,
    stage_colours,
)
from tests.offline.report.tables import HOSTILE, NAMES


class Tables(HTMLParser):
    """The rows of each table by its class, and all start tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._rows: list[list[str]] = []
        self._in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag == "table":
            self._rows = self.tables.setdefault(attributes.get("class") or "", [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("th", "td"):
            self._rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self._rows[-1][-1] += data


@pytest.fixture(scope="module")
def parsed(page: str) -> Tables:
    return Tables(page)


def test_the_table_of_policies_is_the_replays_document(report: Report, parsed: Tables) -> None:
    document = report.replay.to_json("t")
    rows = {row[0]: row[1:] for row in parsed.tables["policies"][1:]}
    assert len(rows) == len(POLICIES) == len(DESCRIPTIONS)
    assert list(DESCRIPTIONS) == list(POLICIES)
    for name, policy in document["policies"].items():  # type: ignore[attr-defined]
        low, high = policy["area_ci"]
        paired = policy["paired"]
        gain = "-"
        if paired is not None:
            gain = f"{paired['area_gain']:+.4f} [{paired['ci'][0]:+.4f}, {paired['ci'][1]:+.4f}]"
        costs = [
            policy[key]
            for key in ("cost@95", "cost@98", "cost@100", "cost@98_fit", "quality@98_fit")
        ]
        assert rows[f"{name}{DESCRIPTIONS[name]}"] == [
            f"{policy['area']:.4f} [{low:.4f}, {high:.4f}]",
            gain,
            *("-" if cost is None else f"{cost:.3f}" for cost in costs),
        ]


def test_the_table_of_predictors_is_the_replays_document(report: Report, parsed: Tables) -> None:
    document = report.replay.to_json("t")
    for row, p in zip(parsed.tables["predictors"][1:], document["predictors"], strict=True):  # type: ignore[call-overload]
        assert row[0] == p["stage"]
        assert row[1] == f"{p['auc']:.3f} [{p['auc_ci'][0]:.3f}, {p['auc_ci'][1]:.3f}]"
        assert row[2] == f"{p['ece']:.3f} [{p['ece_ci'][0]:.3f}, {p['ece_ci'][1]:.3f}]"
        assert row[3].startswith(f"{p['brier']:.3f} [")


def test_every_group_has_its_shares(report: Report, parsed: Tables) -> None:
    assert len(parsed.tables["stops"]) == 1 + len(report.flow.stops)
    assert len(parsed.tables["escalation"]) == 1 + len(report.flow.shares)
    assert [row[0] for row in parsed.tables["escalation"][1:]] == ["no draft yet", *NAMES[:3]]


def test_what_the_table_holds_becomes_no_element(page: str, parsed: Tables) -> None:
    tags = {tag for tag, _ in parsed.tags}
    assert not tags & {"script", "iframe", "img", "object", "embed", "form", "base", "i"}
    assert sum(tag == "style" for tag, _ in parsed.tags) == 1
    assert sum(tag == "h1" for tag, _ in parsed.tags) == 1
    assert not any(name.startswith("on") for _, attrs in parsed.tags for name in attrs)
    assert "{{ 7 * 7 }}" in page and "49" not in re.findall(r"onmouseover[^<]{0,60}", page)[0]
    assert any(text.startswith("<script>") for text in HOSTILE) and "&lt;script&gt;" in page


def test_the_page_asks_nothing_of_the_network(page: str, parsed: Tables) -> None:
    for tag, attributes in parsed.tags:
        for name in ("src", "href", "xlink:href", "action", "srcset", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:,")), (tag, name, value)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style
    assert "default-src 'none'" in page


def test_headings_tables_and_plots_can_be_read_aloud(parsed: Tables) -> None:
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert all(attrs.get("scope") in ("row", "col") for tag, attrs in parsed.tags if tag == "th")
    plots = [attrs for _, attrs in parsed.tags if (attrs.get("class") or "").startswith("plot ")]
    assert len(plots) == 10
    assert all(a["role"] == "img" and len(a["aria-label"] or "") > 40 for a in plots)
    ids = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {a["href"] for tag, a in parsed.tags if tag == "a"}
    assert targets <= {f"#{name}" for name in ids} and len(targets) == 10


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrasts_are_those_of_wcag_aa(scheme: int) -> None:
    for surface in ("card", "page"):
        for name, colour in TEXTS.items():
            assert contrast(colour[scheme], SURFACES[surface][scheme]) >= 4.5, name
    for name, colour in POLICY_COLOURS.items():
        assert contrast(colour[scheme], SURFACES["card"][scheme]) >= 3, name
    for name, colour in STAGES.items():  # with numbers on them
        assert contrast(colour[scheme], SURFACES["card"][scheme]) >= 4.5, name


def test_colours_can_be_told_apart() -> None:
    assert len({colour.light for colour in COLOURS.values()}) == len(COLOURS)
    assert set(POLICY_COLOURS) == set(POLICIES)
    for count in range(1, MAX_STAGES + 1):
        assert len(set(stage_colours(count))) == count


def test_a_plot_follows_the_screens_colours(page: str) -> None:
    svgs = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(svgs) == 10
    for svg in svgs:
        assert "var(--accent)" in svg or "var(--ink)" in svg
        assert not re.findall(r"(?:fill|stroke): #[0-9a-f]{6}", svg)


def test_a_label_is_one_short_printable_line() -> None:
    for name in NAMES + HOSTILE:
        assert label(name).isprintable() and len(label(name)) <= 26
