"""Text comes out whole however its bytes are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adaptive_sd.engines.text import TextStream


def _cut(raw: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(raw[at : at + size])
        at += size
    return [*pieces, raw[at:]]


@given(st.text(), st.lists(st.integers(1, 4)))
def test_utf8_is_never_cut(text: str, sizes: list[int]) -> None:
    stream = TextStream()
    released = [stream.push(piece) for piece in _cut(text.encode(), sizes)]
    assert "".join(released) + stream.finish() == text == stream.text
    assert "\ufffd" not in "".join(released) or "\ufffd" in text


@given(
    st.text("abé", max_size=30),
    st.lists(st.text("abé", min_size=1, max_size=4), min_size=1, max_size=3),
    st.lists(st.integers(1, 3), max_size=30),
)
def test_stops_at_the_first_stop_string_wherever_it_is_cut(
    text: str, stop: list[str], sizes: list[int]
) -> None:
    stream = TextStream(tuple(stop))
    released = ""
    for piece in _cut(text.encode(), sizes):
        released += stream.push(piece)
        if stream.stopped:
            break
    released += stream.finish()
    found = [at for s in stop if (at := text.find(s)) >= 0]
    assert stream.stopped == bool(found)
    assert released == stream.text
    if found:  # cut before a stop string, and nothing that was released had to be taken back
        assert any(text[len(released) :].startswith(s) for s in stop)
        assert not any(s in released for s in stop)
    else:
        assert released == text


def test_bytes_of_an_unfinished_character_are_dropped() -> None:
    stream = TextStream()
    assert stream.push("a€".encode()[:-1]) + stream.finish() == "a"
