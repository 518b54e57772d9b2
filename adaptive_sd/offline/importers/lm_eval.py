"""Logs of lm-evaluation-harness (`--log_samples`), one run for each stage."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from adaptive_sd.errors import DataError

_CHARACTERS_PER_TOKEN = 4
_TIMESTAMP = r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(\.\d+)?"
_SAMPLES = re.compile(rf"samples_(?P<task>.+)_(?P<time>{_TIMESTAMP})\.jsonl")
_RESULTS = re.compile(rf"results_(?P<time>{_TIMESTAMP})\.json")
_FIELDS: dict[str, tuple[type, ...]] = {
    "doc_id": (int, str),
    "filtered_resps": (list,),
    "arguments": (dict, list),
    "filter": (str,),
    "metrics": (list,),
}
_SIGNALS = ("signal_logprob_first", "signal_margin_first")
_NO_FILTER_OR_METRICS: dict[str, Any] = {"filter": "none", "metrics": []}  # older releases


@dataclass(frozen=True, slots=True)
class Price:
    """Cost of a token read and of a token written."""

    per_token_in: float
    per_token_out: float

    @classmethod
    def of_size(cls, num_parameters: float) -> Price:
        """Billions of parameters a thousand tokens written; a token read is a fifth of that."""
        written = num_parameters / 1e9 / 1000
        return cls(written / 5, written)


@dataclass(frozen=True, slots=True)
class Run:
    """One model's run: its name, the price of its tokens, and its samples by (task, document)."""

    name: str
    price: Price
    samples: dict[tuple[str, str], dict[str, Any]]


def import_lm_eval(
    folders: Sequence[Path],
    *,
    names: Sequence[str] | None = None,
    prices: Sequence[Price] | None = None,
    metric: str | None = None,
    filter_name: str | None = None,
) -> tuple[pa.Table, list[str]]:
    """The outcome table of runs of the same documents, cheapest first, and its stages.

    Quality is `metric`, or the first metric that a task logs; of several filters the named one, or
    the first. Tokens are characters / 4. Without `prices` a run costs by its model's size, which
    the harness logs for local models. Of options that were chosen by likelihood the best one's
    log-likelihood, and by how much it is so, are evidence as a first token's. Raises DataError
    naming the run, the task and the document.
    """
    for what, given in (("names", names), ("prices", prices)):
        if given is not None and len(given) != len(folders):
            raise DataError(f"{len(folders)} runs, but {len(given)} {what}.")
    runs = [
        _read_run(folder, names[k] if names else None, prices[k] if prices else None, filter_name)
        for k, folder in enumerate(folders)
    ]
    stages = [run.name for run in runs]
    if len(set(stages)) != len(stages):
        raise DataError(f"two runs are of {', '.join(stages)}; tell them apart with --name.")
    _check_same_documents(folders, runs)
    rows = [
        _row(folders[k], run, k, key, metric)
        for key in runs[0].samples
        for k, run in enumerate(runs)
    ]
    table = pa.Table.from_pylist(rows)
    unknown = [n for n in _SIGNALS if table[n].null_count == table.num_rows]
    return table.drop_columns(unknown), stages


def _read_run(folder: Path, name: str | None, price: Price | None, filter_name: str | None) -> Run:
    results, logs = _find_logs(folder)
    if not results or not logs:
        raise DataError(
            f"{folder}: no results_*.json with samples_*.jsonl; run lm-eval with --log_samples."
        )
    path = results[""]
    summary = _parse(path, _read(path))
    config = summary.get("config")
    size = config.get("model_num_parameters") if isinstance(config, dict) else None
    if price is None:
        if not isinstance(size, (int, float)) or size <= 0:
            raise DataError(f"{path}: it does not say the model's size; give --price.")
        price = Price.of_size(size)
    found = name or str(summary.get("model_name") or folder.name)
    samples = {
        (task, str(sample["doc_id"])): sample
        for task, log in sorted(logs.items())
        for sample in _samples(log, filter_name)
    }
    return Run(found, price, samples)


