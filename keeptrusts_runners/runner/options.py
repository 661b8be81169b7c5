"""The runner's command line: the same for ``manage.py runner`` and for the single file."""

import argparse
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from keeptrusts_runners.runner.egress_target import BadTarget, Target
from keeptrusts_runners.runner.tokens import read_secret
from keeptrusts_runners.runner.transport import Transport

_HARNESSES = Path(__file__).parent / "harnesses"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Number = TypeVar("Number", int, float)


class UsageError(Exception):
    """An option that cannot be used; the message says which, and what to do."""


@dataclass(frozen=True)
class Options:
    """What a runner was told, checked."""

    url: str
    client_id: str
    client_secret_file: Path
    harness_dir: Path
    name: str = "runner"
    profiles: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    slots: int = 1
    work_dir: Path | None = None
    pass_env: list[str] = field(default_factory=list)
    wait_seconds: int = 20
    poll_seconds: float = 2.0
    stop_grace_seconds: float = 20.0
    resumable_from_mib: float = 16.0
    egress: bool = False
    egress_request: int | None = None
    egress_private: list[str] = field(default_factory=list)
    once: bool = False
    as_json: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """In the order a newcomer asks: where, as whom, what, with what."""
    add = parser.add_argument
    add("--url", required=True, metavar="URL", help="the control plane, e.g. http://127.0.0.1:8000")
    add("--client-id", required=True, metavar="ID", help="client id of a runner service account")
    add(
        "--client-secret-file",
        required=True,
        type=Path,
        metavar="FILE",
        help="file that holds the client secret; read again whenever a token is needed",
    )
    add("--name", default=socket.gethostname(), help="executor name (default: this host's name)")
    add(
        "--profile",
        action="append",
        default=[],
        dest="profiles",
        metavar="ID",
        help="take sessions of this profile only; may be repeated (default: any profile)",
    )
    add(
        "--label",
        action="append",
        default=[],
        dest="labels",
        metavar="KEY=VALUE",
        help="a label of this runner, for routing; may be repeated",
    )
    add("--slots", type=int, default=1, metavar="N", help="sessions at a time (default: 1)")
    add(
        "--harness-dir",
        type=Path,
        default=_HARNESSES if _HARNESSES.is_dir() else None,
        metavar="DIR",
        help="where harnesses named file:NAME lie (default: those that come with the product)",
    )
    add(
        "--work-dir",
        type=Path,
        metavar="DIR",
        help="where attempts get their directories (default: a private one for temporary files)",
    )
    add(
        "--pass-env",
        action="append",
        default=[],
        metavar="NAME",
        help="hand this variable to harnesses, besides PATH and LANG; may be repeated",
    )
    add(
        "--wait-seconds",
        type=float,
        default=20,
        metavar="S",
        help="how long a request for work stays open until there is some, 0 to 30; keep it below a"
        " proxy's read timeout; 0 = ask every --poll-seconds instead (default: 20)",
    )
    add(
        "--poll-seconds",
        type=float,
        default=2.0,
        metavar="S",
        help="pause before asking again where requests do not wait, and the longest one after a"
        " request that failed (default: 2)",
    )
    add(
        "--stop-grace-seconds",
        type=float,
        default=20.0,
        metavar="S",
        help="time a harness has to stop before it is killed (default: 20)",
    )
    add(
        "--resumable-from-mib",
        type=float,
        default=16.0,
        metavar="MIB",
        help="outputs of this size or more are sent in parts and go on where they were cut"
        " (default: 16)",
    )
    _add_egress(parser)
    add("--once", action="store_true", help="wait for one session, execute it, and exit")
    add("--json", action="store_true", dest="as_json", help="one JSON object a line, on stdout")


def _add_egress(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--egress",
        action="store_true",
        help="lead harnesses to the network through a proxy that passes what a grant"
        " network.egress:HOST:PORT of their session allows",
    )
    add(
        "--egress-request",
        type=float,
        nargs="?",
        const=600,
        metavar="S",
        help="with --egress: request the grant that is missing, for S seconds (default: 600)",
    )
    add(
        "--egress-private",
        action="append",
        default=[],
        metavar="NAME",
        help="with --egress: this name, and those below it, may lead to private addresses; may be"
        " repeated (default: names lead to public addresses only)",
    )


def read_options(given: argparse.Namespace) -> Options:
    """Raises UsageError; SecretUnreadable when there is no usable client secret."""
    try:
        Transport(given.url)
    except ValueError as error:
        raise UsageError(f"--url: {error}") from error
    read_secret(given.client_secret_file)
    return Options(
        url=given.url.rstrip("/"),
        client_id=given.client_id,
        client_secret_file=given.client_secret_file,
        harness_dir=_harness_dir(given.harness_dir),
        name=given.name,
        profiles=given.profiles,
        labels=dict(_label(text) for text in given.labels),
        slots=_between("--slots", given.slots, 1, 50),
        work_dir=given.work_dir,
        pass_env=[_variable(name) for name in given.pass_env],
        wait_seconds=_whole("--wait-seconds", given.wait_seconds, 0, 30),
        poll_seconds=_between("--poll-seconds", given.poll_seconds, 0.05, 300),
        stop_grace_seconds=_between("--stop-grace-seconds", given.stop_grace_seconds, 0, 600),
        resumable_from_mib=_between(
            "--resumable-from-mib", given.resumable_from_mib, 0, 1024 * 1024
        ),
        egress=given.egress,
        **_egress(given),
        once=given.once,
        as_json=given.as_json,
    )


def _egress(given: argparse.Namespace) -> dict[str, Any]:
    wanted, names = given.egress_request, given.egress_private
    if not given.egress and (wanted is not None or names):
        raise UsageError(f"--egress-{'private' if names else 'request'}: say --egress as well")
    if wanted is not None:
        wanted = _whole("--egress-request", wanted, 1, 7 * 24 * 3600)
    return {"egress_request": wanted, "egress_private": [_name(name) for name in names]}


def _name(text: str) -> str:
    try:
        target = Target.of(f"{text.removeprefix('.')}:1")
    except BadTarget as error:
        raise UsageError(f"--egress-private: {error}") from error
    if target.address is not None:
        raise UsageError(f"--egress-private: {text} is an address; a grant names it as it is")
    return target.host


def _harness_dir(path: Path | None) -> Path:
    if path is None:
        raise UsageError("--harness-dir: say where the harnesses lie; none come with this file")
    if not path.is_dir():
        raise UsageError(f"--harness-dir: {path} is not a directory")
    return path.resolve()


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(f"--label: write it as KEY=VALUE, not {text!r}")
    return key, value


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise UsageError(f"--pass-env: {name!r} is not a variable's name; its value is not given")
    if name.startswith("KEEPTRUSTS_"):
        raise UsageError(f"--pass-env: names that begin with KEEPTRUSTS_ are the runner's: {name}")
    return name


def _between(name: str, value: Number, least: float, most: float) -> Number:
    if not least <= value <= most:
        raise UsageError(f"{name}: {value:.15g} is not between {least} and {most}")
    return value


def _whole(name: str, value: float, least: int, most: int) -> int:
    if _between(name, value, least, most) != int(value):
        raise UsageError(f"{name}: {value:g} is not a whole number")
    return int(value)
