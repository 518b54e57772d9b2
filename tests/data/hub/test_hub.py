"""Hub sets, each read by `datasets` from a small local file of its published schema."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from adaptive_sd.data.grading import grade
from adaptive_sd.data.hub.sets import HUB_SETS
from adaptive_sd.data.tasks import Task, load_tasks
from adaptive_sd.errors import ConfigError, DataError

datasets = pytest.importorskip("datasets", reason="the extra `datasets` is not installed")

OPTIONS = ["one", "two", "three", "four"]
MATH_SOLUTION = r"We have $x = \boxed{\frac{3}{4}}$."
ROWS: dict[str, dict[str, Any]] = {
    "mmlu": {"question": "1 + 1?", "subject": "sums", "choices": OPTIONS, "answer": 1},
    "mmlu-pro": {
        **{"question_id": 70, "question": "Which?", "options": [*OPTIONS, "5", "6", "7", "8", "9"]},
        **{"answer": "I", "answer_index": 8, "cot_content": "", "category": "law", "src": "x"},
    },
    "gsm8k": {"question": "How many?", "answer": "2 * 600 = <<2*600=1200>>1200\n#### 1,200"},
    "math": {
        **{"problem": "Find $x$.", "level": "Level 1", "type": "Algebra"},
        "solution": MATH_SOLUTION,
    },
    "math-500": {
        **{"problem": "Find $x$.", "solution": MATH_SOLUTION, "answer": r"\frac{3}{4}"},
        **{"subject": "Algebra", "level": 1, "unique_id": "test/algebra/1.json"},
    },
    "humaneval": {
        **{"task_id": "HumanEval/7", "prompt": "def f(x):\n", "entry_point": "f"},
        "canonical_solution": "    return x + 1\n",
        "test": "def check(candidate):\n    assert candidate(1) == 2\n",
    },
    "mbpp": {
        **{"task_id": 11, "text": "Write a function f.", "code": "def f(x):\n    return K"},
        **{"test_list": ["assert f(1) == 2"], "test_setup_code": "K = 2"},
        "challenge_test_list": [""],
    },
    "arc-easy": {
        **{"id": "Mercury_1", "question": "Which?", "answerKey": "2"},
        "choices": {"text": OPTIONS, "label": ["1", "2", "3", "4"]},
    },
    "arc-challenge": {
        **{"id": "Mercury_2", "question": "Which?", "answerKey": "B"},
        "choices": {"text": OPTIONS, "label": ["A", "B", "C", "D"]},
    },
    "hotpotqa": {
        **{"id": "5a8", "question": "Who?", "answer": "Ada", "type": "bridge", "level": "hard"},
        "supporting_facts": {"title": ["T"], "sent_id": [0]},
        "context": {"title": ["T", "U"], "sentences": [["Ada did.", " It is so."], ["No."]]},
    },
    "triviaqa": {
        **{"question": "Which river is in Rome?", "question_id": "tc_1", "question_source": "x"},
        "answer": {
            **{"aliases": ["The Tiber", "Tevere", "River", "!"], "normalized_aliases": ["tiber"]},
            **{"value": "Tiber", "normalized_value": "tiber", "type": "WikipediaEntity"},
        },
    },
    "squad": {
        **{"id": "57", "title": "Rome", "context": "Ada did it.", "question": "Who did it?"},
        "answers": {"text": ["Ada", "Ada", "Ada Finch"], "answer_start": [0, 0, 0]},
    },
    "truthfulqa": {
        "question": "What is so?",
        "mc1_targets": {"choices": OPTIONS, "labels": [1, 0, 0, 0]},
        "mc2_targets": {"choices": OPTIONS, "labels": [1, 1, 0, 0]},
    },
    "longbench": {
        **{"input": "Who did it?", "context": "Ada did it. " * 50, "answers": ["Ada", "Finch"]},
        **{"length": 150, "dataset": "qasper", "language": "en", "all_classes": None, "_id": "7f"},
    },
    "alpaca-eval": {
        **{"instruction": "Write a haiku.", "output": "...", "generator": "text_davinci_003"},
        "dataset": "helpful_base",
    },
    "mt-bench": {
        **{"prompt": ["First?", "Then?"], "reference": ["An answer.", "Another."]},
        **{"category": "math", "prompt_id": 12345},
    },
}
RIGHT = {"triviaqa": "It is the Tevere.", "squad": "the Ada", "longbench": "Finch"}
RIGHT |= {"math": r"\boxed{0.75}", "math-500": "The answer is 3/4."}


@pytest.fixture(autouse=True)
def cache_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def written(folder: Path, name: str, rows: list[dict[str, Any]], kind: str) -> Path:
    path = folder / f"{name}.{kind}"
    if kind == "parquet":
        pa.parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def load(path: Path) -> list[Task]:
    return load_tasks(f"hub:{path.stem}={path}")


def test_every_known_set_has_a_row_here_and_a_licence() -> None:
    assert set(ROWS) == set(HUB_SETS)
    assert all(found.licence for found in HUB_SETS.values())


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_the_published_schema_is_a_task_whose_answer_is_right(
    tmp_path: Path, name: str, kind: str
) -> None:
    (task,) = load(written(tmp_path, name, [ROWS[name]], kind))
    assert task.dataset == name and task.id.startswith(f"{name}/") and task.category
    assert Task(**json.loads(json.dumps({k: getattr(task, k) for k in Task.__slots__}))) == task
    graded = grade(task, RIGHT.get(name, task.answer))
    if task.grader == "judge":
        assert name in ("alpaca-eval", "mt-bench") and graded.quality is None
    elif graded.version:  # code is not graded where it cannot be run safely
        assert graded.quality == 1.0, graded
        assert grade(task, "nothing at all").quality == 0.0


def test_options_are_lettered_and_the_right_one_is_meant(tmp_path: Path) -> None:
    for name, right in (
        ("mmlu", "two"),
        ("arc-easy", "two"),
        ("mmlu-pro", "9"),
        ("truthfulqa", "one"),
    ):
        (task,) = load(written(tmp_path, name, [ROWS[name]], "parquet"))
        assert f"\n{task.answer}. {right}" in task.prompt


def test_the_right_choice_of_truthfulqa_does_not_always_come_first(tmp_path: Path) -> None:
    rows = [ROWS["truthfulqa"] | {"question": f"What of {i}?"} for i in range(30)]
    path = written(tmp_path, "truthfulqa", rows, "parquet")
    assert {task.answer for task in load(path)} == set("ABCD")
    assert load(path) == load(path)


def test_an_alias_that_the_question_contains_does_not_count(tmp_path: Path) -> None:
    row = ROWS["triviaqa"]
    hopeless = row | {"answer": row["answer"] | {"value": "river", "aliases": ["Rome"]}}
    (task,) = load(written(tmp_path, "triviaqa", [hopeless, row], "parquet"))
    assert task.extra["answers"] == ["Tiber", "The Tiber", "Tevere"]
    assert grade(task, "a river in Rome").quality == 0.0


@pytest.mark.parametrize(
    ("boxed", "grader", "answer"),
    [
        (r"\boxed{42}", "number", "42"),
        (r"\boxed{-10,\!080}", "number", "-10,080"),
        (r"\boxed{\$3.50}", "number", "3.50"),
        (r"\boxed{.5}", "number", ".5"),
        (r"\boxed{\dfrac{-3}{4}}", "judge", r"\dfrac{-3}{4}"),
        (r"\boxed{-\frac34}", "number", "-3/4"),
        (r"\boxed{90^\circ}", "number", "90"),
        (r"\boxed{12\text{ cm}^2}", "number", "12"),
        (r"\boxed{30\%}", "number", "30"),
        (r"\boxed 2$", "number", "2"),
        (r"first \boxed{1}, then \fbox{7}", "number", "7"),
        (r"\boxed{1\frac{1}{2}}", "judge", r"1\frac{1}{2}"),
        (r"\boxed{2\sqrt{3}}", "judge", r"2\sqrt{3}"),
        (r"\boxed{5\text{ or }6}", "judge", r"5\text{ or }6"),
        (r"\boxed{(3, \infty)}", "judge", r"(3, \infty)"),
        (r"\boxed{\text{Evelyn}}", "judge", r"\text{Evelyn}"),
        (r"\boxed{12_5}", "judge", "12_5"),
    ],
)
def test_a_mathematical_answer_that_is_no_number_needs_a_judge(
    tmp_path: Path, boxed: str, grader: str, answer: str
) -> None:
    row = ROWS["math"] | {"solution": f"So ${boxed}"}
    (task,) = load(written(tmp_path, "math", [row], "jsonl"))
    assert (task.grader, task.answer) == (grader, answer)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_another_schema_is_named(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, [{"other": 1}], "parquet")
    with pytest.raises(DataError, match=rf"hub:{name}, row 0: not of the schema of .*/") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_what_is_unknown_or_unreadable_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'gsm9k'.*did you mean 'gsm8k'"):
        load_tasks("hub:gsm9k")
    with pytest.raises(DataError, match="no such file"):
        load_tasks("hub:gsm8k=nowhere.parquet")
    (tmp_path / "gsm8k.parquet").write_bytes(b"PAR1 not a table")
    with pytest.raises(DataError, match=r"gsm8k\.parquet: cannot be read"):
        load(tmp_path / "gsm8k.parquet")
    with pytest.raises(DataError, match="'answer' is 'many'; it must be a number"):
        load(written(tmp_path, "gsm8k", [{"question": "q", "answer": "#### many"}], "parquet"))


def test_without_the_package_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **options: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return real(name, *rest, **options)

    path = written(tmp_path, "gsm8k", [ROWS["gsm8k"]], "parquet")
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=r"pip install 'adaptive-sd\[datasets\]'"):
        load(path)
