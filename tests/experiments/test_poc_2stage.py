"""The guide's two-stage command, on scripted models and, where they are cached, on real ones."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from types import ModuleType

import pytest

from adaptive_sd.build import DEFAULT_ARTIFACT
from adaptive_sd.errors import AdaptiveSDError
from adaptive_sd.models.catalogue import find
from adaptive_sd.models.store import file_of
from adaptive_sd.offline.experiment import FittedPrior
from adaptive_sd.offline.two_stage.rule import SWEEP
from adaptive_sd.prompt import prompt_hash
from tests.ladder import make_tasks
from tests.pair import Pair, answer_of, make_prior, write_tasks

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "experiments" / "poc_2stage.py"
GUIDE = ROOT / "examples" / "getting_started" / "GUIDE.md"
REAL_MODELS = ("smollm2-135m", "qwen2.5-coder-0.5b")


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("poc_2stage", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


POC = load_script()


class Run:
    """One call of the command on scripted models, in a folder of its own."""

    def __init__(self, folder: Path, num_prompts: int = 12) -> None:
        self.out = folder / "results"
        self.pair = Pair(folder)
        self.tasks = make_tasks(num_prompts)
        self.dataset = write_tasks(folder / "sums.jsonl", self.tasks)
        self.fitted: frozenset[str] = frozenset()

    def __call__(self, *options: str, lam: float = 1.0, num_samples: int = 10) -> int:
        given = ["--model1", "small", "--model2", "large", "--dataset", str(self.dataset)]
        given += ["--num-samples", str(num_samples), "--lambda", str(lam), "--out", str(self.out)]
        prior = FittedPrior(make_prior(intercept=1.0, slope=0.5), self.fitted)
        code: int = POC.main(
            [*given, *options],
            open_models=self.pair.open,
            open_prior=lambda: prior,
            now=lambda: datetime(2026, 11, 24, 12, 30),
        )
        return code

    @property
    def results(self) -> dict:  # type: ignore[type-arg]
        return json.loads((self.out / "poc_results.json").read_text("utf-8"))  # type: ignore[no-any-return]

    @property
    def log(self) -> str:
        return (self.out / "log" / "2026-11-24-poc.md").read_text("utf-8")

    def files(self) -> list[str]:
        return sorted(p.name for p in self.out.rglob("*") if p.is_file())


@pytest.fixture
def poc(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_it_writes_arrays_of_all_samples_a_plot_and_a_log_entry(poc: Run) -> None:
    assert poc(lam=25) == 0
    assert poc.files() == ["2026-11-24-poc.md", "poc_results.json", "tradeoff.png"]
    results = poc.results
    arrays = ("latencies", "qualities", "costs", "answers")
    per_sample = ("stages", "estimated_qualities", "chances_model2", "prompt_ids")
    for part in (results, results["always_a"], results["always_b"]):
        assert {len(part[name]) for name in arrays} == {10}
        assert all(0 <= quality <= 1 for quality in part["qualities"])
        assert part["mean_quality"] == pytest.approx(sum(part["qualities"]) / 10)
    assert {len(results[name]) for name in per_sample} == {10}
    assert results["stages"].count("large") == pytest.approx(10 * results["escalation_rate"])
    assert 0 < results["escalation_rate"] == pytest.approx(1 - results["early_stop_rate"])
    assert results["always_a"]["mean_cost"] == pytest.approx(1)
    assert (poc.out / "tradeoff.png").read_bytes().startswith(b"\x89PNG")
    headings = re.findall(r"^#+ .*", poc.log, re.MULTILINE)
    titles = ("### Settings", "### Results", "### Observations", "### Next experiment")
    assert headings == ["## Experiment log (2026-11-24)", *titles]


def test_the_sweep_has_all_lambdas_and_meets_the_run_at_its_lambda(poc: Run) -> None:
    poc(lam=25)
    sweep = {row["lambda"]: row for row in poc.results["sweep"]}
    assert tuple(sweep) == SWEEP
    assert 25 in sweep
    for name in ("mean_quality", "mean_cost", "mean_latency_ms", "early_stop_rate"):
        assert sweep[25][name] == pytest.approx(poc.results[name])


def test_a_lambda_below_model_2s_cost_is_said_to_escalate_nothing(
    poc: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert poc(lam=1.0) == 0
    assert poc.results["early_stop_rate"] == 1
    assert poc.results["latencies"] == poc.results["always_a"]["latencies"]
    assert "- Lambda 1 cannot escalate" in poc.log
    assert "Lambda 1 cannot escalate" in capsys.readouterr().out


def test_the_guides_plot_reads_the_results(poc: Run) -> None:
    poc()
    snippets = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text("utf-8"), re.DOTALL | re.M)
    (snippet,) = [text for text in snippets if "plt.scatter" in text]
    (poc.out / "tradeoff.png").unlink()
    environment = os.environ | {"MPLBACKEND": "Agg"}
    command = [sys.executable, "-c", snippet]
    subprocess.run(command, cwd=poc.out.parent, env=environment, check=True)
    assert (poc.out / "tradeoff.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_seed_chooses_the_same_prompts_and_another_seed_others(poc: Run) -> None:
    chosen = []
    for seed in ("0", "0", "1"):
        assert poc("--seed", seed, num_samples=6) == 0
        chosen.append(poc.results["prompt_ids"])
    assert chosen[0] == chosen[1] != chosen[2]
    assert poc.log.count("## Experiment log (2026-11-24)") == 3


def test_the_next_experiment_is_a_command_that_runs(poc: Run) -> None:
    poc()
    command = re.search(r"### Next experiment\n- `([^`]+)`", poc.log)
    assert command is not None
    python, script, *options = shlex.split(command[1])
    assert (python, script) == ("python", "experiments/poc_2stage.py")
    assert poc(*options) == 0
    assert poc.results["settings"]["lambda"] in SWEEP
    assert poc.results["settings"]["seed"] == 1
    assert poc.results["settings"]["num_samples"] == 12  # all that there are


def test_fewer_prompts_than_asked_for_are_used_and_said(poc: Run) -> None:
    assert poc(num_samples=50) == 0
    assert len(poc.results["latencies"]) == 12
    assert poc.results["settings"]["num_samples_asked"] == 50
    assert "50 samples were asked for and the data set has 12" in poc.log


def test_prompts_that_the_prior_was_fitted_on_are_left_out(
    poc: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    poc.fitted = frozenset(prompt_hash(task.prompt) for task in poc.tasks[:8])
    assert poc() == 0
    assert poc.results["prompt_ids"] == [task.id for task in poc.tasks[8:]]
    assert "8 prompts were left out" in poc.log
    poc.fitted = frozenset(prompt_hash(task.prompt) for task in poc.tasks)
    assert poc() == 1
    assert "fitted on all of them" in capsys.readouterr().err


@pytest.mark.parametrize("engine", [0, 1, 2])
def test_ctrl_c_in_any_phase_leaves_earlier_results_and_exits_130(
    poc: Run, engine: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert poc() == 0
    before = {path: path.read_bytes() for path in poc.out.rglob("*") if path.is_file()}
    poc.pair.engines.clear()

    def interrupted(name: str, prompt: str) -> str:
        if len(poc.pair.engines) == engine + 1 and poc.tasks[5].prompt in prompt:
            raise KeyboardInterrupt
        return answer_of(name, prompt)

    poc.pair = Pair(poc.out.parent, interrupted)
    assert poc(num_samples=12) == 130
    assert all(e.closed for e in poc.pair.engines)
    assert capsys.readouterr().err == "interrupted\n"
    assert {p: p.read_bytes() for p in poc.out.rglob("*") if p.is_file()} == before


def test_a_folder_that_cannot_be_made_is_refused_before_a_model_runs(
    poc: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    poc.out.write_text("a file")
    assert poc() == 1
    assert re.fullmatch(r"error: .*results: cannot be made .*\n", capsys.readouterr().err)
    assert poc.pair.engines == []


def command(*options: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *options],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (("llama-3-8b", "llama-3-13b"), "error: llama-3-8b: .*hub.*GPU memory"),
        (("llama-3-13b", "no-such-model"), "error: llama-3-13b: there is no 13B .* 8B and 70B"),
        (("no-such-model", "llama-3-8b"), "error: no model 'no-such-model'"),
    ],
)
def test_models_that_cannot_be_had_are_one_line_and_the_first_is_named(
    models: tuple[str, str], message: str, tmp_path: Path
) -> None:
    done = command("--model1", models[0], "--model2", models[1], cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(f"{message}.*\n", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_data_set_is_one_line_with_the_near_name(tmp_path: Path) -> None:
    options = ("--model1", "smollm2-135m", "--model2", "qwen2.5-coder-0.5b")
    done = command(*options, "--dataset", "mmlu-subst", cwd=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"error: .*did you mean 'mmlu-subset'.*\n", done.stderr)


@pytest.mark.parametrize(
    "options",
    [
        ("--no-such-flag",),
        ("--num-samples", "0"),
        ("--num-samples", "many"),
        ("--lambda", "nan"),
        ("--lambda", "-1"),
        ("--model2", "small"),
    ],
)
def test_usage_errors_exit_2(
    poc: Run, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        poc(*options)
    assert exit_.value.code == 2
    assert "usage: " in capsys.readouterr().err


def missing() -> str:
    """What the run on real models lacks here; empty when nothing."""
    absent = [name for name in REAL_MODELS if not file_of(find(name)).exists()]
    if absent:
        return f"not cached: adaptive-sd models pull {' '.join(absent)}"
    try:
        POC.read_prior(DEFAULT_ARTIFACT)
    except AdaptiveSDError as error:
        return str(error)
    return ""


@pytest.mark.slow
@pytest.mark.skipif(bool(missing()), reason=missing())
def test_real_models_on_a_bundled_set(tmp_path: Path) -> None:
    models = ("--model1", REAL_MODELS[0], "--model2", REAL_MODELS[1])
    options = ("--dataset", "mmlu-subset", "--num-samples", "3", "--lambda", "1.0")
    assert POC.main([*models, *options, "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "poc_results.json").read_text("utf-8"))
    assert len(results["latencies"]) == len(results["qualities"]) == 3
    assert all(latency > 0 for latency in results["latencies"])
    assert results["relative_costs"][1] > 0
