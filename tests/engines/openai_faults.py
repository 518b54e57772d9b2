"""Ways in which a server fails, for the script of tests.engines.openai_server."""

from __future__ import annotations

import socket
import struct
import time

from tests.engines.openai_script import Json
from tests.engines.openai_server import Fault, Handler


def reset(handler: Handler, body: Json) -> None:
    """RST: unread data and nothing lingering."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    raise ConnectionError("reset")


def hang_before_headers(handler: Handler, body: Json) -> None:
    handler.wait_for_hang_up()


def hang_after_headers(handler: Handler, body: Json) -> None:
    if body.get("stream"):
        handler.begin_stream()
    else:
        handler.send_bytes(b"", length=999)
    handler.wait_for_hang_up()


def cut(handler: Handler, body: Json) -> None:
    """The connection ends in the middle of the answer."""
    if body.get("stream"):
        handler.begin_stream()
        handler.event({"choices": [{"delta": {"content": "half an"}, "finish_reason": None}]})
    else:
        handler.send_bytes(b'{"choices": [', length=999)
    handler.close_connection = True


def send(handler: Handler, body: Json, document: Json) -> None:
    """All of the reply, or the only event of its stream."""
    if not body.get("stream"):
        return handler.reply(document)
    handler.begin_stream()
    handler.event(document)
    handler.end_stream()


def end_early(handler: Handler, body: Json) -> None:
    """A whole reply without the end of the answer."""
    piece = {"content": "half an"}
    send(handler, body, {"choices": [{"delta": piece, "message": piece, "finish_reason": None}]})


def fail_inside(handler: Handler, body: Json) -> None:
    """An error's document after a status of success."""
    send(handler, body, {"error": {"message": "CUDA out of memory", "code": 500}})


def status(code: int, **headers: str) -> Fault:
    document = {"error": {"message": "not now", "type": "overloaded_error"}}
    return lambda handler, body: handler.reply(document, code, **headers)


def html(handler: Handler, body: Json) -> None:
    handler.send_bytes(b"<html><body>Welcome</body></html>", Content_Type="text/html")


def bad_json(handler: Handler, body: Json) -> None:
    if not body.get("stream"):
        return handler.send_bytes(b'{"choices": [}')
    handler.begin_stream()
    handler.chunk(b'data: {"choices": [}\n\n')
    handler.end_stream()


def other_json(handler: Handler, body: Json) -> None:
    if not body.get("stream"):
        return handler.reply(["no", "answer"])
    handler.begin_stream()
    handler.event({"choices": [{"delta": {"content": 7}}]})
    handler.end_stream()


def bad_utf8(handler: Handler, body: Json) -> None:
    if not body.get("stream"):
        return handler.send_bytes(b'\xff\xfe{"choices"')
    handler.begin_stream()
    handler.chunk(b"data: \xff\xfe\n\n")
    handler.end_stream()


def drip(handler: Handler, body: Json) -> None:
    """A byte at a time, and never the whole."""
    if body.get("stream"):
        handler.begin_stream()
        handler.event({"choices": [{"delta": {"content": "so"}, "finish_reason": None}]})
    else:
        handler.send_bytes(b"", length=9999)
    while True:
        if body.get("stream"):
            handler.chunk(b":")
        else:
            handler.wfile.write(b" ")
        time.sleep(0.02)
