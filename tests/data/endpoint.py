"""A scripted OpenAI-compatible endpoint on a real loopback socket."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Script = Callable[["Handler", dict[str, Any]], None]
"""Answers one request, whose body is given, as well or as badly as it likes."""


class Handler(BaseHTTPRequestHandler):
    """Keeps what was asked and lets the script answer."""

    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers.get("Authorization"), body))
        self.server.script(self, body)

    def reply(self, body: bytes, status: int = 200, *, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Holds the script and what was asked: (path, authorization, body)."""

    daemon_threads = True
    script: Script
    asked: list[tuple[str, str | None, dict[str, Any]]]

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def serving(script: Script) -> Iterator[tuple[str, Server]]:
    """The base URL and the server, which ends with the block."""
    server = Server(("127.0.0.1", 0), Handler)
    server.script, server.asked = script, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def completion(text: object) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


def saying(text: object) -> Script:
    return lambda handler, body: handler.reply(completion(text))


def answering(body: bytes, status: int = 200) -> Script:
    return lambda handler, _: handler.reply(body, status)


def hanging(handler: Handler, body: dict[str, Any]) -> None:
    time.sleep(2)


def closing(handler: Handler, body: dict[str, Any]) -> None:
    handler.close_connection = True


def cut(handler: Handler, body: dict[str, Any]) -> None:
    handler.reply(completion("Score: 9")[:20], length=500)
    handler.close_connection = True


def dripping(handler: Handler, body: dict[str, Any]) -> None:
    handler.reply(b"", length=1000)
    for _ in range(200):
        handler.wfile.write(b" ")
        time.sleep(0.02)


def echoing_the_key(handler: Handler, body: dict[str, Any]) -> None:
    handler.reply(completion(f"your header was {handler.headers.get('Authorization')}"))
