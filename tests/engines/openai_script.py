"""What a scripted server says, in the forms of OpenAI, vLLM and SGLang."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.engines.openai_model import END, TinyModel

MODEL = "tiny-7b"
Json = dict[str, Any]


@dataclass
class Script:
    """What the server is and does. `fault` takes the place of the first `num_faults` answers."""

    model: TinyModel = field(default_factory=TinyModel)
    kind: str = ""
    fault: Callable[[Any, Json], None] | None = None
    num_faults: int = 1 << 30
    logprobs: bool = True
    counts: bool = True
    usage: Callable[[Json], Json | None] = lambda usage: usage
    refuses: dict[str, str] = field(default_factory=dict)
    """Parameters, with what it says of them."""

    pause_s: float = 0.0
    key: str = ""
    prompts: set[tuple[int, ...]] = field(default_factory=set)
    models: tuple[str, ...] = (MODEL,)
    more: Json = field(default_factory=dict)
    """Fields of its messages."""

    holds_back: bool = False
    """Whether a stream's last event has text, whose token was told before it."""

    cached: bool = False
    """Whether it tells how much of a prompt it knew from an equal one."""


class Reply:
    """One generation in the form of chats or of completions."""

    def __init__(
        self, script: Script, prompt: list[int], tokens: list[int], body: Json, is_chat: bool
    ) -> None:
        self._script, self._prompt, self._body, self._is_chat = script, prompt, body, is_chat
        model = script.model
        text = model.text(tokens)
        found = [at for s in body.get("stop", ()) if (at := text.find(s)) >= 0]
        self.stop = text[min(found) :] if found else None
        self.text = text[: min(found)] if found else text
        self.tokens, self.num_shown = tokens, 0
        if found:  # what comes after the stop string was never decoded
            ends = [len(model.text(tokens[: i + 1])) for i in range(len(tokens))]
            last = next(
                i for i, end in enumerate(ends) if any(s in text[:end] for s in body["stop"])
            )
            self.tokens = tokens[: last + 1]
        self.finish = "stop" if found or END in tokens else "length"
        usage: Json = {"prompt_tokens": len(prompt), "completion_tokens": len(self.tokens)}
        if script.cached:
            again = tuple(prompt) in script.prompts
            usage["prompt_tokens_details"] = {"cached_tokens": len(prompt) - 1 if again else 0}
            script.prompts.add(tuple(prompt))
        self.usage = script.usage(usage)

    def whole(self) -> Json:
        content = {"content": self.text, "role": "assistant"} | self._script.more
        said = {"message": content} if self._is_chat else {"text": self.text}
        choice = said | {"index": 0, "finish_reason": self.finish} | self._reason()
        choice |= {"logprobs": self._logprobs(range(len(self.tokens)))}
        if "prompt_logprobs" in self._body:
            rows = prompt_rows(self._script.model, self._prompt, self._body["prompt_logprobs"])
            choice["prompt_logprobs"] = rows
        return {"choices": [choice], **({"usage": self.usage} if self.usage else {})}

    def pieces(self) -> Iterator[Json]:
        """A token each; bytes of a character that is not whole wait for the rest."""
        model, shown = self._script.model, 0
        if self._is_chat:
            yield self._piece("", [])
        waiting: list[int] = []
        for place in range(len(self.tokens)):
            waiting.append(place)
            text = model.text(self.tokens[: place + 1])
            if text.endswith("\ufffd") and place < len(self.tokens) - 1:
                continue
            text = self.text if place == len(self.tokens) - 1 else text[: len(self.text)]
            text = text[:-1] if self._script.holds_back else text
            self.num_shown = place + 1
            yield self._piece(text[shown:], waiting)
            shown, waiting = max(shown, len(text)), []
        yield self._piece(self.text[shown:], [], self.finish)
        if self._body.get("stream_options", {}).get("include_usage") and self.usage:
            yield {"choices": [], "usage": self.usage}

    def _piece(self, text: str, places: list[int], finish: str | None = None) -> Json:
        said = {"delta": {"content": text}} if self._is_chat else {"text": text}
        logprobs = self._logprobs(places) if places else None
        choice = said | {"index": 0, "finish_reason": finish, "logprobs": logprobs}
        counts = self._body.get("stream_options", {}).get("continuous_usage_stats")
        usage = {"prompt_tokens": len(self._prompt), "completion_tokens": self.num_shown}
        choices = [choice | (self._reason() if finish else {})]
        return {"choices": choices, "usage": usage if counts else None}

    def _reason(self) -> Json:
        if self._script.kind == "sglang":
            return {"matched_stop": END if self.stop is None else self.stop}
        return {"stop_reason": self.stop} if self._script.kind == "vllm" else {}

    def _logprobs(self, places: Any) -> Json | None:
        if not self._script.logprobs or not self._body.get("logprobs"):
            return None
        model, context = self._script.model, self._prompt
        rows = [(self.tokens[i], model.logprobs([*context, *self.tokens[:i]])) for i in places]
        if not self._is_chat:
            count = self._body["logprobs"]
            return {
                "tokens": [model.name_of(token) for token, _ in rows],
                "token_logprobs": [float(row[token]) for token, row in rows],
                # keys are what makes tokens of one text one entry, as in real servers
                "top_logprobs": [
                    {f"{t}:{model.name_of(t)}": float(row[t]) for t in best(row, count)}
                    for _, row in rows
                ],
            }
        count = self._body["top_logprobs"]
        return {
            "content": [
                _entry(model, token, row)
                | {"top_logprobs": [_entry(model, t, row) for t in best(row, count)]}
                for token, row in rows
            ]
        }


def _entry(model: TinyModel, token: int, row: Any) -> Json:
    raw = b"<end>" if token == END else model.bytes_of(token)
    return {"token": model.name_of(token), "bytes": list(raw), "logprob": float(row[token])}


def best(row: Any, count: int) -> list[int]:
    return [int(token) for token in (-row).argsort(kind="stable")[:count]]


def prompt_rows(model: TinyModel, prompt: list[int], count: int) -> list[Json | None]:
    """vLLM: of every token of the prompt but the first, with the likeliest in its place."""
    rows: list[Json | None] = [None]
    for place in range(1, len(prompt)):
        row, token = model.logprobs(prompt[:place]), prompt[place]
        wanted = dict.fromkeys([token, *best(row, count)])
        rows.append(
            {
                str(t): {
                    "logprob": float(row[t]),
                    "rank": int((row >= row[t]).sum()),
                    "decoded_token": model.name_of(t),
                }
                for t in wanted
            }
        )
    return rows


def sglang_reply(model: TinyModel, body: Json) -> Json:
    """SGLang: of the input from a place on; the first row has nothing before it."""
    ids, start = body["input_ids"], body["logprob_start_len"]
    made = model.greedy(ids, body["sampling_params"]["max_new_tokens"])
    chosen: list[Any] = [[None, ids[start], model.name_of(ids[start])]]
    likeliest: list[Any] = [None]
    for place in range(start + 1, len(ids)):
        row = model.logprobs(ids[:place])
        chosen.append([float(row[ids[place]]), ids[place], model.name_of(ids[place])])
        top = best(row, body["top_logprobs_num"])
        likeliest.append([[float(row[t]), t, model.name_of(t)] for t in top])
    reason = {"type": "stop", "matched": END} if END in made else {"type": "length"}
    return {
        "text": model.text(made),
        "meta_info": {
            "finish_reason": reason,
            "prompt_tokens": len(ids),
            "completion_tokens": len(made),
            "input_token_logprobs": chosen,
            "input_top_logprobs": likeliest,
        },
    }
