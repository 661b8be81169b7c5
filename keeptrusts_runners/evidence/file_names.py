"""File names for foreign names: what is saved is a plain file in one directory, whatever the name.

Standard library alone: the verifier carries it.
"""

from __future__ import annotations

import re
import unicodedata

NAMELESS = "artifact"
# Of UTF-8, which is what file systems count.
MAX_NAME_BYTES = 255

_UNSEEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
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


def sums_line(sha256: str, name: str) -> str:
    """A line of a list for `sha256sum -c`, with its end. A name with a backslash or the end of a
    line is escaped, and its line marked with a backslash (coreutils)."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{chr(92) if escaped != name else ''}{sha256}  {escaped}\n"
