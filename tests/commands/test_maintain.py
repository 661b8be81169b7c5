"""`maintain`: one pass or a loop, alone or beside another, and through a restart of PostgreSQL."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from keeptrusts_runners import ids
from keeptrusts_runners.management.commands.maintain import TURNS
from sessions import batch_work
from tests.commands.database import Database
from tests.commands.house import House
from tests.commands.product import Product, eventually, new_data_dir, remove_data_dir

OVERDUE = 12
# The heartbeat that starts a session comes somewhat later than its claim.
LATE = timedelta(seconds=3)
DUTIES = [
    "sessions",
    "batches",
    "grants",
    "denials",
    "retention",
    "uploads",
    "readback",
    "blobs",
    "verification",
    "long_checks",
    "scrub",
    "idempotency_keys",
    "tokens",
    "password_tries",
    "partitions",
    "signer",
]


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    directory = new_data_dir()
    database = Database(directory)
    yield database
    database.stop()
    remove_data_dir(directory)


@pytest.fixture(scope="module")
def house(database: Database) -> Iterator[House]:
    """Without a maintenance loop of its own."""
    data_dir = new_data_dir()
    product = Product(data_dir, **database.settings())
    try:
        yield House.open(product)
    finally:
        product.close()
    product.wait_until_gone()
    remove_data_dir(data_dir)


@pytest.fixture(scope="module")
def profile(house: House) -> str:
    return house.profile("maintained", None)


def dispatch(house: House, profile: str, number: int) -> list[str]:
    """Sessions whose time in the queue is over in a second."""
    return [house.dispatch(profile, queue_timeout_seconds=1) for _ in range(number)]


def ends(house: House, session: str) -> int:
    return Counter(e["kind"] for e in house.api.items(f"{session}/events"))["state.expired"]


def test_one_pass_tells_what_it_did(house: House, profile: str) -> None:
    (session,) = dispatch(house, profile, 1)

    def pass_once() -> dict[str, dict[str, int]]:
        ended = house.product.run("maintain", "--once", "--json")
        assert (ended.returncode, ended.stdout.count("\n")) == (0, 1), ended.stderr
        counts: dict[str, dict[str, int]] = json.loads(ended.stdout)
        assert list(counts) == DUTIES
        return counts

    eventually(lambda: pass_once()["sessions"].get("expired") == 1, "it expires the session")
    assert house.api.get(session)["state"] == "expired"
    assert pass_once()["sessions"] == {}
    told = house.product.run("maintain", "--once").stdout.splitlines()
    assert [line.split()[0] for line in told] == DUTIES
    assert told[0].endswith("nothing to do")


def test_duties_can_run_apart(house: House) -> None:
    alone = house.product.run("maintain", "--once", "--json", "--duties", "signer")
    assert list(json.loads(alone.stdout)) == ["signer"]
    others = house.product.run("maintain", "--once", "--json", "--duties", "tokens,sessions")
    assert list(json.loads(others.stdout)) == ["sessions", "tokens"]
    refused = house.product.run("maintain", "--once", "--duties", "signer,nothing")
    assert refused.returncode != 0
    assert "'nothing' is none of sessions, " in refused.stderr


def test_without_an_address_for_the_signer_the_others_run_and_it_does_not(house: House) -> None:
    there = house.product.run("maintain", "--once", "--json", DATABASE_SIGNER_URL="")
    assert there.returncode == 0, there.stderr
    assert list(json.loads(there.stdout)) == DUTIES[:-1]
    refused = house.product.run("maintain", "--once", "--duties", "signer", DATABASE_SIGNER_URL="")
    assert "DATABASE_SIGNER_URL is not set" in refused.stderr


@pytest.mark.proves("stuck.two-loops")
def test_two_loops_do_everything_once_and_end_when_asked(house: House, profile: str) -> None:
    loops = [house.product.start("maintain") for _ in range(2)]
    for loop in loops:
        loop.wait_until_said("maintain.started")
    sessions = dispatch(house, profile, OVERDUE)
    for session in sessions:
        house.wait_for_state(session, "expired")
    assert [ends(house, session) for session in sessions] == [1] * OVERDUE

    # One dies in the middle of its life: its turn is free at once.
    loops[0].signal(signal.SIGKILL)
    loops[0].wait()
    (session,) = dispatch(house, profile, 1)
    house.wait_for_state(session, "expired")

    loops[1].signal(signal.SIGTERM)
    assert loops[1].wait(20) == 0
    said = loops[1].said()
    assert "maintain.stopped" in said
    assert "Traceback" not in said


def test_a_batch_goes_on_where_a_killed_loop_left_it(
    house: House, profile: str, database: Database
) -> None:
    sessions = [house.dispatch(profile) for _ in range(batch_work.MOST + 20)]
    body = {"filter": {"profile_id": profile, "state": ["pending"]}, "reason": "it was wrong"}
    made = house.api.post("/v1/runners/sessions/bulk/cancel", body)
    assert made["progress"]["total"] == len(sessions)
    batch = f"/v1/runners/batches/{made['id']}"

    # Killed in the middle of a session, in its second pass.
    before = batch_work.MOST + 10
    held = ids.decode("sess", sessions[before].rpartition("/")[2])
    with database.holding_session(held) as somebody_waits:
        first = house.product.start("maintain")
        eventually(somebody_waits, "it comes to the session", instead=first.said)
        first.signal(signal.SIGKILL)
        first.wait()
    assert house.api.get(batch)["progress"]["done"] == before

    second = house.product.start("maintain")
    eventually(lambda: house.api.get(batch)["state"] == "done", "it is done", instead=second.said)
    progress = {"total": len(sessions), "done": len(sessions), "skipped": 0, "refused": 0}
    assert house.api.get(batch)["progress"] == progress
    for session in sessions:
        kinds = Counter(event["kind"] for event in house.api.items(f"{session}/events"))
        assert kinds == {"state.pending": 1, "state.cancelled": 1}
    second.signal(signal.SIGTERM)
    assert second.wait(20) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_loop_outlives_its_database_and_ends_without_it(
    house: House, profile: str, database: Database, number: int
) -> None:
    loop = house.product.start("maintain")
    loop.wait_until_said("maintain.started")
    (session,) = dispatch(house, profile, 1)
    database.stop()
    try:
        loop.wait_until_said("maintain.database_unavailable")
    finally:
        database.start()
    loop.wait_until_said("maintain.database_back")
    house.wait_for_state(session, "expired")
    # Said once for each time it was away, not twice a second.
    assert loop.said().count("maintain.database_unavailable") == 1

    database.stop()
    try:
        loop.signal(number)
        assert loop.wait(20) == 0, loop.said()
    finally:
        database.start()
    assert "Traceback" not in loop.said()


@pytest.mark.proves("stuck.frozen-loop")
def test_a_loop_that_is_frozen_in_its_turn_holds_up_no_other(
    house: House, profile: str, database: Database
) -> None:
    with psycopg.connect(database.settings()["DATABASE_MAINTAIN_URL"], autocommit=True) as frozen:
        frozen.execute("SELECT pg_advisory_lock(%s)", [TURNS["maintain"]])
        loop = house.product.start("maintain")
        (session,) = dispatch(house, profile, 1)
        house.wait_for_state(session, "expired")
        loop.signal(signal.SIGTERM)
        assert loop.wait(20) == 0


@pytest.mark.proves("stuck.brake")
def test_a_loop_that_was_away_gives_every_lease_one_more(house: House, profile: str) -> None:
    """The runner could not be heard by a loop that was not there; now it can."""
    session = house.dispatch(profile)
    lease = house.api.post(f"{session}/claim", {"lease_ttl_seconds": 5})["lease"]
    house.api.post(f"{session}/heartbeat", {})
    eventually(
        lambda: datetime.fromisoformat(lease["expires_at"]) < datetime.now(UTC) - LATE,
        "the lease is over",
    )
    loop = house.product.start("maintain")
    said = loop.wait_until_said("reaper.brake_began")
    assert "reason=absence" in said
    assert house.api.get(session)["state"] == "running"
    assert house.api.post(f"{session}/heartbeat", {})["state"] == "running"
    house.wait_for_state(session, "pending")
    assert house.api.get(session)["failures"] == 1
    loop.signal(signal.SIGTERM)
    assert loop.wait(20) == 0
