"""`maintain`: what time demands, in one loop; any number of them may run, one at a time works."""

from __future__ import annotations

import argparse
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from django.core.management.base import BaseCommand
from django.db import Error, close_old_connections, connections

from grants import access, partitions, retention, verification
from keeptrusts_runners.api import idempotency
from keeptrusts_runners.evidence import denials
from keeptrusts_runners.identity import tokens
from keeptrusts_runners.management.conversation import require_connection
from sessions import batch_work, reaper

log = structlog.get_logger(__name__)

TURN = 0x6B74_6D61_696E_7461
_RETRY_SECONDS = 30.0
# A loop that holds the turn for so long is frozen, or at work that ours may go on beside.
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True)
class Duty:
    """One pass of something, as often as that; a pass answers what it did."""

    name: str
    run: Callable[[], Counter[str]]
    every_seconds: float


DUTIES = (
    Duty("sessions", reaper.run_once, reaper.EVERY_SECONDS),
    Duty("batches", batch_work.run_once, 0.5),
    Duty("grants", access.run_once, 2),
    Duty("denials", denials.run_once, denials.EVERY_SECONDS),
    Duty("retention", retention.run_once, retention.EVERY_SECONDS),
    Duty("verification", verification.run_once, verification.EVERY_SECONDS),
    Duty("idempotency_keys", lambda: Counter(deleted=idempotency.clean_up()), 3600),
    Duty("tokens", lambda: Counter(deleted=tokens.clean_up()), 3600),
    Duty("partitions", partitions.make_ahead, 3600),
)


class Command(BaseCommand):
    help = (
        "Expire, time out and settle what is overdue, end grants, make partitions ahead. "
        "Stops on SIGTERM or Ctrl-C."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="one pass of every duty, then end")
        parser.add_argument("--json", action="store_true", help="with --once: counts as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        require_connection("maintain")
        if options["once"]:
            counts = {duty.name: dict(duty.run()) for duty in DUTIES}
            self.stdout.write(json.dumps(counts) if options["json"] else _told(counts))
            return
        connections["maintain"].ensure_connection()
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        log.info("maintain.started", duties=[duty.name for duty in DUTIES])
        loop = Loop()
        away: str | None = None
        while not stop.wait(0.5):
            before, away = away, loop.turn()
            if away and not before:
                log.warning("maintain.database_unavailable", reason=away)
            elif before and not away:
                log.info("maintain.database_back")
        log.info("maintain.stopped")


def _told(counts: dict[str, dict[str, int]]) -> str:
    lines = []
    for name, did in counts.items():
        what = ", ".join(f"{number} {word}" for word, number in did.items() if number)
        lines.append(f"{name:<18}{what or 'nothing to do'}")
    return "\n".join(lines)


class Loop:
    """When each duty is due, and when this loop last had the turn."""

    def __init__(self) -> None:
        self._due = {duty.name: 0.0 for duty in DUTIES}
        self._had_turn = time.monotonic()

    def turn(self) -> str | None:
        """Run what is due, if no other loop is at it. Why the database cannot be used, or None."""
        try:
            close_old_connections()
            with _alone() as alone:
                if alone or time.monotonic() - self._had_turn > _PATIENCE_SECONDS:
                    self._run_what_is_due()
                    self._had_turn = time.monotonic() if alone else self._had_turn
        except Error as error:
            connections.close_all()
            return _first_line(error)
        return None

    def _run_what_is_due(self) -> None:
        for duty in DUTIES:
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
def _alone() -> Iterator[bool]:
    """Whether no other loop holds the turn. Nothing depends on it: duties repeat their condition
    under the rows' locks; it only keeps two loops from doing the same work."""
    with connections["maintain"].cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [TURN])
        (held,) = cursor.fetchone()
        try:
            yield held
        finally:
            if held:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [TURN])
