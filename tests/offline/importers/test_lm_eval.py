"""Logs of lm-evaluation-harness as an outcome table; what does not fit together is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaptive_sd.cli import run
from adaptive_sd.data.outcomes import OutcomeTable, read_outcomes
from adaptive_sd.decision.features import FEATURE_NAMES
from adaptive_sd.errors import DataError
from adaptive_sd.offline.evidence import read_evidence
from adaptive_sd.offline.importers.lm_eval import import_lm_eval

OLD, NEW = "2026-01-01T10-00-00.000001", "2026-01-02T10-00-00.5"
QUESTION = "Question: how many?\nAnswer:"


def generated(document: int, right: bool, *, filter_name: str = "strict-match") -> dict[str, Any]:
    text = f"It is {document}. #### {document}"
    return {
        **{"doc_id": document, "doc": {"question": "how many?"}, "target": str(document)},
        "arguments": {"gen_args_0": {"arg_0": QUESTION, "arg_1": {"until": ["Question:"]}}},
        **{"resps": [[text]], "filtered_resps": [str(document)], "filter": filter_name},
        **{"metrics": ["exact_match"], "exact_match": float(right)},
        **{"doc_hash": f"d{document}", "prompt_hash": "p", "target_hash": "t"},
    }


def chosen(document: int, right: bool) -> dict[str, Any]:
    """Of two options the second is likelier."""
    return {
        **{"doc_id": document, "doc": {"query": "Which?"}, "target": "1"},
        "arguments": {
            "gen_args_0": {"arg_0": "Which?", "arg_1": " one"},
            "gen_args_1": {"arg_0": "Which?", "arg_1": " two"},
        },
        "resps": [[["-3.5", "False"]], [["-1.25", "True"]]],
        "filtered_resps": [["-3.5", "False"], ["-1.25", "True"]],
        **{"filter": "none", "metrics": ["acc", "acc_norm"], "acc": float(right), "acc_norm": 1.0},
        **{"doc_hash": f"c{document}", "prompt_hash": "p", "target_hash": "t"},
    }


def make_run(
    folder: Path,
    model: str,
    size: float | None,
    samples: dict[str, list[dict[str, Any]]],
    time: str = NEW,
) -> Path:
    """As `lm-eval --output_path folder --log_samples` writes it."""
    inside = folder / model.replace("/", "__")
    inside.mkdir(parents=True, exist_ok=True)
    summary = {
        **{"results": {}, "model_name": model, "model_source": "hf"},
        "config": {"model": "hf"} | ({"model_num_parameters": size} if size else {}),
    }
    (inside / f"results_{time}.json").write_text(json.dumps(summary))
    for task, rows in samples.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (inside / f"samples_{task}_{time}.jsonl").write_text(lines)
    return folder


def make_runs(folder: Path) -> list[Path]:
    """Two runs: documents 0 to 2 of each of two tasks; the large one is always right."""
    runs = []
    for model, size, skill in (("org/small", 5e8, 1), ("org/large", 7e9, 3)):
        flexible = [generated(i, True, filter_name="flexible-extract") for i in range(3)]
        samples = {
            "gsm8k": [generated(i, i < skill) for i in range(3)] + flexible,
            "arc_easy": [chosen(i, i < skill) for i in range(3)],
        }
        runs.append(make_run(folder / model.split("/")[1], model, size, samples))
    return runs


def imported(runs: list[Path], out: Path, *options: str) -> OutcomeTable:
    assert run(["import", "lm-eval", *map(str, runs), "--out", str(out), *options]) == 0
    return read_outcomes(out)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_runs_become_the_table_of_their_documents(tmp_path: Path, suffix: str) -> None:
    table = imported(make_runs(tmp_path), tmp_path / f"t{suffix}")
    assert [stage.name for stage in table.stages] == ["org/small", "org/large"]
    assert table.prompt_ids == tuple(f"{t}/{i}" for t in ("arc_easy", "gsm8k") for i in range(3))
    assert table.quality.tolist() == [[1, 1], [0, 1], [0, 1]] * 2
    assert set(table.columns["prompt"].ravel()) == {QUESTION, "Which?"}
    assert table.columns["answer"][0].tolist() == ["B", "B"]
    assert table.columns["answer"][3, 0] == "It is 0. #### 0"
    assert table.columns["category"][0, 0] == "arc_easy"


def test_cost_is_tokens_times_the_model_s_size_or_the_given_price(tmp_path: Path) -> None:
    runs = make_runs(tmp_path)
    table = imported(runs, tmp_path / "t.parquet")
    tokens_in, tokens_out = (table.columns[f"tokens_{x}"].astype(float) for x in ("in", "out"))
    assert tokens_in[3].tolist() == [round(len(QUESTION) / 4)] * 2
    for k, billions in enumerate((0.5, 7)):
        expected = billions * (tokens_out[:, k] + tokens_in[:, k] / 5) / 1000
        assert table.cost[:, k] == pytest.approx(expected)
    priced = imported(runs, tmp_path / "p.parquet", "--price", "1:2", "--price", "10:20")
    assert priced.cost[:, 1] == pytest.approx((10 * tokens_in + 20 * tokens_out)[:, 1] / 1e6)


def test_metric_filter_and_names_can_be_chosen(tmp_path: Path) -> None:
    runs = make_runs(tmp_path)
    for path in tmp_path.rglob("samples_arc*"):
        path.unlink()
    names = ["--name", "a", "--name", "b"]
    table = imported(runs, tmp_path / "t.parquet", "--filter", "flexible-extract", *names)
    assert table.quality.tolist() == [[1, 1]] * 3 and table.stages[0].name == "a"
    for path in tmp_path.rglob("samples_gsm8k*"):
        path.unlink()
    choices = [make_run(tmp_path / n, n, 1e9, {"arc": [chosen(0, False)]}) for n in ("x", "y")]
    assert imported(choices, tmp_path / "t.parquet").quality.tolist() == [[0, 0]]
    assert imported(choices, tmp_path / "t.parquet", "--metric", "acc_norm").quality.all()


def test_the_newest_log_of_a_task_counts(tmp_path: Path) -> None:
    for time, right in ((OLD, False), (NEW, True)):
        made = make_run(tmp_path / "run", "m", 1e9, {"gsm8k": [generated(0, right)]}, time)
    assert imported([made], tmp_path / "t.parquet").quality.tolist() == [[1]]


def test_a_folder_with_the_logs_of_two_models_is_refused(tmp_path: Path) -> None:
    """Also where all that the one logged is newer than the other's."""
    logs = {task: [generated(0, True)] for task in ("gsm8k", "mmlu")}
    for name, time in (("org/a", OLD), ("org/b", NEW)):
        made = make_run(tmp_path / "run", name, 1e9, logs, time)
    with pytest.raises(DataError, match=r"logs in .*org__a and in .*org__b; give the folder"):
        import_lm_eval([made])
    assert import_lm_eval([made / "org__a"])[1] == ["org/a"]


