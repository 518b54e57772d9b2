"""An online ladder: what feedback and drift change, and that nothing else does."""

from __future__ import annotations

import json
import sqlite3
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptive_sd.artifact import Artifact
from adaptive_sd.cascade import Cascade, Request
from adaptive_sd.data.tasks import Task
from adaptive_sd.decision.observed import Observed
from adaptive_sd.decision.recalibration import Shift
from adaptive_sd.engines.fake import FakeEngine
from adaptive_sd.errors import ConfigError, DataError
from adaptive_sd.event_log import Event, EventLog
from adaptive_sd.judge import FittedJudge
from adaptive_sd.online import Online
from adaptive_sd.prompt import prompt_hash
from adaptive_sd.stage import Stage
from adaptive_sd.trace import Answer
from adaptive_sd.types import Action, Draft
from tests.failing import Breaking
from tests.ladder import RATES, SKILL, is_right, make_engine, make_stages, make_tasks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stages")


def ladder(artifact: Artifact, folder: Path, path: Path | None = None, **options: Any) -> Cascade:
    judge = FittedJudge(artifact)
    online = None if path is None else Online(judge, path, **options)
    return Cascade(make_stages(folder), judge, online=online)


def answers(cascade: Cascade, tasks: Sequence[Task]) -> list[Answer]:
    return [cascade.answer(task.prompt) for task in tasks]


def steps_of(answer: Answer) -> list[tuple[object, ...]]:
    return [(s.stage, s.action, s.quality, s.decision, s.reason, s.cost) for s in answer.trace]


def events_of(artifact: Artifact, path: Path) -> list[Event]:
    return EventLog(path).since(0, FittedJudge(artifact).fingerprint, 3)


def hard_tasks(count: int) -> Iterator[Task]:
    """Those that the small stage gets wrong."""
    tasks = (task for seed in range(100, 200) for task in make_tasks(100, seed=seed))
    hard = (task for task in tasks if not is_right("small", task.prompt))
    return (next(hard) for _ in range(count))


def test_before_anything_is_learned_it_answers_as_if_it_were_not_online(
    artifact: Artifact, folder: Path, tmp_path: Path
) -> None:
    tasks = make_tasks(25, seed=31)
    plain = answers(ladder(artifact, folder), tasks)
    online = [
        ladder(artifact, folder, tmp_path / f"{n}.sqlite", explore=0.0).answer(task.prompt)
        for n, task in enumerate(tasks)
    ]
    assert [steps_of(a) for a in online] == [steps_of(a) for a in plain]
    assert [(a.text, a.quality) for a in online] == [(a.text, a.quality) for a in plain]


def test_bad_feedback_on_a_stage_lowers_its_estimates_and_escalates_more(
    artifact: Artifact, folder: Path, tmp_path: Path
) -> None:
    tasks = make_tasks(60, seed=32)
    cascade = ladder(artifact, folder, tmp_path / "t.sqlite", explore=0.0)
    before = answers(cascade, tasks)
    told = [answer for answer in before if answer.stage == "small"]
    assert len(told) > 5
    for answer in told:
        cascade.feedback(answer.trace_id, good=False)
    after = answers(cascade, tasks)
    first = [[a.trace[0].quality for a in some if a.trace[0].quality] for some in (before, after)]
    pairs = list(zip(*first, strict=True))
    assert all(now < was for was, now in pairs if was > 0.5)  # slopes fall too: low ones may rise
    assert np.mean(first[1]) < np.mean(first[0]) - 0.1
    assert sum(a.stage == "small" for a in after) < len(told)
    assert sum(len(a.trace) for a in after) > sum(len(b.trace) for b in before)


