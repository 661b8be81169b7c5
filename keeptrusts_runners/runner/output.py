"""Lines of a harness's stdout and stderr, in order and bounded in length."""

import os
import selectors
import threading
from collections.abc import Callable
from typing import IO

LINE_LIMIT = 8192
_CHUNK = 65536

OnLine = Callable[[str, str, int], None]
"""Called with the stream's name, the text, and how many bytes were cut from it."""


class LineSplitter:
    """Bytes in, lines out; of a line longer than LINE_LIMIT only its beginning is ever held."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._cut = 0

    def feed(self, data: bytes) -> list[tuple[str, int]]:
        """The lines that `data` completes, each with the number of bytes cut off."""
        *complete, rest = data.split(b"\n")
        lines = []
        for part in complete:
            self._hold(part)
            lines.append(self._release())
        self._hold(rest)
        return lines

    def finish(self) -> list[tuple[str, int]]:
        """The last line, when the output did not end with a line feed."""
        return [self._release()] if self._held else []

    def _hold(self, part: bytes) -> None:
        room = LINE_LIMIT - len(self._held)
        self._held += part[:room]
        self._cut += max(0, len(part) - room)

    def _release(self) -> tuple[str, int]:
        line, cut = bytes(self._held), self._cut
        self._held.clear()
        self._cut = 0
        if cut:
            whole = _whole_characters(line)
            line, cut = whole, cut + len(line) - len(whole)
        return _text(line), cut


class OutputReader:
    """Reads both streams on one thread until both have ended.

    `on_line` may block: then nothing is read, the pipes fill, and the harness waits. That is
    how memory stays bounded without losing a line.
    """

    def __init__(self, stdout: IO[bytes], stderr: IO[bytes], on_line: OnLine) -> None:
        self._streams = {"stdout": stdout, "stderr": stderr}
        self._on_line = on_line
        self._thread = threading.Thread(target=self._read, name="harness output", daemon=True)
        self._thread.start()

    def join(self, seconds: float) -> bool:
        """Whether both streams came to their end in that time."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _read(self) -> None:
        stdout, stderr = self._streams.values()
        with stdout, stderr, selectors.DefaultSelector() as selector:
            for name, stream in self._streams.items():
                selector.register(stream, selectors.EVENT_READ, (name, LineSplitter()))
            while selector.get_map():
                for key, _ in selector.select():
                    name, splitter = key.data
                    data = os.read(key.fd, _CHUNK)
                    for text, cut in splitter.feed(data) if data else splitter.finish():
                        self._on_line(name, text, cut)
                    if not data:
                        selector.unregister(key.fileobj)


def _text(line: bytes) -> str:
    """Text that any JSON reader takes: valid UTF-8 without NUL."""
    return line.removesuffix(b"\r").decode("utf-8", "replace").replace("\0", "\ufffd")


def _whole_characters(line: bytes) -> bytes:
    """Without a UTF-8 sequence that the end of `line` breaks off."""
    for back in range(1, min(4, len(line)) + 1):
        byte = line[-back]
        if byte & 0b1100_0000 != 0b1000_0000:
            needed = 1 + (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0)
            return line[:-back] if needed > back else line
    return line
