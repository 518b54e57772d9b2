"""What the transformers engine takes to read, decode and verify here, by model and weights.

python experiments/transformers_verification.py --model Qwen/Qwen3-8B --weights bf16 nf4
python experiments/transformers_verification.py --model smollm2-135m --device-map cpu \
    --weights fp32 bf16 gguf

A model is a folder, a hub id or (without nf4 and int8) a name of the catalogue or a GGUF file;
"gguf" is the embedded engine on such a one. For each, on this machine as it is now: the rates that
decisions go by, and the seconds of an answer of --tokens tokens, token by token and with that very
answer as the draft, each the best of --repeats. On a GPU the rates are of the whole engine, its
kernel launches included; gpu_verification.py has those of the layers alone.

Writes transformers_verification-TIME.json and a plot below --out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import torch
import transformers

from adaptive_sd.engines.transformers.options import TransformersOptions
from adaptive_sd.errors import AdaptiveSDError
from adaptive_sd.offline.benches.results import RESULTS, write_results
from adaptive_sd.offline.panels import png_bytes, stacked_axes
from adaptive_sd.sources import run_by_transformers
from adaptive_sd.stage import Stage
from adaptive_sd.types import Acceptance, Draft, Message, Offer, Rates, Sampling

PROMPT = "Write the numbers from 1 to 200, separated by commas, and nothing else."
EAGER = Acceptance(bias=9.0, match=0.0, start=0.0)
"""Verifies whatever runs along the draft."""

WEIGHTS = ("fp32", "bf16", "fp16", "nf4", "int8", "gguf")


@dataclass(frozen=True, slots=True)
class Row:
    """`ratio`: seconds of the verified answer over the plain one's; both know the prompt."""

    model: str
    weights: str
    engine: str
    num_parameters: int
    rates: Rates
    num_tokens: int
    num_accepted: int
    same_text: bool
    plain_s: float
    verified_s: float
    ratio: float


def open_stage(model: str, weights: str, device_map: str) -> Stage:
    """One model, with 1024 tokens of context. Raises AdaptiveSDError."""
    if weights == "gguf":
        return Stage(model, context=1024)
    options = TransformersOptions(
        dtype=weights if weights in ("fp32", "bf16", "fp16") else "auto",
        load_in_4bit=weights == "nf4",
        load_in_8bit=weights == "int8",
        device_map=device_map,
    )
    return Stage(model, source=run_by_transformers(model, options, context=1024))


def measure(model: str, weights: str, device_map: str, tokens: int, repeats: int) -> Row:
    """Raises AdaptiveSDError."""
    with open_stage(model, weights, device_map) as stage:
        engine = stage.engine
        rates = engine.measure_rates()
        messages, sampling = [Message("user", PROMPT)], Sampling(max_tokens=tokens)

        def answer(draft: Offer | None = None) -> Draft:
            made = [
                engine.generate(messages, sampling, draft=draft, rates=rates, acceptance=EAGER)
                for _ in range(repeats)
            ]
            return min(made, key=lambda each: each.latency_s)

        answer()  # the prompt is read once and then known
        plain = answer()
        verified = answer(plain.offer)
        return Row(
            model=model,
            weights=weights,
            engine=f"{engine.info.engine} {engine.info.engine_version}",
            num_parameters=engine.info.num_parameters,
            rates=rates,
            num_tokens=plain.tokens_out,
            num_accepted=verified.verified.num_accepted,
            same_text=verified.text == plain.text,
            plain_s=plain.latency_s,
            verified_s=verified.latency_s,
            ratio=verified.latency_s / plain.latency_s,
        )


def as_text(row: Row) -> str:
    return (
        f"{row.model} {row.weights}: reads {1 / row.rates.prefill_s:.0f} tokens/s, decodes "
        f"{1 / row.rates.decode_s:.1f}; {row.num_tokens} tokens in {row.plain_s:.2f} s, verified "
        f"in {row.verified_s:.2f} s ({row.ratio:.2f}; {row.num_accepted} accepted)"
        + ("" if row.same_text else ", the text differs")
    )


def plot(rows: Sequence[Row], device: str) -> bytes:
    """Decoded tokens a second, and verified over plain seconds, by model and weights."""
    figure, (speed, ratio) = stacked_axes(2)
    figure.suptitle(device, fontsize="medium")
    names = [f"{Path(row.model).name} {row.weights}" for row in rows]
    speed.barh(names, [1 / row.rates.decode_s for row in rows])
    speed.set_xlabel("decoded tokens a second")
    ratio.barh(names, [row.ratio for row in rows])
    ratio.axvline(1.0, color="grey", linestyle=":")
    ratio.set_xlabel("seconds of a verified answer over those of a plain one")
    return png_bytes(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 ok, 1 failed, 2 usage."""
    options = _parse(arguments)
    rows, failed = [], False
    for model in options.model:
        for weights in options.weights:
            try:
                row = measure(model, weights, options.device_map, options.tokens, options.repeats)
            except AdaptiveSDError as error:
                print(f"error: {error}", file=sys.stderr)
                failed = True
                continue
            print(as_text(row), flush=True)
            rows.append(row)
    if rows:
        on_gpu = torch.cuda.is_available() and options.device_map != "cpu"
        device = torch.cuda.get_device_name() if on_gpu else "cpu"
        document = {
            "device": device,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "rows": [asdict(row) for row in rows],
        }
        write_results(
            options.out,
            "transformers_verification",
            document,
            plot(rows, device),
            now=datetime.now(),
        )
    return int(failed)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", nargs="+", required=True, metavar="NAME")
    parser.add_argument("--weights", nargs="+", choices=WEIGHTS, default=["bf16", "nf4"])
    parser.add_argument("--device-map", default="auto", help="as in a ladder's file")
    count = {"type": int, "choices": range(1, 513), "metavar": "COUNT"}
    parser.add_argument("--tokens", default=64, **count)
    parser.add_argument("--repeats", default=3, **count)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
