"""Task sets: the bundled ones are whole, others are refused by file, line and field."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adaptive_sd.data.grading import GRADER_NAMES, grade
from adaptive_sd.data.tasks import Task, bundled_names, load_tasks
from adaptive_sd.errors import DataError
from adaptive_sd.prompt import prompt_hash

SUBSETS = {
    "mmlu-subset": 100,
    "gsm8k-subset": 80,
    "humaneval-subset": 50,
    "squad-subset": 90,
}
SHARED = Path(__file__).parents[3] / "shared" / "data" / "tasks"
BUNDLED = Path(__file__).parents[2] / "adaptive_sd" / "data" / "bundled"
WHOLE = {
    "id": "1",
    "dataset": "own",
    "category": "sums",
    "prompt": "What is 1 + 1?",
    "answer": "2",
    "grader": "number",
}
many = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def written(path: Path, *lines: object) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts), encoding="utf-8", errors="surrogatepass")
    return path


def test_the_bundled_sets_are_these() -> None:
    assert set(bundled_names()) == {"demo-mix", "tuning", *SUBSETS}
    assert sum(SUBSETS.values()) >= 300


def test_formats_are_chosen_on_other_prompts_of_the_reported_sets() -> None:
    tuning, mix = load_tasks("tuning"), load_tasks("demo-mix")
    assert {t.dataset for t in tuning} == {t.dataset for t in mix} and len(tuning) == 56
    assert not {prompt_hash(t.prompt) for t in tuning} & {prompt_hash(t.prompt) for t in mix}


@pytest.mark.parametrize("name", SUBSETS)
def test_a_bundled_set_loads(name: str) -> None:
    tasks = load_tasks(name)
    assert len(tasks) == SUBSETS[name]
    assert len({task.id for task in tasks}) == len({prompt_hash(t.prompt) for t in tasks})
    assert load_tasks(name, 7) == tasks[:7]


@pytest.mark.parametrize("name", [n for n in SUBSETS if n != "humaneval-subset"])
def test_the_right_answer_of_a_bundled_prompt_is_right(name: str) -> None:
    assert [task.id for task in load_tasks(name) if grade(task, task.answer).quality != 1.0] == []


def test_demo_mix_is_every_bundled_prompt_once() -> None:
    mix = load_tasks("demo-mix")
    parts = [task for name in SUBSETS for task in load_tasks(name)]
    assert len(mix) == 320
    assert sorted(t.id for t in mix) == sorted(t.id for t in parts)
    assert {t.id: t for t in mix} == {t.id: t for t in parts}
    assert load_tasks("demo-mix") == mix


def test_every_beginning_of_demo_mix_is_a_fair_mix() -> None:
    mix = [task.dataset for task in load_tasks("demo-mix")]
    total = Counter(mix)
    for length in range(1, len(mix) + 1):
        found = Counter(mix[:length])
        for dataset, count in total.items():
            assert abs(found[dataset] - length * count / len(mix)) < 1.5, (length, dataset)
    assert [t.dataset for t in load_tasks("demo-mix", 40)] == mix[:40]


def test_demo_mix_keeps_the_order_of_its_parts() -> None:
    mix = load_tasks("demo-mix")
    for name in SUBSETS:
        part = load_tasks(name)
        assert [task for task in mix if task.dataset == part[0].dataset] == part


def test_licences_and_sources_are_there() -> None:
    readme = (BUNDLED / "README.md").read_text("utf-8")
    for name, count in SUBSETS.items():
        (row,) = [line for line in readme.splitlines() if line.startswith(f"| {name} ")]
        licence = row.split("|")[4].strip()
        assert f"| {count} |" in row
        assert (BUNDLED / f"LICENSE-{licence}.txt").stat().st_size > 300
    assert "320" in readme


@pytest.mark.skipif(not SHARED.exists(), reason="shared/data/tasks is not here")
@pytest.mark.parametrize("path", sorted(SHARED.glob("*.jsonl")), ids=lambda path: path.stem)
def test_every_public_set_loads(path: Path) -> None:
    assert len(load_tasks(str(path))) == sum(map(bool, path.read_bytes().split(b"\n")))


@pytest.mark.parametrize(
    ("name", "near"),
    [("demo-mixx", "demo-mix"), ("mmlu", "mmlu-subset"), ("gsm8k_subset", "gsm8k-subset")],
)
def test_an_unknown_set_lists_the_near_ones(name: str, near: str) -> None:
    with pytest.raises(DataError, match=rf"{name}.*did you mean '{near}'"):
        load_tasks(name)


@pytest.mark.parametrize("name", ["", "x" * 9000, "a\0b", "nowhere.jsonl", "/", "..", "\n"])
def test_any_unknown_name_lists_all_in_one_line(name: str) -> None:
    with pytest.raises(DataError) as caught:
        load_tasks(name)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 1000
    assert all(known in message for known in bundled_names())


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "not JSON"),
        ("nothing", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not an object"),
        ("7", "not an object"),
        *[({k: v for k, v in WHOLE.items() if k != key}, f"field '{key}'") for key in WHOLE],
        *[(WHOLE | {key: 5}, f"field '{key}' is 5; it must be text") for key in WHOLE],
        *[(WHOLE | {key: None}, f"field '{key}'") for key in WHOLE],
        (WHOLE | {"extra": []}, "field 'extra' is .*must be an object"),
        (WHOLE | {"id": " "}, "field 'id' is empty"),
        (WHOLE | {"prompt": ""}, "field 'prompt' is empty"),
        (WHOLE | {"prompt": "\ud800"}, "field 'prompt' is not valid Unicode"),
        (WHOLE | {"grader": "nubmer"}, "field 'grader' is 'nubmer'; known: choice, number"),
        (WHOLE | {"answer": "two"}, "field 'answer' is 'two'; it must be a number"),
        (WHOLE | {"grader": "choice", "answer": "AB"}, "field 'answer' is 'AB'; .* a letter"),
        (WHOLE, "id '1' comes twice"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: object, what: str) -> None:
    path = written(tmp_path / "own.jsonl", WHOLE, "", line)
    with pytest.raises(DataError, match=rf"own\.jsonl, line 3: .*{what}") as caught:
        load_tasks(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"own\.jsonl: cannot be read"):
        load_tasks(str(path))


@many
@given(
    st.builds(
        Task,
        id=st.text(min_size=1).filter(str.strip),
        dataset=st.text(),
        category=st.text(),
        prompt=st.sampled_from(["a\u2028b", "a\x85b", "a\rb\x0cc", "\ufeffa"])
        | st.text(min_size=1).filter(str.strip),
        answer=st.text(),
        grader=st.sampled_from(["exact", "contains", "f1", "code", "none"]),
        extra=st.dictionaries(st.text(), st.lists(st.text()) | st.integers()),
    ),
    st.booleans(),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
    st.sampled_from(["utf-8", "utf-8-sig"]),
)
def test_what_was_written_is_read(
    tmp_path: Path, task: Task, ascii_only: bool, end: str, encoding: str
) -> None:
    values = {name: getattr(task, name) for name in Task.__slots__}
    path = tmp_path / "own.jsonl"
    line = json.dumps(values, ensure_ascii=ascii_only) + end
    path.write_bytes((line + json.dumps(WHOLE | {"id": f"{task.id}2"})).encode(encoding))
    assert load_tasks(str(path))[0] == task


@many
@given(st.binary(max_size=200))
def test_arbitrary_bytes_give_tasks_or_one_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "own.jsonl"
    path.write_bytes(data)
    try:
        assert load_tasks(str(path)) == []
    except DataError as error:
        assert str(error).startswith(str(path))


def test_every_grader_name_has_a_grader() -> None:
    for name in GRADER_NAMES:
        task = Task("1", "own", "", "2 + 2", "A" if name == "choice" else "4", name)
        grade(task, "4")


@given(st.text(), st.sampled_from([str.upper, "  {} ".format, "{}\n".format]))
def test_the_hash_of_a_prompt_ignores_case_and_spacing(text: str, change) -> None:  # type: ignore[no-untyped-def]
    if change is str.upper:
        text = text.encode("ascii", "ignore").decode()
    assert prompt_hash(change(text)) == prompt_hash(text)
    assert prompt_hash(text + "x") != prompt_hash(text)
