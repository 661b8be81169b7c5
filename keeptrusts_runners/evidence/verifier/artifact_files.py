"""The session's artifacts themselves, where the reader has them, against their digests."""

from __future__ import annotations

import hashlib
import os
import stat
from itertools import zip_longest
from pathlib import Path
from typing import Any

from keeptrusts_runners.evidence.verifier.report import Report, Unusable, shown

_READ_BYTES = 1024 * 1024


def check_files(
    directory: Path, artifacts: list[dict[str, Any]], names: list[str], report: Report
) -> None:
    """Each artifact is looked for by its digest, its id, its name in SHA256SUMS and its own,
    directly in the directory. `names` are the artifacts' of that list, or none.

    A file with other content breaks the verification; one that is not there is reported missing.
    """
    if not directory.is_dir():
        raise Unusable(f"--artifacts {directory}: not a directory")
    matching = 0
    for artifact, listed in zip_longest(artifacts, names):
        found = _find_file(directory, artifact, listed)
        name = shown(artifact.get("name"))
        if found is None:
            report.lacks(f"artifact {name}: no file for it in {directory}")
        elif _sha256(found) == artifact.get("sha256"):
            matching += 1
        else:
            report.break_at(f"artifact {name}", f"{shown(found.name)} has other content")
    report.check("Files", f"{matching} of {len(artifacts)} artifacts have the recorded content")


def _find_file(directory: Path, artifact: dict[str, Any], listed: str | None) -> Path | None:
    for name in (artifact.get("sha256"), artifact.get("id"), listed, artifact.get("name")):
        if isinstance(name, str) and _is_plain_name(name) and _is_plain_file(directory / name):
            return directory / name
    return None


def _is_plain_name(name: str) -> bool:
    """Names are text, never paths: nothing outside the directory is looked at."""
    return name not in ("", ".", "..") and not set(name) & {"/", "\\", "\0"}


def _is_plain_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_READ_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}") from None
    return digest.hexdigest()
