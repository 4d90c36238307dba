"""Output that has come and that nobody has been given yet."""

from __future__ import annotations

import codecs
import re
from collections import deque

from .results import Output


class Held:
    """Pieces of output, in the order in which they came. Texts are looked for in standard output and the terminal."""

    def __init__(self) -> None:
        # Each with the bytes before it that belong to its first character, and were in a piece before.
        self._pieces: deque[tuple[Output, bytes]] = deque()
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}
        # What `text` was when it was asked for, and what has come since: most output is never looked through. None when a part
        # of it was taken meanwhile.
        self._text: str | None = ""
        self._new: list[str] = []

    @property
    def text(self) -> str:
        """All texts that are held, one after the other."""
        if self._text is None:
            self._text = "".join(output.text for output, _ in self._pieces if output.stream != "stderr")
        elif self._new:
            self._text = "".join((self._text, *self._new))
        self._new.clear()
        return self._text

    def output(self, stream: str, data: bytes) -> tuple[Output, bytes]:
        """A piece with its text, and the bytes of its first character that were in the piece before."""
        decoder = self._decoders.get(stream)
        if decoder is None:
            decoder = self._decoders[stream] = codecs.getincrementaldecoder("utf-8")("replace")
        before = decoder.getstate()[0]
        return Output(stream, data, decoder.decode(data)), before

    def add(self, piece: tuple[Output, bytes]) -> None:
        """Keeps a piece."""
        self._pieces.append(piece)
        if piece[0].stream != "stderr":
            self._new.append(piece[0].text)

    def first(self) -> Output | None:
        """Takes the first piece."""
        if not self._pieces:
            return None
        output, _ = self._pieces.popleft()
        if output.stream != "stderr":
            self._text = None
        return output

    def take_until(self, pattern: re.Pattern[str]) -> str | None:
        """Takes the text up to the end of what the pattern finds, if it finds something. Standard error stays."""
        text = self.text
        found = pattern.search(text)
        if found is None:
            return None
        length = found.end()
        taken, self._text = text[:length], text[length:]
        rest: deque[tuple[Output, bytes]] = deque()
        while self._pieces and length > 0:
            output, before = self._pieces.popleft()
            if output.stream == "stderr":
                rest.append((output, before))
                continue
            if length < len(output.text) or (length == len(output.text) and output.text):
                left = (before + output.data)[_place(before + output.data, output.text[:length]) :]
                if left:
                    rest.append((Output(output.stream, left, output.text[length:]), b""))
            length -= min(length, len(output.text))
        self._pieces.extendleft(reversed(rest))
        return taken

    def all(self) -> dict[str, bytes]:
        """Takes everything, as the bytes of each stream."""
        parts: dict[str, list[bytes]] = {}
        for output, _ in self._pieces:
            parts.setdefault(output.stream, []).append(output.data)
        self._pieces.clear()
        self._text = ""
        self._new.clear()
        return {stream: b"".join(found) for stream, found in parts.items()}


def _place(data: bytes, text: str) -> int:
    """Where the bytes end that a decoder makes this text of, with which its text begins."""
    simple = text.encode("utf-8", "replace")
    if data.startswith(simple):
        return len(simple)
    # There are bytes in it that are no UTF-8.
    decoder, length = codecs.getincrementaldecoder("utf-8")("replace"), 0
    for place in range(len(data)):
        length += len(decoder.decode(data[place : place + 1]))
        if length > len(text):
            return place
        if length == len(text):
            # What is pending belongs to what follows.
            return place + 1 - len(decoder.getstate()[0])
    return len(data)
