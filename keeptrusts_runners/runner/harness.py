"""From a harness revision to a command: find the file, copy it, verify the copy."""

import hashlib
import hmac
import re
import shutil
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

HELPER_NAME = "keeptrusts_harness.py"
_REFERENCE = re.compile(r"file:([A-Za-z0-9_][A-Za-z0-9._-]{0,127})")


class HarnessRefused(Exception):
    """This harness will not be executed. `retryable` when another runner may have it."""

    def __init__(self, code: str, message: str, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


@dataclass(frozen=True)
class Prepared:
    """A command whose file was verified, and the digests that belong in the ledger."""

    name: str
    version: str
    command: list[str]
    digest: str
    helper_digest: str


def prepare(harness: dict[str, Any] | None, source: Path, target: Path) -> Prepared:
    """Copy the pinned file from `source` into `target`, verify the copy, place the helper.

    Raises HarnessRefused.
    """
    if harness is None:
        raise HarnessRefused("harness_missing", "the session was dispatched without a harness")
    name = _file_name(harness)
    copy = target / name
    try:
        shutil.copyfile(source / name, copy)
    except OSError as error:
        message = f"this runner has no readable harness {name}: {error.strerror}"
        raise HarnessRefused("harness_not_found", message, retryable=True) from error
    copy.chmod(0o700)
    digest = _verified_digest(harness, copy)
    return Prepared(
        name=name,
        version=str(harness.get("version") or ""),
        command=_command(harness, copy),
        digest=digest,
        helper_digest=_place_helper(target),
    )


def _file_name(harness: dict[str, Any]) -> str:
    reference = str(harness.get("image_ref"))
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        message = f"this runner executes harnesses named file:NAME, not {reference}"
        raise HarnessRefused("harness_unsupported", message)
    if match[1] == HELPER_NAME:
        raise HarnessRefused("harness_unsupported", f"{HELPER_NAME} is a module, not a harness")
    return match[1]


def _verified_digest(harness: dict[str, Any], copy: Path) -> str:
    """The copy is what will be executed, so the copy is what is measured."""
    found = f"sha256:{_sha256(copy.read_bytes())}"
    pinned = harness.get("image_digest")
    if not pinned:
        message = f"the revision pins no image_digest; the file here has {found}"
        raise HarnessRefused("harness_not_pinned", message)
    if not hmac.compare_digest(found.encode(), str(pinned).encode()):
        message = f"the revision pins {pinned}, the file here has {found}"
        raise HarnessRefused("harness_digest_mismatch", message)
    return found


def _command(harness: dict[str, Any], copy: Path) -> list[str]:
    places = {"{harness}": str(copy), "{python}": sys.executable}
    entrypoint = [str(part) for part in harness.get("entrypoint") or ["{harness}"]]
    return [places.get(part, part) for part in entrypoint]


def _place_helper(target: Path) -> str:
    data = resources.files(__package__).joinpath(HELPER_NAME).read_bytes()
    (target / HELPER_NAME).write_bytes(data)
    return f"sha256:{_sha256(data)}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