def _find_logs(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """The newest results and samples; raises DataError where they may be of several models."""
    patterns = (_RESULTS, _SAMPLES)  # lm-eval makes a folder for each model
    paths = [
        p for p in folder.rglob("*.json*") if any(known.fullmatch(p.name) for known in patterns)
    ]
    places = sorted({str(path.parent) for path in paths})
    if len(places) > 1:
        raise DataError(
            f"{folder}: there are logs in {places[0]} and in {places[1]}; give the folder of one "
            "model's run."
        )
    results, samples = (_newest(paths, pattern) for pattern in patterns)
    return results, samples


def _newest(paths: Sequence[Path], pattern: re.Pattern[str]) -> dict[str, Path]:
    """The newest file of each task, "" for what is not of one task."""
    found: dict[str, tuple[str, Path]] = {}
    for path in paths:
        if match := pattern.fullmatch(path.name):
            task = match.groupdict().get("task", "")
            found[task] = max(found.get(task, ("", path)), (match["time"], path))
    return {task: path for task, (_, path) in found.items()}


def _samples(path: Path, filter_name: str | None) -> Iterator[dict[str, Any]]:
    """One sample for each document, of the filter that is wanted."""
    seen: set[object] = set()
    wanted = filter_name
    for number, line in enumerate(_read(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        sample = _NO_FILTER_OR_METRICS | _parse(where, line)
        for field, kinds in _FIELDS.items():
            if not isinstance(sample.get(field), kinds):
                raise DataError(
                    f"{where}: field {field!r} is {sample.get(field)!r:.40}; no sample of lm-eval."
                )
        found = sample["filter"]
        wanted = wanted or found
        if found != wanted:
            continue
        if sample["doc_id"] in seen:
            raise DataError(f"{where}: document {sample['doc_id']} comes twice.")
        seen.add(sample["doc_id"])
        yield sample
    if not seen:
        raise DataError(f"{path}: no sample of filter {filter_name!r}.")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from error


def _parse(where: object, text: str) -> dict[str, Any]:
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error}).") from error
    if not isinstance(raw, dict):
        raise DataError(f"{where}: {raw!r:.40} is not an object.")
    return raw


def _check_same_documents(folders: Sequence[Path], runs: Sequence[Run]) -> None:
    first = runs[0]
    for folder, run in zip(folders, runs, strict=True):
        for a, b, lacking in ((first, run, folder), (run, first, folders[0])):
            missing = next((key for key in a.samples if key not in b.samples), None)
            if missing:
                task, document = missing
                raise DataError(f"{lacking}: no sample of {task}, document {document}.")
        for key, sample in run.samples.items():
            if sample.get("doc_hash") != first.samples[key].get("doc_hash"):
                raise DataError(
                    f"{folder}: {key[0]}, document {key[1]} is another than in {folders[0]}."
                )


def _row(
    folder: Path, run: Run, index: int, key: tuple[str, str], metric: str | None
) -> dict[str, object]:
    task, document = key
    sample = run.samples[key]
    where = f"{folder}: {task}, document {document}"
    try:
        prompt, answer = _prompt(sample["arguments"]), _answer(sample)
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise DataError(f"{where}: not a sample of lm-eval ({error!r}).") from error
    tokens_in = max(1, round(len(prompt) / _CHARACTERS_PER_TOKEN))
    tokens_out = max(1, round(len(answer) / _CHARACTERS_PER_TOKEN))
    return {
        "prompt_id": f"{task}/{document}",
        "stage": run.name,
        "stage_index": index,
        "quality": _quality(where, sample, metric),
        "cost": run.price.per_token_in * tokens_in + run.price.per_token_out * tokens_out,
        "dataset": task,
        "category": task,
        "prompt": prompt,
        "answer": answer,
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        **dict(zip(_SIGNALS, _first_token(_likelihoods(sample)), strict=True)),
    }


def _prompt(arguments: Any) -> str:
    """The text of the first request, which is logged as a list or as gen_args_0.arg_0."""
    first = arguments.get("gen_args_0", {}) if isinstance(arguments, dict) else arguments[:1]
    values = list(first.values()) if isinstance(first, dict) else [v for a in first for v in a]
    text = values[0] if values else ""
    while isinstance(text, list) and text:  # conversations are JSON in a list of one
        text = text[0]
    return text if isinstance(text, str) else json.dumps(text)


def _answer(sample: dict[str, Any]) -> str:
    """What was generated; of a choice by likelihood, the option that won."""
    if options := _likelihoods(sample):
        best = max(range(len(options)), key=options.__getitem__)
        return chr(ord("A") + best) if best < 26 else str(best)
    raw = sample.get("resps") or sample["filtered_resps"]
    while isinstance(raw, list) and raw:
        raw = raw[0]
    return raw if isinstance(raw, str) else json.dumps(raw)


def _likelihoods(sample: dict[str, Any]) -> list[float]:
    """The log-likelihood of each option; empty where text was generated.

    Logged as pairs with whether greedy decoding gives the option, the raw ones each in a list.
    """
    raw = sample.get("resps")
    unwrapped = [r[0] for r in raw if isinstance(r, list) and r] if isinstance(raw, list) else []
    for responses in (sample["filtered_resps"], unwrapped):
        if len(responses) > 1 and all(isinstance(r, list) and len(r) == 2 for r in responses):
            with contextlib.suppress(TypeError, ValueError, OverflowError):
                found = [float(value) for value, _ in responses]
                if all(value <= 0 for value in found):
                    return found
    return []


def _first_token(options: Sequence[float]) -> tuple[float | None, float | None]:
    """What the likelihoods of options tell as those of a first token would; None if nothing."""
    best, second = sorted(options, reverse=True)[:2] if options else (-math.inf, -math.inf)
    return (best, best - second) if math.isfinite(second) else (None, None)


def _quality(where: str, sample: dict[str, Any], metric: str | None) -> float | None:
    known = list(map(str, sample["metrics"]))
    name = metric or (known[0] if known else None)
    if name is None:
        raise DataError(f"{where}: no metrics are named; say which with --metric.")
    if name not in sample:
        raise DataError(f"{where}: no metric {name!r}; it has {', '.join(known) or 'none'}.")
    value = sample[name]
    if value is None:
        return None
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise DataError(
            f"{where}: {name} is {value!r:.40}, not a number from 0 to 1; choose another with "
            "--metric."
        )
    return float(value)