def test_what_is_learned_survives_a_restart_and_comes_from_other_processes(
    artifact: Artifact, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "t.sqlite"
    cascade = ladder(artifact, folder, path)
    given = answers(cascade, make_tasks(30, seed=33))
    for answer in given[:10]:
        cascade.feedback(answer.trace_id, good=False)
    judge = FittedJudge(artifact)
    running, restarted = Online(judge, path), Online(judge, path)
    assert running.shifts == restarted.shifts != (Shift(),) * 3
    for answer in given[10:]:
        EventLog(path).tell(
            answer.trace_id, judge.fingerprint, good=True
        )  # as `adaptive-sd feedback` does
    running.feedback(given[0].trace_id, good=False)
    assert running.shifts != restarted.shifts
    assert Online(judge, path).shifts == running.shifts


def test_the_last_word_on_an_answer_counts_as_if_it_were_the_only_one(
    artifact: Artifact, folder: Path, tmp_path: Path
) -> None:
    tasks = make_tasks(12, seed=34)
    shifts = []
    for words in ([False, True], [True]):
        path = tmp_path / f"{len(words)}.sqlite"
        cascade = ladder(artifact, folder, path, explore=0.0)
        given = answers(cascade, tasks)
        for word in words:
            cascade.feedback(given[3].trace_id, good=word)
        shifts.append(Online(FittedJudge(artifact), path).shifts)
    assert shifts[0] == shifts[1]


def test_a_share_runs_on_by_chance_and_the_likelier_draft_is_returned(
    artifact: Artifact, folder: Path, tmp_path: Path
) -> None:
    path, tasks = tmp_path / "t.sqlite", make_tasks(80, seed=35)
    given = answers(ladder(artifact, folder, path, explore=0.5), tasks)
    plain = answers(ladder(artifact, folder), tasks)
    records = {event.trace_id: event.observed for event in events_of(artifact, path)}
    assert len(records) == len(tasks)
    explored = [a for a in given if records[a.trace_id].explored]
    stopped = [b for b in plain if b.trace[-1].stage != "large" or b.stage != "large"]
    assert len(stopped) / 4 < len(explored) < len(stopped)
    for answer in explored:
        record = records[answer.trace_id]
        ran = [s for s in answer.trace if s.action in (Action.DRAFT, Action.VERIFY)]
        assert ran[-1].stage == "large" and "by chance" in ran[-2].reason
        assert record.compared[-1].propensity == 0.5
        assert {draft.propensity for draft in record.compared[:-1]} <= {1.0}
    for answer, alone in zip(given, plain, strict=True):
        record = records[answer.trace_id]
        assert record.first is not None
        assert record.first.escalates == (len([s for s in alone.trace if s.tokens_in]) > 1)
        if not record.explored:
            assert all(draft.propensity == 1 for draft in record.compared)


def test_prompts_asked_otherwise_than_the_fits_teach_nothing(
    artifact: Artifact, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "t.sqlite"
    cascade = ladder(artifact, folder, path, explore=0.5)
    given = cascade.answer(make_tasks(1)[0].prompt, Request(max_tokens=9))
    assert not given.calibrated and not events_of(artifact, path)
    with pytest.raises(DataError, match=given.trace_id):
        cascade.feedback(given.trace_id, good=True)


@pytest.mark.parametrize("broken", SKILL)
@pytest.mark.parametrize("explore", [0.0, 0.5])
def test_an_answer_on_which_a_stage_failed_teaches_nothing(
    artifact: Artifact, folder: Path, tmp_path: Path, broken: str, explore: float
) -> None:
    path, judge = tmp_path / "t.sqlite", FittedJudge(artifact)
    stages = [
        Stage(n, load=lambda n=n: make_engine(n, Breaking if n == broken else FakeEngine))  # type: ignore[misc]
        for n in SKILL
    ]
    cascade = Cascade(stages, judge, online=Online(judge, path, explore=explore))
    given = answers(cascade, make_tasks(40, seed=41))
    num_failed = [sum(s.reason.startswith("failed: ") for s in a.trace) for a in given]
    failed = [a for a, count in zip(given, num_failed, strict=True) if count]
    assert max(num_failed) == 1  # a draw to run on asks it no second time
    learned = {event.trace_id for event in events_of(artifact, path)}
    assert failed and learned == {a.trace_id for a in given} - {a.trace_id for a in failed}
    assert all(answer.calibrated and answer.stage != broken for answer in failed)
    with pytest.raises(DataError, match=failed[0].trace_id):
        cascade.feedback(failed[0].trace_id, good=True)


def test_prompts_of_a_form_that_was_not_fitted_are_judged_as_before(
    artifact: Artifact, folder: Path, tmp_path: Path
) -> None:
    path, prompt = tmp_path / "t.sqlite", "Tell me something of the sea."
    cascade = ladder(artifact, folder, path, explore=0.5)
    for answer in answers(cascade, make_tasks(20, seed=40)):
        cascade.feedback(answer.trace_id, good=False)
    assert Online(FittedJudge(artifact), path).shifts != (Shift(),) * 3
    ours, plain = cascade.answer(prompt), ladder(artifact, folder).answer(prompt)
    assert not ours.calibrated and steps_of(ours) == steps_of(plain)
    assert len(events_of(artifact, path)) == 40


def test_a_drift_is_said_once_and_the_largest_stage_answers_if_asked_to(
    artifact: Artifact, folder: Path, tmp_path: Path
) -> None:
    path, hard = tmp_path / "t.sqlite", list(hard_tasks(260))
    cascade = ladder(artifact, folder, path, explore=0.0, on_drift="top")
    answers(cascade, make_tasks(40, seed=36))
    with pytest.warns(UserWarning, match="recalibrate --save") as said:
        given = answers(cascade, hard)
    assert len(said) == 1
    drifted = [a for a in given if a.trace[-1].reason.startswith("prompts have drifted")]
    assert 20 < len(drifted) < len(given)
    assert drifted == given[-len(drifted) :]
    assert {answer.stage for answer in drifted} == {"large"}
    assert all([s.action for s in a.trace] == [Action.SKIP] * 2 + [Action.DRAFT] for a in drifted)
    with pytest.warns(UserWarning, match="prompts have changed"):
        again = Online(FittedJudge(artifact), path)
    assert again.has_drifted
    other = replace(artifact, reference=None)
    with pytest.warns(UserWarning, match="first 300 answers"):
        assert not Online(FittedJudge(other), path).has_drifted  # a fit of its own


def test_no_alarm_while_prompts_stay_as_they_were(
    artifact: Artifact, folder: Path, tmp_path: Path
) -> None:
    cascade = ladder(artifact, folder, tmp_path / "t.sqlite")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answers(cascade, make_tasks(400, seed=37))


def test_only_numbers_are_kept(artifact: Artifact, folder: Path, tmp_path: Path) -> None:
    path, [task] = tmp_path / "t.sqlite", make_tasks(1, seed=38)
    given = ladder(artifact, folder, path).answer(task.prompt)
    assert path.stat().st_mode & 0o777 == 0o600
    stored = path.read_bytes().decode("latin-1")
    assert given.trace_id in stored
    assert "Exercise" not in stored and "The answer is" not in stored


def test_a_store_of_before_is_taken_over(artifact: Artifact, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    database = sqlite3.connect(path)
    with database:
        database.execute(
            "CREATE TABLE trace (trace_id TEXT PRIMARY KEY, created_s REAL, prompt TEXT, "
            "answer TEXT)"
        )
        database.execute("INSERT INTO trace VALUES ('old', 1.0, NULL, '{}')")
    database.close()
    cascade = ladder(artifact, folder, path)
    with pytest.warns(UserWarning, match="nothing is learned"):
        cascade.feedback("old", good=True)
    assert cascade.answer(make_tasks(1)[0].prompt).trace_id
    assert len(events_of(artifact, path)) == 1


def test_a_file_that_cannot_be_written_costs_no_answer(
    artifact: Artifact, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "home" / "t.sqlite"
    cascade = ladder(artifact, folder, path)
    assert not path.exists()  # nothing is written before there is something to write
    path.mkdir(parents=True)
    with pytest.warns(UserWarning, match="ADAPTIVE_SD_HOME"):
        assert cascade.answer(make_tasks(1)[0].prompt).text


def test_what_cannot_be_is_refused(artifact: Artifact, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="online = true"):
        ladder(artifact, folder).feedback("t", good=True)
    with pytest.raises(ConfigError, match="explore is"):
        ladder(artifact, folder, tmp_path / "t.sqlite", explore=0.6)
    with pytest.raises(ConfigError, match="explore is"):
        ladder(artifact, folder, tmp_path / "t.sqlite", explore=1e-5)
    with pytest.raises(ConfigError, match="agreement with large"):
        ladder(replace(artifact, agreement_with="large"), folder, tmp_path / "t.sqlite")
    with pytest.raises(DataError, match="'nobody'"):
        ladder(artifact, folder, tmp_path / "t.sqlite").feedback("nobody", good=True)


def test_records_come_back_from_json(artifact: Artifact, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.sqlite"
    answers(ladder(artifact, folder, path, explore=0.5), make_tasks(20, seed=39))
    records = [event.observed for event in events_of(artifact, path)]
    assert {len(record.compared) for record in records} >= {0, 1}
    assert len(SKILL) == 3
    for record in records:
        assert Observed.from_json(json.loads(json.dumps(record.to_json())), 3) == record


@pytest.mark.parametrize(
    "request_", [Request(max_cost=9e9), Request(deadline_s=9e9), Request(abstain_below=0.0)]
)
def test_drafts_of_answers_with_limits_say_nothing_of_drift(
    artifact: Artifact, folder: Path, tmp_path: Path, request_: Request
) -> None:
    """Else the limits, and so the outcomes, would choose which drafts count."""
    path = tmp_path / "t.sqlite"
    cascade = ladder(artifact, folder, path, explore=0.5)
    for task in make_tasks(10, seed=43):
        cascade.answer(task.prompt, request_)
    events = events_of(artifact, path)
    assert len(events) == 10
    assert all(e.observed.first is None and not e.observed.explored for e in events)
    assert not any(event.observed.compared for event in events)  # no draw makes up for stops


def test_feedback_counts_where_a_cap_denied_a_stage_and_not_where_it_cut_a_draft(
    artifact: Artifact, folder: Path, tmp_path: Path
) -> None:
    """What is denied goes by what was known before; a draft that was cut tells of the prompt."""
    now = [0.0]

    class Late(FakeEngine):
        def generate(self, *args: Any, **rest: Any) -> Draft:
            now[0] += 100.0
            return super().generate(*args, **rest)

    kinds = {name: FakeEngine if name == "small" else Late for name in SKILL}
    stages = [Stage(n, load=lambda n=n: make_engine(n, kinds[n])) for n in SKILL]  # type: ignore[misc]
    [task] = hard_tasks(1)
    judge = FittedJudge(artifact)
    for cap, is_told in (({"max_cost": RATES["small"].decode_s * 40}, True), ({}, False)):
        path = tmp_path / f"{is_told}.sqlite"
        online = Online(judge, path, explore=0.0)
        cascade = Cascade(stages, judge, online=online, clock=lambda: now[0])
        request = Request(lam=40.0, **cap) if cap else Request(lam=40.0, deadline_s=50.0)
        capped = cascade.answer(task.prompt, request)
        assert (capped.stage, capped.degraded, capped.cut) == ("small", True, False)
        assert ("was cut at the deadline" in str(capped.degraded_by)) is not is_told
        assert len(events_of(artifact, path)) == is_told
        if is_told:
            cascade.feedback(capped.trace_id, good=False)
            assert online.shifts[0].intercept < 0 == online.shifts[1].intercept


def test_nothing_is_learned_of_a_draft_that_nobody_saw(
    artifact: Artifact, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "t.sqlite"
    cascade = ladder(artifact, folder, path)
    given = cascade.answer(make_tasks(1, seed=44)[0].prompt, Request(abstain_below=1.0))
    before = Online(FittedJudge(artifact), path).shifts
    with pytest.warns(UserWarning, match="abstained"):
        cascade.feedback(given.trace_id, good=True)
    assert given.abstained and Online(FittedJudge(artifact), path).shifts == before


def test_feedback_on_an_earlier_fits_answer_is_kept_and_teaches_nothing(
    artifact: Artifact, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "t.sqlite"
    given = ladder(artifact, folder, path).answer(make_tasks(1, seed=45)[0].prompt)
    later = ladder(replace(artifact, lam_origin="later"), folder, path)
    with pytest.warns(UserWarning, match="another fit"):
        later.feedback(given.trace_id, good=True)
    assert [event.good for event in events_of(artifact, path)] == [None, True]


def test_a_text_asked_again_counts_once_in_the_watch(
    artifact: Artifact, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "t.sqlite"
    cascade = ladder(artifact, folder, path)
    [one, two] = make_tasks(2, seed=46)
    for text in (one.prompt, f" {one.prompt.upper()} ", two.prompt):
        cascade.answer(text)
    prompts = [event.prompt for event in events_of(artifact, path)]
    assert prompts[0] == prompts[1] != prompts[2]
    assert prompts[2] == prompt_hash(two.prompt)
    [hard] = hard_tasks(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(200):
            cascade.answer(hard.prompt)


@pytest.mark.parametrize(
    "change",
    [
        {"returned": [3, 0.0, 0.0]},
        {"returned": [-1, 0.0, 0.0]},
        {"returned": [0, 1e300, 0.0]},
        {"returned": [0, 0.0]},
        {"first": ["0", 0.5, True]},
        {"first": [0, 2.0, True]},
        {"compared": [[[0, 0.0, 0.0], 0.5, 0.0]]},
        {"lam": float("nan")},
        {"explored": 1},
    ],
)
def test_a_damaged_event_is_left_out_with_a_warning_and_the_rest_is_learned(
    artifact: Artifact, folder: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "t.sqlite"
    cascade = ladder(artifact, folder, path)
    answers(cascade, make_tasks(3, seed=47))
    database = sqlite3.connect(path)
    with database:
        [(text,)] = database.execute("SELECT record FROM event WHERE seq = 2").fetchall()
        record = json.loads(text)
        record["observed"] |= change
        database.execute("UPDATE event SET record = ? WHERE seq = 2", (json.dumps(record),))
    database.close()
    with pytest.warns(UserWarning, match="event 2 is damaged") as said:
        assert [event.seq for event in events_of(artifact, path)] == [1, 3]
    assert len(said) == 1
    with pytest.warns(UserWarning, match="event 2 is damaged"):
        again = ladder(artifact, folder, path)
    assert again.answer(make_tasks(1, seed=48)[0].prompt).text


def test_no_failure_to_learn_costs_an_answer(
    artifact: Artifact, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: object) -> None:
        raise IndexError("no such place")

    cascade = ladder(artifact, folder, tmp_path / "t.sqlite")
    monkeypatch.setattr(EventLog, "append", fails)
    with pytest.warns(UserWarning, match="no such place"):
        assert cascade.answer(make_tasks(1)[0].prompt).text


def test_no_prompt_waits_for_the_file(
    artifact: Artifact, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = Online(FittedJudge(artifact), tmp_path / "t.sqlite")
    reads, goes_on = threading.Event(), threading.Event()

    def slow(*args: object) -> list[Event]:
        reads.set()
        assert goes_on.wait(timeout=60)
        return []

    monkeypatch.setattr(EventLog, "since", slow)
    monkeypatch.setattr(EventLog, "tell", lambda *args, **words: "")
    learning = threading.Thread(target=online.feedback, args=("t",), kwargs={"good": True})
    learning.start()
    assert reads.wait(timeout=60)
    asking = threading.Thread(target=online.ask, kwargs={"as_fitted": True}, daemon=True)
    asking.start()
    asking.join(timeout=60)
    waits = asking.is_alive()
    goes_on.set()
    learning.join()
    assert not waits
