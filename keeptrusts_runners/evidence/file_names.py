"""File names for foreign names: what is saved is a plain file in one directory, whatever the name;
and the list of a session's files that `sha256sum -c` reads."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

NAMELESS = "artifact"
# What the list itself is saved as.
SUMS_NAME = "SHA256SUMS"
# Of UTF-8, which is what file systems count.
MAX_NAME_BYTES = 255

_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r"})
_EXTENSION = re.compile(r"(?<=[^.])(?:\.[A-Za-z0-9]{1,8}){1,2}$")


def file_name(name: str) -> str:
    """The last part of a name, without what no reader sees, no longer than a file's name may be.
    Never empty, `.` or `..`, and never with a separator or a control character."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    seen = "".join("_" if unicodedata.category(c) in _UNSEEN_CATEGORIES else c for c in last)
    return shortened(seen) if seen.strip(". ") else NAMELESS


def shortened(name: str, suffix: str = "") -> str:
    """The name with `suffix` before its extension, cut before both to be short enough."""
    found = _EXTENSION.search(name)
    extension = found[0] if found else ""
    stem = name.removesuffix(extension) if extension else name
    room = MAX_NAME_BYTES - len((suffix + extension).encode())
    return stem.encode()[:room].decode("utf-8", "ignore") + suffix + extension


@dataclass(frozen=True, slots=True)
class Listed:
    """A file as the list has it: `id` is text; of removed content the digest is all there is."""

    id: str
    name: str
    sha256: str
    removed: bool = False


def sums(files: Iterable[Listed]) -> Iterator[str]:
    """One line for each file, in order, under names that are safe and differ also where case or
    composition do not count. The first to come keeps its name. Removed content is in a comment."""
    taken = {_key(SUMS_NAME)}
    for file in files:
        name = file_name(file.name)
        while _key(name) in taken:
            name = shortened(name, f".{file.id}")
        taken.add(_key(name))
        yield ("# removed: " if file.removed else "") + sums_line(file.sha256, name)


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def sums_line(sha256: str, name: str) -> str:
    """A line of a list for `sha256sum -c`, with its end. A name with a backslash or the end of a
    line is escaped, and its line marked with a backslash, as coreutils do."""
    escaped = name.translate(_ESCAPES)
    return f"{'' if escaped == name else chr(92)}{sha256}  {escaped}\n"
