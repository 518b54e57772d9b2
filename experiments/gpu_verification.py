"""What verifying a draft takes on a GPU against decoding it, for transformers of 1b to 34b.

python experiments/gpu_verification.py --shape 1b 8b 13b 34b

Needs torch and transformers. Weights are random: seconds do not depend on what they say. How much
of a draft is accepted is therefore simulated: what is expected where every token has the same
chance. For each shape and length of draft, after the same prompt: the seconds of
decoding the tokens one by one with a KV cache; of one pass over them; and of verifying them in one
pass, dropping what was not accepted from the cache and decoding the rest. Decoding is eager, so a
small shape waits for kernel launches; `floor_s` is what reading the weights once takes, which no
decoding step beats, and `ratio_to_floor` is the pass over that many such steps.

Writes gpu_verification-TIME.json, with rates for the cost model, and a plot below --out.
"""

from __future__ import annotations

import argparse
import gc
import inspect
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, DynamicCache, LlamaConfig

from adaptive_sd.offline.benches.results import RESULTS, write_results
from adaptive_sd.offline.panels import png_bytes, stacked_axes
from adaptive_sd.types import Rates

SHAPES = {
    "tiny": (32, 64, 2, 4, 2, 128),
    "1b": (2048, 8192, 16, 32, 8, 128_256),
    "8b": (4096, 14_336, 32, 32, 8, 128_256),
    "13b": (5120, 13_824, 40, 40, 40, 32_000),
    "34b": (8192, 22_016, 48, 64, 8, 32_000),
}
"""As in Llama: width, width of the feed-forward layers, layers, heads, key heads, vocabulary."""

ACCEPTANCES = (0.8, 0.9, 0.97, 1.0)
_REPEATS = 5


@dataclass(frozen=True, slots=True)
class Simulated:
    """A draft of which `num_accepted` tokens were accepted, and the rest decoded."""

    acceptance: float
    num_accepted: int
    seconds: float
    ratio: float


@dataclass(frozen=True, slots=True)
class DraftRow:
    """`verify_s` is one pass over the last token and the draft, `ratio` over `decode_s`."""

    num_tokens: int
    decode_s: float
    verify_s: float
    ratio: float
    ratio_to_floor: float
    simulated: tuple[Simulated, ...]


@dataclass(frozen=True, slots=True)
class ShapeResult:
    """`rates` are for the cost model: seconds a token of reading and decoding, and of passes."""

    shape: str
    num_parameters: int
    floor_s: float
    rates: Rates
    drafts: tuple[DraftRow, ...]