def test_how_likely_the_options_were_is_evidence(tmp_path: Path) -> None:
    table = imported(make_runs(tmp_path), tmp_path / "t.parquet")
    for name, value in (("logprob_first", -1.25), ("margin_first", 2.25)):
        found = table.columns[f"signal_{name}"].astype(float)
        assert (found[:3] == value).all() and np.isnan(found[3:]).all()
        features = read_evidence(table, (None, None)).features[:, :, FEATURE_NAMES.index(name)]
        assert (features[:3] == value).all() and not features[3:].any()


@pytest.mark.parametrize(
    ("filtered", "raw", "expected"),
    [
        (["B"], [[["-3.5", "False"]], [["-1.25", "True"]]], [-1.25, 2.25]),
        ([["-inf", "False"], ["-1.25", "True"]], [], None),
        ([["nan", "False"], ["-1.25", "True"]], [], None),
        (["-3", "-1"], [["-3", "-1"]], None),
        ([["-3.5", "False"]], [[["-3.5", "False"]]], None),
    ],
)
def test_only_likelihoods_of_several_options_are(
    tmp_path: Path, filtered: list[Any], raw: list[Any], expected: list[float] | None
) -> None:
    sample = generated(0, True) | {"filtered_resps": filtered, "resps": raw}
    table, _ = import_lm_eval([make_run(tmp_path / "run", "m", 1e9, {"arc": [sample]})])
    (row,) = table.to_pylist()
    found = [row.get(f"signal_{name}") for name in ("logprob_first", "margin_first")]
    assert found == (expected or [None, None])
    assert ("signal_margin_first" in row) == (expected is not None)


