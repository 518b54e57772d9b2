"""From token bytes to text: UTF-8 never cut, stop strings found across token borders."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from itertools import accumulate


class TextStream:
    """Collects the bytes of an answer; releases text that can no longer become a stop string."""

    def __init__(self, stop: tuple[str, ...] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stop = stop
        self._text = ""
        self._num_released = 0
        self.stopped = False

    @property
    def text(self) -> str:
        """The released text so far."""
        return self._text[: self._num_released]

    def push(self, piece: bytes) -> str:
        """Add bytes and return the text they release; nothing more after a stop string."""
        if self.stopped:
            return ""
        start = max(0, len(self._text) - max(map(len, self._stop), default=0))
        self._text += self._decoder.decode(piece)
        found = [at for s in self._stop if (at := self._text.find(s, start)) >= 0]
        if found:
            self.stopped = True
            self._text = self._text[: min(found)]
            return self._release(len(self._text))
        return self._release(len(self._text) - self._num_held())

    def finish(self) -> str:
        """Release what was held back; bytes of an unfinished character are dropped."""
        return self._release(len(self._text))

    def _release(self, end: int) -> str:
        end = max(end, self._num_released)
        new = self._text[self._num_released : end]
        self._num_released = end
        return new

    def _num_held(self) -> int:
        """Length of the longest end of the text that begins a stop string."""
        longest = max(map(len, self._stop), default=0) - 1
        for length in range(min(longest, len(self._text)), 0, -1):
            if any(s.startswith(self._text[-length:]) for s in self._stop):
                return length
        return 0


def token_ends(pieces: Iterable[bytes]) -> tuple[int, ...]:
    """The bytes of a text up to each token's end."""
    return tuple(accumulate(map(len, pieces)))
