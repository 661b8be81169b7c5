"""`maintain`: what time demands, in one loop; any number of them may run, one at a time works.

The signer's duty has a role and a turn of its own, so that it can run apart, under an account that
alone may read the log's key.
"""

from __future__ import annotations

import argparse
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import Error, close_old_connections, connections

from grants import (
    access,
    blobs,
    incoming_files,
    partitions,
    readback,
    retention,
    scrub,
    verification,
    verification_runs,
)
from keeptrusts_runners.api import idempotency
from keeptrusts_runners.evidence import denials, signer
from keeptrusts_runners.identity import passwords, tokens
from keeptrusts_runners.management.conversation import require_connection
from sessions import batch_work, reaper

log = structlog.get_logger(__name__)

# Whose turn it is, by the role that the duties need.
TURNS = {"maintain": 0x6B74_6D61_696E_7461, "signer": 0x6B74_7369_676E_6572}
_RETRY_SECONDS = 30.0
# A loop that holds the turn for so long is frozen, or at work that ours may go on beside.
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Duty:
    """One pass of something, as often as that; a pass answers what it did."""

    name: str
    run: Callable[[], Counter[str]]
    every_seconds: float
    role: str = "maintain"


DUTIES = (
    Duty("sessions", reaper.run_once, reaper.EVERY_SECONDS),
    Duty("batches", batch_work.run_once, 0.5),
    Duty("grants", access.run_once, 2),
    Duty("denials", denials.run_once, denials.EVERY_SECONDS),
    Duty("retention", retention.run_once, retention.EVERY_SECONDS),
    Duty("uploads", incoming_files.collect, 30),
    Duty("readback", readback.run_once, readback.EVERY_SECONDS),
    Duty("blobs", blobs.collect, 10),
    Duty("verification", verification.run_once, verification.EVERY_SECONDS),
    Duty("long_checks", verification_runs.run_once, verification_runs.EVERY_SECONDS),
    Duty("scrub", scrub.run_once, scrub.EVERY_SECONDS),
    Duty("idempotency_keys", lambda: Counter(deleted=idempotency.clean_up()), 3600),
    Duty("tokens", lambda: Counter(deleted=tokens.clean_up()), 3600),
    Duty("password_tries", lambda: Counter(deleted=passwords.clean_up()), 3600),
    Duty("partitions", partitions.make_ahead, 3600),
    Duty("signer", signer.run_once, signer.EVERY_SECONDS, role="signer"),
)
NAMES = tuple(duty.name for duty in DUTIES)


class Command(BaseCommand):
    help = (
        "Expire, time out and settle what is overdue, end grants, make partitions ahead, sign the "
        "log. Stops on SIGTERM or Ctrl-C."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="one pass of every duty, then end")
        parser.add_argument("--json", action="store_true", help="with --once: counts as JSON")
        parser.add_argument(
            "--duties",
            type=_names,
            metavar="NAMES",
            help=f"only these, by comma: {', '.join(NAMES)} (default: all whose role has an "
            "address)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        duties = _chosen(options["duties"])
        if options["once"]:
            counts = {duty.name: dict(duty.run()) for duty in duties}
            self.stdout.write(json.dumps(counts) if options["json"] else _told(counts))
            return
        roles = list(dict.fromkeys(duty.role for duty in duties))
        for role in roles:
            connections[role].ensure_connection()
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        log.info("maintain.started", duties=[duty.name for duty in duties])
        loops = [Loop(role, [duty for duty in duties if duty.role == role]) for role in roles]
        away: str | None = None
        while not stop.wait(0.5):
            reasons = [loop.turn() for loop in loops]
            before, away = away, next(filter(None, reasons), None)
            if away and not before:
                log.warning("maintain.database_unavailable", reason=away)
            elif before and not away:
                log.info("maintain.database_back")
        log.info("maintain.stopped")


def _names(text: str) -> tuple[str, ...]:
    """The value of --duties."""
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in NAMES]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(NAMES)}")
    return names


def _chosen(names: tuple[str, ...] | None) -> list[Duty]:
    """Those named, or all; without an address for the signer's role it runs somewhere else."""
    if names is None:
        require_connection("maintain")
        without_signer = settings.ENVIRONMENT.lacks_address("signer") is not None
        return [duty for duty in DUTIES if duty.role != "signer" or not without_signer]
    duties = [duty for duty in DUTIES if duty.name in names]
    for duty in duties:
        require_connection(duty.role)
    return duties


def _told(counts: dict[str, dict[str, int]]) -> str:
    lines = []
    for name, did in counts.items():
        what = ", ".join(f"{number} {word}" for word, number in did.items() if number)
        lines.append(f"{name:<18}{what or 'nothing to do'}")
    return "\n".join(lines)


class Loop:
    """The duties of one role: when each is due, and when this loop last had the turn."""

    def __init__(self, role: str, duties: Sequence[Duty]) -> None:
        self._role, self._duties = role, duties
        self._due = {duty.name: 0.0 for duty in duties}
        self._had_turn = time.monotonic()

    def turn(self) -> str | None:
        """Run what is due, if no other loop is at it. Why the database cannot be used, or None."""
        try:
            close_old_connections()
            with _alone(self._role) as alone:
                if alone or time.monotonic() - self._had_turn > _PATIENCE_SECONDS:
                    self._run_what_is_due()
                    self._had_turn = time.monotonic() if alone else self._had_turn
        except Error as error:
            connections.close_all()
            return _first_line(error)
        return None

    def _run_what_is_due(self) -> None:
        for duty in self._duties:
            if time.monotonic() >= self._due[duty.name]:
                self._due[duty.name] = time.monotonic() + _run(duty)


def _run(duty: Duty) -> float:
    """One pass; in how many seconds the next is due. A pass that fails holds up no other duty."""
    try:
        duty.run()
    except Error as error:
        log.warning("maintain.duty_failed", duty=duty.name, reason=_first_line(error))
    except Exception:
        log.exception("maintain.duty_failed", duty=duty.name)
    else:
        return duty.every_seconds
    return min(duty.every_seconds, _RETRY_SECONDS)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def _alone(role: str) -> Iterator[bool]:
    """Whether no other loop holds the turn. Nothing depends on it: duties repeat their condition
    under the rows' locks; it only keeps two loops from doing the same work."""
    with connections[role].cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [TURNS[role]])
        (held,) = cursor.fetchone()
        try:
            yield held
        finally:
            if held:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [TURNS[role]])
