"""``runner artifacts get``: a session's artifacts, whole and verified, in a directory."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keeptrusts_runners.runner.client import ApiError, Client
from keeptrusts_runners.runner.downloads import Directory, NotSaved, Wanted, listed
from keeptrusts_runners.runner.report import harmless
from keeptrusts_runners.runner.tokens import ClientCredentials, SecretUnreadable, read_secret
from keeptrusts_runners.runner.transport import Transport, Unreachable

DESCRIPTION = (
    "Downloads artifacts of a session. A download that was cut goes on where it was, and a file is "
    "there under its name only with the digest that was recorded. Nothing is overwritten. Exit "
    "status 1: not all of them could be saved."
)
_BAR = 24


def main(arguments: Sequence[str]) -> int:
    """The arguments after ``runner artifacts``."""
    parser = argparse.ArgumentParser(prog="runner artifacts", description=DESCRIPTION)
    add = parser.add_argument
    add("get", choices=["get"], metavar="get", help="the one thing that it does")
    add("session", metavar="SESSION", help="its id, sess_…")
    add("artifact", metavar="ARTIFACT", nargs="?", help="the id of one artifact, art_…")
    add("--all", action="store_true", help="all of them, and SHA256SUMS")
    add("--out", type=Path, required=True, metavar="DIR", help="where the files go")
    add("--url", required=True, metavar="URL", help="the control plane")
    add("--client-id", required=True, metavar="ID", help="client id of a service account")
    add("--client-secret-file", required=True, type=Path, metavar="FILE", help="its secret")
    add("--json", action="store_true", dest="as_json", help="one JSON object for each file")
    # An artifact may stand behind the options too.
    given = parser.parse_intermixed_args(arguments)
    if given.all == (given.artifact is not None):
        parser.error("name one ARTIFACT, or say --all")
    try:
        return _get(given)
    except (NotSaved, ApiError, Unreachable, SecretUnreadable, ValueError, OSError) as error:
        print(f"runner: {harmless(str(error))}", file=sys.stderr)
        return 1 if isinstance(error, NotSaved | ApiError | Unreachable) else 2


def _get(given: argparse.Namespace) -> int:
    read_secret(given.client_secret_file)
    transport = Transport(given.url)
    credentials = ClientCredentials(transport, given.client_id, given.client_secret_file)
    client = Client(transport, credentials)
    found, text = listed(client, given.session)
    directory = Directory(given.out, client, given.session)
    chosen = [each for each in found if given.all or each.artifact_id == given.artifact]
    if not given.all and not chosen:
        raise NotSaved(f"the session has no artifact {given.artifact}")
    outcomes = [_save(directory, each, given.as_json) for each in chosen]
    if given.all:
        directory.write_list(text)
    return 0 if all(outcomes) else 1


def _save(directory: Directory, wanted: Wanted, as_json: bool) -> bool:
    """Whether one artifact is there now. What is removed cannot be, which is no failure."""
    facts: dict[str, Any] = {
        "artifact_id": wanted.artifact_id,
        "name": wanted.name,
        "sha256": wanted.sha256,
        "size_bytes": wanted.size_bytes,
    }
    if wanted.removed:
        _say(as_json, facts | {"removed": True}, f"{wanted.name}: its content was removed")
        return True
    bar = _Bar(wanted.name, not as_json and sys.stderr.isatty())
    try:
        saved = directory.save(wanted, bar.show)
    except (NotSaved, ApiError, Unreachable, OSError) as error:
        bar.clear()
        _say(as_json, facts | {"error": str(error)}, f"{wanted.name}: {error}", wrong=True)
        return False
    bar.clear()
    facts |= {"path": str(saved.path), "resumed_from": saved.resumed_from}
    _say(as_json, facts, f"{wanted.sha256}  {saved.path}")
    return True


def _say(as_json: bool, facts: dict[str, Any], text: str, *, wrong: bool = False) -> None:
    if as_json:
        print(json.dumps(facts), flush=True)
    else:
        print(harmless(text), file=sys.stderr if wrong else sys.stdout, flush=True)


class _Bar:
    """How far one file is, in one line of a terminal, a few times a second."""

    def __init__(self, name: str, shown: bool) -> None:
        self._name, self._shown = harmless(name)[:40], shown
        self._began, self._first, self._last = time.monotonic(), -1, 0.0

    def show(self, done: int, size: int) -> None:
        now = time.monotonic()
        if not self._shown or now - self._last < 0.1:
            return
        if self._first < 0:
            self._first = done
        self._last = now
        rate = (done - self._first) / max(now - self._began, 0.001) / 1024**2
        filled = "#" * (_BAR * done // max(size, 1))
        line = (
            f"\r{self._name} [{filled:<{_BAR}}] {100 * done // max(size, 1):3d} % {rate:.0f} MiB/s"
        )
        print(f"{line}\x1b[K", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
