"""Costs at other rates: what a recording with those rates would have said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adaptive_sd.artifact import load_artifact, recalibrated, save_artifact
from adaptive_sd.data.outcomes import OutcomeTable, read_outcomes, write_outcomes
from adaptive_sd.decision.partial import CHECKPOINTS
from adaptive_sd.decision.recalibration import Shift
from adaptive_sd.errors import DataError
from adaptive_sd.offline.costs import at_rates
from adaptive_sd.offline.export import export_recordings
from adaptive_sd.offline.fit import fit_artifact
from adaptive_sd.offline.refit import cost_shift, refit
from adaptive_sd.stage import Stage
from adaptive_sd.types import Rates
from tests.ladder import SKILL, make_engine, make_recording, make_stages, make_tasks

OTHER = [
    Rates(0.002, 0.02, ((4, 0.03), (16, 0.05))),
    Rates(0.001, 0.01, ((4, 0.02), (16, 0.02))),
    Rates(0.03, 0.4, ((4, 0.5), (16, 0.9))),
]


def make_split_table(folder: Path, stages: list[Stage]) -> OutcomeTable:
    folder.mkdir()
    for name, tasks in (("fit", make_tasks(60)), ("test", make_tasks(20, seed=1))):
        make_recording(folder / f"{name}.sqlite", tasks, stages)
    table, described, _ = export_recordings([folder / "fit.sqlite"], [folder / "test.sqlite"])
    write_outcomes(table, described, folder / "table.parquet")
    return read_outcomes(folder / "table.parquet")


def with_rates(folder: Path, rates: list[Rates]) -> list[Stage]:
    stages = []
    for name, rate in zip(SKILL, rates, strict=True):
        engine = make_engine(name, is_long=True)
        engine._rates = rate
        stages.append(Stage(name, load=lambda e=engine: e, rates_path=folder / "other.json"))
    return stages


def costs(table: OutcomeTable) -> list[np.ndarray]:
    names = [f"{what}_after_{name}" for what in ("cost", "accepted") for name in SKILL]
    names += [f"{what}@{n}" for what in ("cost", *names) for n in CHECKPOINTS]
    return [table.cost, *(table.columns[n].astype(float) for n in names if n in table.columns)]


def test_other_rates_cost_what_a_recording_with_them_says(tmp_path: Path) -> None:
    table = make_split_table(tmp_path / "here", make_stages(tmp_path, is_long=True))
    other = make_split_table(tmp_path / "there", with_rates(tmp_path, OTHER))
    own = [stage.rates for stage in table.stages]
    assert all(rates is not None for rates in own)
    for found, wanted in (
        (at_rates(table, OTHER), other),
        (at_rates(table, own), table),  # type: ignore[arg-type]
        (at_rates(at_rates(table, OTHER), own), table),  # type: ignore[arg-type]
    ):
        assert [s.rates for s in found.stages] == [s.rates for s in wanted.stages]
        for ours, theirs in zip(costs(found), costs(wanted), strict=True):
            np.testing.assert_allclose(ours, theirs)
    assert not np.allclose(table.cost, other.cost)
    for name in ("cost@16", "cost_after_small@16", "cost_after_small@64"):
        assert not np.isnan(table.columns[name].astype(float)).all(), name


def test_a_table_without_first_tokens_gets_none(tmp_path: Path) -> None:
    table = make_split_table(tmp_path / "here", make_stages(tmp_path, is_long=True))
    bare = {name: values for name, values in table.columns.items() if "@" not in name}
    found = at_rates(replace(table, columns=bare), OTHER)
    assert found.columns.keys() == bare.keys()


@pytest.mark.parametrize("missing", ["tokens_in", "prompt", "signal_finished_by_length"])
def test_a_table_without_counts_is_refused(tmp_path: Path, missing: str) -> None:
    table = make_split_table(tmp_path / "here", make_stages(tmp_path))
    columns = {name: values for name, values in table.columns.items() if name != missing}
    with pytest.raises(DataError, match=missing):
        at_rates(replace(table, columns=columns), OTHER)
    with pytest.raises(DataError, match="styles"):
        at_rates(replace(table, stages=tuple(replace(s, styles={}) for s in table.stages)), OTHER)


def test_a_refit_is_asked_for_by_how_much_costs_differ(tmp_path: Path) -> None:
    table = make_split_table(tmp_path / "here", make_stages(tmp_path))
    own = [stage.rates for stage in table.stages if stage.rates is not None]
    twice = [Rates(2 * r.prefill_s, 2 * r.decode_s, r.verify_s) for r in own]
    assert cost_shift(table, at_rates(table, own)) == pytest.approx(0)
    assert cost_shift(table, at_rates(table, twice)) == pytest.approx(1)
    fitted = fit_artifact(at_rates(table, twice))[0]
    assert [s.rates for s in fitted.stages] == twice
    alike = fit_artifact(table)[0]
    assert fitted.prompt_hashes == alike.prompt_hashes and fitted.data_hash != alike.data_hash


def test_a_machine_as_fast_as_the_fits_keeps_no_fit_of_its_own(tmp_path: Path) -> None:
    """Also not one of when it was slower."""
    table = make_split_table(tmp_path / "here", make_stages(tmp_path))
    own = [stage.rates for stage in table.stages if stage.rates is not None]
    twice = [Rates(2 * r.prefill_s, 2 * r.decode_s, r.verify_s) for r in own]
    folder, said = tmp_path / "artifacts" / "local", list[str]()
    refit(table, own, folder, seed=0, say=said.append)
    assert len(said) == 1 and said[0].endswith("the shipped fit will do") and not folder.exists()
    refit(table, twice, folder, seed=0, say=said.append)
    assert [stage.rates for stage in load_artifact(folder).stages] == twice
    refit(table, own, folder, seed=0, say=said.append)
    assert not folder.exists() and said[-1] == f"{folder}: an earlier fit for this machine, removed"


def test_what_feedback_recalibrated_is_neither_removed_nor_fitted_anew(tmp_path: Path) -> None:
    table = make_split_table(tmp_path / "here", make_stages(tmp_path))
    own = [stage.rates for stage in table.stages if stage.rates is not None]
    folder, said = tmp_path / "local", list[str]()
    shifted = recalibrated(fit_artifact(table)[0], [Shift(0.5)] * len(own), prompt_hashes=())
    save_artifact(shifted, folder)
    before = (folder / "weights.npz").read_bytes()
    for rates in (own, [Rates(2 * r.prefill_s, 2 * r.decode_s, r.verify_s) for r in own]):
        refit(table, rates, folder, seed=0, say=said.append)
        assert (folder / "weights.npz").read_bytes() == before
        assert "recalibrated by feedback" in said[-1]


def test_what_cannot_be_read_is_kept_beside_the_new_fit(tmp_path: Path) -> None:
    """Like a fit of an earlier version, which this one cannot read."""
    table = make_split_table(tmp_path / "here", make_stages(tmp_path))
    own = [stage.rates for stage in table.stages if stage.rates is not None]
    folder, said = tmp_path / "local", list[str]()
    folder.mkdir()
    (folder / "manifest.json").write_text('{"schema_version": 1}')
    bare = replace(table, columns={"prompt": table.columns["prompt"]})
    with pytest.raises(DataError):
        refit(bare, OTHER, folder, seed=0, say=said.append)
    assert list(tmp_path.glob("local*")) == [folder]  # nothing has come in its place
    refit(table, OTHER, folder, seed=0, say=said.append)
    assert [stage.rates for stage in load_artifact(folder).stages] == OTHER
    assert "artifact version 1" in said[1] and f"kept as {folder}.before" in said[1]
    assert (tmp_path / "local.before" / "manifest.json").read_text() == '{"schema_version": 1}'
    (folder / "manifest.json").write_text("?")
    refit(table, own, folder, seed=0, say=said.append)
    assert not folder.exists() and (tmp_path / "local.before2" / "manifest.json").exists()
