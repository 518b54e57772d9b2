"""Small outcome tables whose texts are as hostile as a table's may be."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from adaptive_sd.data.outcomes import OutcomeTable
from adaptive_sd.offline.report.gather import Report
from adaptive_sd.offline.report.page import draw, render_page
from adaptive_sd.offline.report.provenance import Settings
from adaptive_sd.stage_record import StageRecord

HOSTILE = (
    "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">",
    "</td></table></details></main><style>*{display:none}</style><h1>gone</h1>",
    "\"' onmouseover='document.title=1' {{ 7 * 7 }} {% raw %} &lt;b&gt; &#60;script&#62;",
    "\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u2067",
    "]]> --> <!-- <svg onload=alert(1)> $\\frac{1}{0}$ \x00\x1b[31m \ufeff \U0001f600" + "x" * 5000,
    "<link rel=stylesheet href=//example.org/a.css><iframe src='http://example.org'></iframe>",
)
NAMES = (
    "</script><b>small</b>",
    "$middle_{\\bad$ \U0001f986",
    'large" onclick="x',
    "\u202egnol " + "very" * 20,
    "fifth",
    "sixth: #ffffff",
)


def hostile_table(num_prompts: int, num_stages: int, *, seed: int = 0) -> OutcomeTable:
    """Estimates can tell good drafts from bad ones; qualities are fractions."""
    rng = np.random.default_rng(seed)
    difficulty = rng.random((num_prompts, 1))
    skill = np.linspace(0.3, 0.95, num_stages)
    quality = np.clip(
        skill - difficulty + 0.5 + rng.normal(0, 0.1, (num_prompts, num_stages)), 0, 1
    )
    logprob = -0.05 - (1 - quality) * rng.random((num_prompts, num_stages))
    texts = [f"{HOSTILE[n % len(HOSTILE)]} {n}" for n in range(num_prompts)]
    answers = [
        [HOSTILE[(n + k) % len(HOSTILE)] for k in range(num_stages)] for n in range(num_prompts)
    ]
    groups = [HOSTILE[n % 3] for n in range(num_prompts)]
    return OutcomeTable(
        stages=tuple(StageRecord(name) for name in NAMES[:num_stages]),
        prompt_ids=tuple(f"<i>{n}</i>" for n in range(num_prompts)),
        quality=quality,
        cost=4.0 ** np.arange(num_stages) * rng.uniform(0.8, 1.2, (num_prompts, num_stages)),
        columns={
            "prompt": _objects([[text] * num_stages for text in texts]),
            "answer": _objects(answers),
            "category": _objects([[group] * num_stages for group in groups]),
            "latency_s": rng.uniform(0.1, 2.0, (num_prompts, num_stages)),
            "signal_logprob_mean": logprob,
        },
        num_left_out=3,
    )


def bare_csv(path: Path, num_prompts: int, num_stages: int = 2) -> Path:
    """The required columns only."""
    rng = np.random.default_rng(1)
    rows = [
        f"{n},s{k},{k},{rng.choice(['0', '0.5', '1', '0.25'])},{1 + 3 * k}"
        for n in range(num_prompts)
        for k in range(num_stages)
    ]
    path.write_text("\n".join(["prompt_id,stage,stage_index,quality,cost", *rows]))
    return path


def page_of(report: Report) -> str:
    return render_page(
        report,
        draw(report),
        settings=Settings(Path("<b>&.parquet"), None, Path("out.html"), None, 20, 0),
        hashes={"table": "0" * 64},
        versions={"adaptive-sd": "0"},
        made=datetime(2026, 1, 1, tzinfo=UTC),
    )


def _objects(rows: list[list[str]]) -> np.ndarray:
    return np.array(rows, dtype=object)
