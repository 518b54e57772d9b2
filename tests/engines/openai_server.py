"""A scripted server on a real loopback socket: plain, vLLM's way or SGLang's, well or badly."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.engines.openai_script import MODEL, Json, Reply, Script, sglang_reply

CONTEXT = 4096

Fault = Callable[["Handler", Json], None]
"""Answers a generation in its own, wrong way."""


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
                {"id": name, "owned_by": script.kind or "someone", "max_model_len": CONTEXT}
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
            return self.reply({"tokens": tokens, "count": len(tokens), "max_model_len": CONTEXT})
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
        if len(prompt) >= CONTEXT:
            said = f"This model's maximum context length is {CONTEXT} tokens, {len(prompt)} came."
            return self.reply({"error": {"message": said}}, 400)
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