def test_logs_of_older_releases_keep_arguments_as_lists(tmp_path: Path) -> None:
    sample = generated(0, True) | {"arguments": [[QUESTION, {"until": []}]]}
    made = make_run(tmp_path / "run", "m", 1e9, {"gsm8k": [sample]})
    assert imported([made], tmp_path / "t.parquet").columns["prompt"].tolist() == [[QUESTION]]


def test_a_sample_without_a_value_is_not_graded(tmp_path: Path) -> None:
    rows = [generated(0, True), generated(1, True) | {"exact_match": None}]
    made = make_run(tmp_path / "run", "m", 1e9, {"gsm8k": rows})
    table = imported([made], tmp_path / "t.parquet")
    assert table.prompt_ids == ("gsm8k/0",) and table.num_left_out == 1


@pytest.mark.parametrize(
    ("second", "options", "message"),
    [
        ({"gsm8k": [generated(0, True)]}, [], "no sample of gsm8k, document 1"),
        ({"gsm8k": [generated(i, True) for i in range(3)]}, [], "no sample of gsm8k, document 2"),
        (
            {"gsm8k": [generated(0, True), generated(1, True) | {"doc_hash": "other"}]},
            [],
            "document 1 is another than in",
        ),
        (
            {"gsm8k": [generated(0, True), generated(1, True) | {"exact_match": 37.5}]},
            [],
            "document 1: exact_match is 37.5, not a number from 0 to 1",
        ),
        (
            {"gsm8k": [generated(0, True), generated(1, True) | {"exact_match": ["a", "b"]}]},
            [],
            "not a number from 0 to 1",
        ),
        ({"gsm8k": [generated(0, True), generated(0, True)]}, [], "document 0 comes twice"),
        ({"gsm8k": [{"doc_id": 0}]}, [], "line 1: field 'filtered_resps' is None"),
        ({}, [], "run lm-eval with --log_samples"),
        (None, ["--metric", "bleu"], "no metric 'bleu'; it has exact_match"),
        (None, ["--filter", "other"], "no sample of filter 'other'"),
        (None, ["--name", "a"], "2 runs, but 1 names"),
        (None, ["--name", "a", "--name", "a"], "two runs are of a, a"),
        (None, ["--price", "1:1"], "2 runs, but 1 prices"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(
    tmp_path: Path,
    second: dict[str, Any] | None,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = {"gsm8k": [generated(i, True) for i in range(2)]}
    runs = [
        make_run(tmp_path / "a", "small", 1e9, first),
        make_run(tmp_path / "b", "large", 2e9, first if second is None else second),
    ]
    out = tmp_path / "t.parquet"
    assert run(["import", "lm-eval", *map(str, runs), "--out", str(out), *options]) == 1
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and not out.exists()


def test_a_run_whose_size_is_unknown_needs_a_price(tmp_path: Path) -> None:
    made = make_run(tmp_path / "run", "api-model", None, {"gsm8k": [generated(0, True)]})
    with pytest.raises(DataError, match="give --price"):
        import_lm_eval([made])
    assert run(["import", "lm-eval", str(made), "--out", "x.parquet", "--price", "1"]) == 2
    assert imported([made], tmp_path / "t.parquet", "--price", "0.5:1.5").cost[0, 0] > 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(list(generated(0, True))),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=3),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
            max_leaves=4,
        ),
    )
)
def test_any_sample_gives_a_row_or_one_error(tmp_path: Path, wild: dict[str, Any]) -> None:
    made = make_run(tmp_path / "run", "m", 1e9, {"gsm8k": [generated(0, True) | wild]})
    try:
        table, _ = import_lm_eval([made])
        assert table.num_rows == 1
    except DataError as error:
        assert "\n" not in str(error)