class Runner:
    """A model with random weights, and a cache that holds a prompt."""

    def __init__(self, shape: str, device: torch.device, prompt: int, longest: int) -> None:
        width, feed, layers, heads, key_heads, vocabulary = SHAPES[shape]
        config = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=feed,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=key_heads,
            max_position_embeddings=prompt + longest + 2,
            tie_word_embeddings=shape == "1b",
        )
        torch.manual_seed(0)
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        with device:
            self.model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
        self.prompt = torch.randint(vocabulary, (1, prompt), device=device)
        known = inspect.signature(self.model.forward).parameters  # renamed within transformers 5
        self._cache_name = "cache" if "cache" in known else "past_key_values"
        self.first = self.read_prompt()

    def decode(self, token: torch.Tensor, count: int) -> torch.Tensor:
        """The next `count` greedy tokens, one pass each; shape (1, count)."""
        tokens = [token]
        for _ in range(count):
            tokens.append(self._pass(tokens[-1], num_rows=1))
        return torch.cat(tokens[1:], dim=1)

    def verify(self, tokens: torch.Tensor) -> torch.Tensor:
        """The greedy token after each of `tokens`, in one pass; same shape."""
        return self._pass(tokens, num_rows=0)

    def reuse(self, token: torch.Tensor, draft: torch.Tensor, num_accepted: int) -> None:
        """Verify `draft` after `token`, keep `num_accepted` of it and decode what is missing."""
        start = self.cache.get_seq_length()
        rows = self.verify(torch.cat([token, draft], dim=1))
        self._truncate(start + 1 + num_accepted)
        if (missing := draft.shape[1] - num_accepted - 1) > 0:  # the pass gave one more token
            self.decode(rows[:, num_accepted : num_accepted + 1], missing)

    def rewind(self) -> None:
        """Back to the end of the prompt."""
        self._truncate(self.prompt.shape[1])

    def read_prompt(self) -> torch.Tensor:
        """Begin again; the first token, shape (1, 1)."""
        self.cache = DynamicCache()
        return self._pass(self.prompt, num_rows=1)

    def _truncate(self, length: int) -> None:
        if (excess := self.cache.get_seq_length() - length) > 0:
            self.cache.crop(-excess)

    def _pass(self, tokens: torch.Tensor, num_rows: int) -> torch.Tensor:
        """Greedy tokens of the last `num_rows` rows, of all where it is 0."""
        with torch.inference_mode():
            found = self.model(
                input_ids=tokens,
                use_cache=True,
                logits_to_keep=num_rows,
                **{self._cache_name: self.cache},
            )
            return found.logits.argmax(dim=-1)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Of the device where it is one that tells, else of the clock."""
    if device.type != "cuda":
        start_s = time.perf_counter()
        work()
        return time.perf_counter() - start_s
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    work()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3


def measure_shape(
    shape: str, device: torch.device, drafts: Sequence[int], prompt: int
) -> ShapeResult:
    """All lengths of draft with one model."""
    runner = Runner(shape, device, prompt, max(drafts))

    def seconds(work: Callable[[], object], repeats: int = _REPEATS) -> float:
        """Median of `repeats` runs, each from the end of the prompt, after one to warm up."""
        times = []
        while len(times) <= repeats:
            runner.rewind()
            times.append(seconds_of(work, device))
        return statistics.median(times[1:])

    read_s = statistics.median(seconds_of(runner.read_prompt, device) for _ in range(3))
    floor_s = _floor_s(runner, device)
    rows = []
    for count in sorted(drafts):
        runner.rewind()
        draft = runner.decode(runner.first, count)
        offered = torch.cat([runner.first, draft], dim=1)
        decode_s = seconds(lambda n=count: runner.decode(runner.first, n), 1)
        verify_s = seconds(lambda tokens=offered: runner.verify(tokens))
        simulated = []
        for acceptance in ACCEPTANCES:
            num_accepted = expected_accepted(count, acceptance)
            taken_s = seconds(lambda d=draft, n=num_accepted: runner.reuse(runner.first, d, n), 1)
            simulated.append(Simulated(acceptance, num_accepted, taken_s, taken_s / decode_s))
        ratios = (verify_s / decode_s, verify_s / (count * floor_s))
        rows.append(DraftRow(count, decode_s, verify_s, *ratios, tuple(simulated)))
    token_s = rows[-1].decode_s / rows[-1].num_tokens
    rates = Rates(read_s / prompt, token_s, tuple((r.num_tokens + 1, r.verify_s) for r in rows))
    num_parameters = sum(p.numel() for p in runner.model.parameters())
    return ShapeResult(shape, num_parameters, floor_s, rates, tuple(rows))


def expected_accepted(num_tokens: int, acceptance: float) -> int:
    """Tokens before the first that is not accepted, where each is with chance `acceptance`."""
    return round(sum(acceptance**i for i in range(1, num_tokens + 1)))


def _floor_s(runner: Runner, device: torch.device) -> float:
    """Seconds to read all weights once, by how fast the device copies memory."""
    source = torch.empty(1 << 28, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    times = [seconds_of(lambda: target.copy_(source), device) for _ in range(_REPEATS)]
    bytes_a_second = 2 * source.numel() / min(times)
    return sum(p.numel() * p.element_size() for p in runner.model.parameters()) / bytes_a_second


def as_text(result: ShapeResult) -> str:
    lines = [
        f"{result.shape}: {result.num_parameters / 1e9:.2f} billion parameters, a decoding step "
        f"{result.rates.decode_s * 1e3:.2f} ms, weights read in {result.floor_s * 1e3:.2f} ms"
    ]
    for row in result.drafts:
        reused = ", ".join(f"{s.acceptance:g}: {s.ratio:.2f}" for s in row.simulated)
        lines.append(
            f"  {row.num_tokens:>4} tokens: decoded {row.decode_s * 1e3:9.2f} ms, one pass "
            f"{row.verify_s * 1e3:8.2f} ms, ratio {row.ratio:.3f} (to the floor "
            f"{row.ratio_to_floor:.3f}); with the rest decoded, by acceptance: {reused}"
        )
    return "\n".join(lines)


def plot(results: Sequence[ShapeResult], device: str) -> bytes:
    """Ratios to decoding over the length of the draft: a pass alone, then one panel a shape."""
    figure, (first, *panels) = stacked_axes(1 + len(results))
    figure.suptitle(device, fontsize="medium")
    for result in results:
        counts = [row.num_tokens for row in result.drafts]
        first.plot(counts, [row.ratio for row in result.drafts], "o-", label=result.shape)
    first.set_ylabel("one pass over decoding")
    for axes, result in zip(panels, results, strict=True):
        counts = [row.num_tokens for row in result.drafts]
        for i, acceptance in enumerate(ACCEPTANCES):
            ratios = [row.simulated[i].ratio for row in result.drafts]
            axes.plot(counts, ratios, "o-", label=f"{acceptance:g} accepted")
        axes.set_ylabel(f"{result.shape}: reuse over decoding")
    for axes in (first, *panels):
        axes.set_xscale("log", base=2)
        axes.axhline(1.0, color="grey", linestyle=":")
        axes.set_xlabel("tokens of the draft")
        axes.legend(fontsize="small")
    return png_bytes(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 ok, 1 failed, 2 usage."""
    options = _parse(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("error: torch finds no CUDA device here; run it where there is one.", file=sys.stderr)
        return 1
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    results = []
    for shape in options.shape:
        try:
            results.append(measure_shape(shape, device, options.drafts, options.prompt))
        except torch.OutOfMemoryError:
            print(f"{shape}: does not fit into the memory of {name}", file=sys.stderr)
            continue
        finally:
            gc.collect()
            torch.cuda.empty_cache()
        print(as_text(results[-1]), flush=True)
    if not results:
        return 1
    document = {
        "device": name,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "prompt_tokens": options.prompt,
        "shapes": [asdict(result) for result in results],
    }
    image = plot(results, name)
    write_results(options.out, "gpu_verification", document, image, now=datetime.now())
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=list(SHAPES)[1:])
    size = {"type": int, "choices": range(1, 4097), "metavar": "TOKENS"}
    parser.add_argument("--drafts", nargs="+", default=[16, 32, 64, 128, 256, 512], **size)
    parser.add_argument("--prompt", default=512, **size)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
