"""What must be so after any crash, whatever the clients' journals hold."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from django.db import connections

from keeptrusts_runners import clock, ids
from sessions.models import Checkpoint, RunnerSession
from sessions.states import OPEN, State, Verb
from tests.commands.product import Product, eventually
from tests.faults import journal
from tests.faults.journal import Entry
from tests.liveness import release_the_brake
from tests.people import Org
from tests.sessions import records
from tests.sessions.roads import LONG_AGO

_OVERDUE = """
SELECT count(*) FROM runner_session
 WHERE organization_id = %s AND state = ANY(%s)
   AND (lease_expires_at <= clock_timestamp() OR deadline_at <= clock_timestamp())
"""


def assert_nothing_is_stuck(org: Org, product: Product) -> None:
    """The loop catches up by itself; then time is over for all that is open, and one pass ends
    it."""
    eventually(lambda: overdue(org) == 0, "the loop catches up")
    with org.scope():
        past = clock.now() - LONG_AGO
        still_open = RunnerSession.objects.filter(state__in=OPEN)
        still_open.update(deadline_at=past)
    release_the_brake()
    product.ask("maintain", "--once", "--json")
    with org.scope():
        left = RunnerSession.objects.filter(state__in=OPEN).values_list("state", flat=True)
        assert not list(left), left


def overdue(org: Org) -> int:
    with connections["maintain"].cursor() as cursor:
        cursor.execute(_OVERDUE, [org.id, sorted(OPEN)])
        return int(cursor.fetchone()[0])


def assert_kept(org: Org, journals: Iterable[Path]) -> Counter[str]:
    """Every acknowledged write is there, every other whole or not at all, and no write twice;
    every session is sound. How many there were of each kind."""
    entries = [entry for path in journals for entry in journal.read(path)]
    with org.scope():
        rows = {ids.encode("sess", row.id): row for row in RunnerSession.objects.all()}
    _assert_dispatched(entries, rows)
    _assert_claimed(entries)
    writes = defaultdict(list)
    for entry in entries:
        if "session" in entry.asked:
            writes[entry.asked["session"]].append(entry)
    for name, row in rows.items():
        records.assert_sound(org, row)
        _assert_session(org, row, writes[name])
    return _counts(entries)


def _assert_dispatched(entries: list[Entry], rows: dict[str, RunnerSession]) -> None:
    by_task = defaultdict(list)
    for name, row in rows.items():
        by_task[row.task_id].append(name)
    for entry in entries:
        if entry.verb == "dispatch":
            made = by_task.pop(entry.asked["task"], [])
            if entry.answered is None:
                assert len(made) <= 1, f"one dispatch made {made}"
                continue
            assert made == [entry.answered["session"]], f"{entry} is {made}"
            if entry.asked["expires"]:
                assert rows[made[0]].state == State.EXPIRED
    assert not by_task, f"nobody dispatched {by_task}"


def _assert_claimed(entries: list[Entry]) -> None:
    """Each lease was handed to one claim."""
    leases = Counter(
        tuple(lease)
        for entry in entries
        if entry.verb == "claim" and entry.answered
        for lease in entry.answered["leases"]
    )
    assert set(leases.values()) <= {1}, f"handed out twice: {leases.most_common(3)}"


def _assert_session(org: Org, row: RunnerSession, entries: list[Entry]) -> None:
    """The writes of one session, against its row, its ledger, its checkpoints and its way."""
    steps = records.transitions(org, row)
    verbs = Counter((step.verb, step.lease_epoch) for step in steps)
    assert all(number == 1 for (verb, _), number in verbs.items() if verb in _ONCE), verbs
    events = Counter(e.client_id for e in records.events(org, row) if e.client_id)
    assert not events or max(events.values()) == 1, "an event is there twice"
    with org.scope():
        labels = Checkpoint.objects.filter(session_id=row.id).values_list("label", "number")
        checkpoints = dict(labels)
        assert len(checkpoints) == len(labels), "a checkpoint is there twice"
    for entry in entries:
        told, epoch = entry.answered, entry.asked["epoch"]
        match entry.verb:
            case "heartbeat":
                assert told is None or verbs[Verb.HEARTBEAT, epoch], f"lost: {entry}"
            case "events":
                there = sum(events[name] for name in entry.asked["names"])
                whole = len(entry.asked["names"])
                assert there == whole if told is not None else there in (0, whole), entry
            case "checkpoint":
                number = checkpoints.get(entry.asked["name"])
                assert told is None or number == told["number"], f"lost: {entry}"
            case "complete":
                done = (row.state, row.outcome_epoch) == (State.COMPLETED, epoch)
                assert told is None or done, f"lost: {entry}"


# The verbs that an epoch sees once at most.
_ONCE = {Verb.CLAIM, Verb.COMPLETE, Verb.FAIL, Verb.LOSE, Verb.EXPIRE, Verb.TIME_OUT}


def _counts(entries: list[Entry]) -> Counter[str]:
    """Events count one by one: each was looked for."""
    counts: Counter[str] = Counter()
    for entry in entries:
        size = len(entry.asked.get("names", "1"))
        known = "acknowledged writes" if entry.answered is not None else "unacknowledged"
        counts[known] += size
    return counts
