"""The hub data sets that are known: where each lies, its licence, and what its rows mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adaptive_sd.data.hub import rows
from adaptive_sd.data.hub.rows import Question, Row


@dataclass(frozen=True, slots=True)
class HubSet:
    """A split of a data set on the hub; `configs` are read one after the other.

    Where the hub's copy is a loading script, which is never run, `files` are its data files by
    configuration ({config}). `licence` is what its card or paper says; nothing is redistributed.
    """

    hub_id: str
    split: str
    to_question: Callable[[Row], Question | None]
    licence: str
    configs: tuple[str | None, ...] = (None,)
    files: str | None = None


_MATH_TYPES = (
    *("algebra", "counting_and_probability", "geometry", "intermediate_algebra"),
    *("number_theory", "prealgebra", "precalculus"),
)
_LONG_BENCH = ("narrativeqa", "qasper", "multifieldqa_en", "hotpotqa", "2wikimqa", "musique")
_CONVERTED = "refs/convert/parquet"  # the hub's own conversion of every public set

HUB_SETS = {
    "mmlu": HubSet("cais/mmlu", "test", rows.mmlu, "MIT", ("all",)),
    "mmlu-pro": HubSet("TIGER-Lab/MMLU-Pro", "test", rows.mmlu_pro, "MIT"),
    "gsm8k": HubSet("openai/gsm8k", "test", rows.gsm8k, "MIT", ("main",)),
    "math": HubSet("EleutherAI/hendrycks_math", "test", rows.math, "MIT", _MATH_TYPES),
    "math-500": HubSet("HuggingFaceH4/MATH-500", "test", rows.math_500, "MIT"),
    "humaneval": HubSet("openai/openai_humaneval", "test", rows.human_eval, "MIT"),
    "mbpp": HubSet("google-research-datasets/mbpp", "test", rows.mbpp, "CC-BY-4.0", ("full",)),
    "arc-easy": HubSet("allenai/ai2_arc", "test", rows.arc, "CC-BY-SA-4.0", ("ARC-Easy",)),
    "arc-challenge": HubSet(
        "allenai/ai2_arc", "test", rows.arc, "CC-BY-SA-4.0", ("ARC-Challenge",)
    ),
    "hotpotqa": HubSet(
        "hotpotqa/hotpot_qa", "validation", rows.hotpot_qa, "CC-BY-SA-4.0", ("distractor",)
    ),
    "triviaqa": HubSet(
        *("mandarjoshi/trivia_qa", "validation", rows.trivia_qa),
        licence="unknown: the questions belong to their trivia sites",
        configs=("rc.nocontext",),
    ),
    "squad": HubSet("rajpurkar/squad", "validation", rows.squad, "CC-BY-SA-4.0", ("plain_text",)),
    "truthfulqa": HubSet(
        *("truthfulqa/truthful_qa", "validation", rows.truthful_qa, "Apache-2.0"),
        configs=("multiple_choice",),
    ),
    "longbench": HubSet(
        *("zai-org/LongBench", "test", rows.long_bench),
        licence="MIT; its texts keep the licences of the sets they come from",
        configs=_LONG_BENCH,
        files=f"hf://datasets/zai-org/LongBench@{_CONVERTED}/{{config}}/test/*.parquet",
    ),
    "alpaca-eval": HubSet(
        *("tatsu-lab/alpaca_eval", "eval", rows.alpaca_eval, "CC-BY-NC-4.0"),
        files="hf://datasets/tatsu-lab/alpaca_eval/alpaca_eval.json",
    ),
    "mt-bench": HubSet("HuggingFaceH4/mt_bench_prompts", "train", rows.mt_bench, "Apache-2.0"),
}
"""By the name that follows `hub:`."""
