"""A scripted server on a real loopback socket: plain, vLLM's way or SGLang's, well or badly."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.engines.openai_model import END, TinyModel

MODEL = "tiny-7b"
Json = dict[str, Any]
Fault = Callable[["Handler", Json], None]
"""Answers a generation in its own, wrong way."""


@dataclass
class Script:
    """What the server is and does. `fault` takes the place of the first `num_faults` answers."""

    model: TinyModel = field(default_factory=TinyModel)
    kind: str = ""
    fault: Fault | None = None
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
    cached: bool = False
    """Whether it tells how much of a prompt it knew from an equal one."""


class Server(ThreadingHTTPServer):
    """Keeps (path, body) of every request, and how many are being answered."""

    daemon_threads = True

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script = script
        self.asked: list[tuple[str, Json]] = []
        self.sockets: set[Any] = set()
        self._lock = threading.Lock()
        self.num_open = 0
        self.num_broken = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def generations(self) -> list[Json]:
        return [body for path, body in self.asked if path.endswith("completions")]

    def enter(self) -> None:
        with self._lock:
            self.num_open += 1

    def leave(self, broken: bool) -> None:
        with self._lock:
            self.num_open -= 1
            self.num_broken += broken

    def settle(self) -> int:
        """How many requests are still being answered after a while."""
        end = time.monotonic() + 5
        while self.num_open and time.monotonic() < end:
            time.sleep(0.005)
        return self.num_open

    def handle_error(self, *_: object) -> None:
        pass


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server.sockets.add(self.client_address)

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, body: Json) -> None:
        self.server.asked.append((self.path, body))
        self.server.enter()
        broken = True
        try:
            self._route(body)
            broken = False
        except OSError:
            self.close_connection = True
        finally:
            self.server.leave(broken)

    def _route(self, body: Json) -> None:
        script = self.server.script
        if script.key and self.headers.get("Authorization") != f"Bearer {script.key}":
            return self.reply({"error": {"message": "no such key"}}, 401)
        is_generation = self.path in ("/v1/chat/completions", "/v1/completions")
        if is_generation and script.fault is not None and script.num_faults > 0:
            script.num_faults -= 1
            return script.fault(self, body)
        for name, said in script.refuses.items():
            if name in body:
                return self.reply({"error": {"message": said}}, 400)
        if self.path == "/v1/models":
            listed = [
                {"id": name, "owned_by": script.kind or "someone", "max_model_len": 4096}
                for name in script.models
            ]
            return self.reply({"object": "list", "data": listed})
        if body.get("model", MODEL) not in script.models and is_generation:
            said = f"The model `{body['model']}` does not exist."
            return self.reply({"error": {"message": said, "code": 404}}, 404)
        if is_generation:
            return self._generate(body)
        if script.kind in ("vllm", "sglang"):
            return self._native(script.kind, body)
        return self.reply({"detail": "Not Found"}, 404)

    def _native(self, kind: str, body: Json) -> None:
        model = self.server.script.model
        if self.path == "/tokenize":
            is_chat = "messages" in body
            tokens = model.chat(body["messages"]) if is_chat else model.tokens(body["prompt"])
            return self.reply({"tokens": tokens, "count": len(tokens), "max_model_len": 4096})
        if self.path == "/detokenize":
            name = "prompt" if kind == "vllm" else "text"
            return self.reply({name: model.text(body["tokens"])})
        if self.path == "/version" and kind == "vllm":
            return self.reply({"version": "0.29.0"})
        if self.path == "/generate" and kind == "sglang":
            return self.reply(sglang_reply(model, body))
        return self.reply({"detail": "Not Found"}, 404)

    def _generate(self, body: Json) -> None:
        script, model = self.server.script, self.server.script.model
        is_chat = self.path == "/v1/chat/completions"
        prompt = model.chat(body["messages"]) if is_chat else body["prompt"]
        if isinstance(prompt, str):
            prompt = model.tokens(prompt)
        limit = body.get("max_tokens", body.get("max_completion_tokens"))
        reply = Reply(script, prompt, model.greedy(prompt, limit), body, is_chat)
        if not body.get("stream"):
            return self.reply(reply.whole())
        self.begin_stream()
        for piece in reply.pieces():
            self.event(piece)
            time.sleep(script.pause_s)
        self.end_stream()

    def begin_stream(self, kind: str = "text/event-stream") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def event(self, document: object) -> None:
        self.chunk(f"data: {json.dumps(document)}\n\n".encode())

    def chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def end_stream(self) -> None:
        self.chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def reply(self, document: object, status: int = 200, **headers: str) -> None:
        self.send_bytes(json.dumps(document).encode(), status, **headers)

    def send_bytes(
        self, data: bytes, status: int = 200, *, length: int | None = None, **headers: str
    ) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)

    def wait_for_hang_up(self) -> None:
        """Until the client closes the connection."""
        with suppress(OSError):
            self.connection.recv(1)
        raise ConnectionError("the client has gone")

    def log_message(self, *_: object) -> None:
        pass


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
        content = {"content": self.text, "role": "assistant"}
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
            self.num_shown = place + 1
            yield self._piece(text[shown:], waiting)
            shown, waiting = max(shown, len(text)), []
        yield self._piece("", [], self.finish)
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


@contextmanager
def serving(script: Script | None = None) -> Iterator[Server]:
    """A server that ends with the block."""
    server = Server(script or Script())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
