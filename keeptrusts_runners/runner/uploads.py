"""From the output directory to artifacts."""

import mimetypes
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from keeptrusts_runners.runner.client import ApiError
from keeptrusts_runners.runner.session import SessionClient
from keeptrusts_runners.runner.transport import Unreachable

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip", ".tar.xz", ".whl")


class UploadFailed(Exception):
    """An output could not be stored. `retryable` unless the server refused it for what it is."""

    def __init__(self, message: str, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


def upload_outputs(session: SessionClient, directory: Path, resumed_from: int) -> int:
    """Store every regular file below `directory`, in the order of their names; how many. Those of
    `resumed_from` bytes or more over several requests.

    Raises UploadFailed, and LeaseLost as every write does.
    """
    count = 0
    for path in _regular_files(directory):
        name = path.relative_to(directory).as_posix()
        try:
            session.upload(path, name, kind_of(name), media_type_of(name), resumed_from)
        except ApiError as error:
            message = f"{name} was refused: {error.code} {error.detail}".rstrip()
            raise UploadFailed(message, retryable=error.may_pass) from error
        except Unreachable as error:
            raise UploadFailed(f"{name} could not be sent: {error}", retryable=True) from error
        count += 1
    return count


def kind_of(name: str) -> str:
    """What a console shows an output as: a log, a bundle, or a file."""
    if name.endswith(".log"):
        return "log"
    return "bundle" if name.endswith(_ARCHIVES) else "file"


def media_type_of(name: str) -> str:
    guessed, encoding = mimetypes.guess_type(name)
    if encoding == "gzip":
        return "application/gzip"
    return guessed or "application/octet-stream"


def _regular_files(directory: Path) -> Iterator[Path]:
    """No links and no devices: a harness must not make the runner send a file of the host."""
    for parent, folders, files in os.walk(directory):
        folders.sort()
        for name in sorted(files):
            path = Path(parent, name)
            if stat.S_ISREG(path.lstat().st_mode):
                yield path
