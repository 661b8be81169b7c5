"""The ledger: one chain for each session, appended with the change itself and never altered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connections, transaction
from hypothesis import given
from hypothesis import strategies as st

from grants import ledger
from grants.ledger import Record
from grants.models import Event, Level
from keeptrusts_runners import ids
from profiles.models import HarnessRevision
from sessions import transitions
from sessions.models import RunnerSession, Transition
from sessions.signals import session_changed
from sessions.states import State
from tests import factories
from tests.factories import path, session_api
from tests.grants.asking import approve, requested, under
from tests.people import Org
from tests.sessions import records, roads


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


# --- the chain -------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State)
def test_the_chain_of_a_session_can_be_computed_again_from_the_stored_bytes(
    org: Org, state: State
) -> None:
    records.assert_sound(org, roads.reach(org, state))


def test_every_kind_of_record_is_in_the_chain(org: Org) -> None:
    session = under(org)
    token = session_api(org, session)
    grant = requested(org, session)
    approve(org.approver.api, grant)
    token.post(path(session, "permissions", grant["id"], "use"), {"target": "a"})
    token.post(path(session, "checkpoint"), {"data": {"ü": [1, 2.5, None, "\u2028"]}})
    for event in ({"kind": "log", "message": "Zeile 1\nZeile 2 – ü 漢 🙂"}, {"kind": "x.mine.own"}):
        assert token.post(path(session, "events"), event).status_code == 201
    token.request("POST", f"{path(session, 'artifacts')}?name=a&kind=log", raw=b"bytes")
    token.patch(path(session), {"state": "completed"})
    assert {kind.partition(".")[0] for kind in records.kinds(org, session)} >= {
        "state", "lease", "grant", "checkpoint", "log", "x", "artifact",
    }  # fmt: skip
    records.assert_sound(org, session)


def test_each_session_has_a_chain_of_its_own_and_each_record_its_own_salt(org: Org) -> None:
    sessions = [factories.running(org) for _ in range(3)]
    for session in sessions:
        records.assert_sound(org, session)
    events = [event for session in sessions for event in records.events(org, session)]
    assert len({bytes(event.salt or b"") for event in events}) == len(events)
    assert len({bytes(event.hash) for event in events}) == len(events)


def test_what_is_stored_is_compact_json_with_sorted_keys(org: Org) -> None:
    session = factories.running(org)
    data = {"b": 1, "a": {"d": "ü", "c": None}}
    session_api(org, session).post(path(session, "events"), {"kind": "metric", "data": data})
    stored = bytes(records.last(org, session, "metric").body or b"")
    assert b'"data":{"a":{"c":null,"d":"\xc3\xbc"},"b":1}' in stored
    assert stored.startswith(b'{"data":')


_TEXT = st.none() | st.text(max_size=20)


@given(
    data=st.none() | st.dictionaries(st.text(max_size=4), st.none() | st.text() | st.integers()),
    step=_TEXT,
    message=_TEXT,
    client_id=_TEXT,
    client_seq=st.none() | st.integers(1, 2**53 - 1),
    occurred_at=st.none() | st.datetimes(timezones=st.just(UTC)),
    level=st.sampled_from(Level),
)
def test_a_body_is_spelt_as_the_general_writer_spells_it(**given: Any) -> None:
    event_id = ids.new()
    content = {name: value for name, value in given.items() if value is not None}
    content |= {"id": ids.encode("evt", event_id), "source": "client", "level": str(given["level"])}
    if given["occurred_at"] is not None:
        content["occurred_at"] = ledger.microseconds(given["occurred_at"])
    record = Record("log", "system", 1, source="client", **given)
    assert ledger.written(content) == ledger.body_of(event_id, record).decode("utf-8")
    if given["data"] is not None:
        record.written = ledger.written(given["data"])
    assert ledger.written(content) == ledger.body_of(event_id, record).decode("utf-8")


@pytest.mark.parametrize("alike", [1, 2, 3], ids=["one row", "two alike", "none alike"])
def test_what_all_rows_share_travels_once_and_is_in_each_of_them(org: Org, alike: int) -> None:
    session = factories.running(org)
    at = datetime(2026, 1, 2, tzinfo=UTC)
    rows = [
        Record(f"x.k{number * (alike > 2)}", "system", 1, step=f"s{number * (alike > 2)}",
               client_id=f"c{number}" if alike > 2 else None, client_seq=number + 1,
               occurred_at=at + timedelta(seconds=number * (alike > 2)))
        for number in range(alike)
    ]  # fmt: skip
    with org.scope():
        ledger.append({session.id: rows})
    records.assert_sound(org, session)
    stored = records.events(org, session)[-alike:]
    for record, event in zip(rows, stored, strict=True):
        for name in ("kind", "actor", "lease_epoch", "step", "client_id", "client_seq",
                     "occurred_at"):  # fmt: skip
            assert getattr(event, name) == getattr(record, name), name


# --- append-only -----------------------------------------------------------------------------

APPEND_ONLY = ["runner_event", "runner_transition", "runner_checkpoint", "runner_grant_decision"]


def refusal(alias: str, org: Org, statement: str) -> str:
    """Why the statement was refused; nothing of it remains where it was not."""
    try:
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            # Read-only by default is a habit of the forensics role, not what holds it.
            cursor.execute("SET TRANSACTION READ WRITE")
            cursor.execute("SELECT set_config('app.org_id', %s, true)", [str(org.id)])
            cursor.execute(statement)
            transaction.set_rollback(True, using=alias)
    except DatabaseError as error:
        return str(error)
    return "not refused"


@pytest.mark.proves("ledger.append-only")
@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("alias", ["default", "maintain", "forensics"])
def test_no_role_that_runs_may_change_or_delete_a_record(org: Org, table: str, alias: str) -> None:
    factories.running(org)
    for statement in (
        f"UPDATE {table} SET organization_id = organization_id",
        f"DELETE FROM {table}",
        f"TRUNCATE {table}",
    ):
        assert f"permission denied for table {table}" in refusal(alias, org, statement)


@pytest.mark.proves("ledger.append-only")
@pytest.mark.parametrize("statement", ["UPDATE {} SET kind = 'x'", "DELETE FROM {}"])
def test_the_owner_itself_is_refused_by_the_trigger_in_every_partition(
    org: Org, statement: str
) -> None:
    session = factories.running(org)
    with connections["migrate"].cursor() as cursor:
        cursor.execute(
            "SELECT tableoid::regclass::text FROM runner_event WHERE session_id = %s LIMIT 1",
            [session.id],
        )
        (partition,) = cursor.fetchone()
    assert partition.startswith("runner_event_2")
    for table in ("runner_event", partition):
        assert "append-only" in refusal("migrate", org, statement.format(table))
    assert "append-only" in refusal("migrate", org, "TRUNCATE runner_event")
    records.assert_sound(org, session)


def test_of_a_harness_only_the_status_and_its_reason_change(org: Org) -> None:
    profile = factories.profile(org)
    with org.scope():
        HarnessRevision.objects.create(
            organization_id=org.id, profile=profile, version="1", image_ref="a:1", published_by="x"
        )
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'runner_harness'::regclass"
            " AND attnum > 0 AND NOT attisdropped"
        )
        columns = {row[0] for row in cursor.fetchall()}
    assert len(columns) > 8
    refused = {
        column
        for column in columns
        if "permission denied"
        in refusal("default", org, f"UPDATE runner_harness SET {column} = {column}")
    }
    told = {"status", "status_reason", "status_changed_at", "status_changed_by"}
    assert refused == columns - told
    assert "permission denied" in refusal("default", org, "DELETE FROM runner_harness")


def test_nobody_addresses_a_partition_but_through_the_ledger(org: Org) -> None:
    factories.running(org)
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits"
                       " WHERE inhparent = 'runner_event'::regclass")  # fmt: skip
        partitions = [row[0] for row in cursor.fetchall()]
    for alias in ("default", "maintain", "forensics"):
        for partition in partitions:
            statement = f"SELECT 1 FROM {partition}"
            assert "permission denied" in refusal(alias, org, statement), (alias, partition)


# --- no change without its record ------------------------------------------------------------


def attempt_to_claim(org: Org, session: RunnerSession) -> Any:
    return org.runner.api.post(path(session, "claim"))


@pytest.mark.proves("ledger.same-transaction")
def test_a_receiver_that_fails_takes_the_change_with_it(org: Org) -> None:
    session = factories.pending(org)
    before = records.stored(org, session)

    def failing(**_: Any) -> None:
        raise RuntimeError("a defect")

    session_changed.connect(failing, sender=RunnerSession)
    try:
        assert attempt_to_claim(org, session).status_code == 500
    finally:
        session_changed.disconnect(failing, sender=RunnerSession)
    assert records.stored(org, session) == before
    assert attempt_to_claim(org, session).status_code == 200
    records.assert_sound(org, session)


@pytest.mark.proves("ledger.same-transaction")
def test_a_ledger_that_fails_takes_the_change_with_it(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = factories.pending(org)
    before = records.stored(org, session)
    monkeypatch.setattr(ledger, "insertion", lambda shared: "INSERT INTO runner_event SELECT 1, %b")
    assert attempt_to_claim(org, session).status_code == 500
    monkeypatch.undo()
    assert records.stored(org, session) == before


@pytest.mark.proves("ledger.same-transaction")
def test_a_change_that_no_ledger_records_is_no_change(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = factories.pending(org)
    before = records.stored(org, session)
    monkeypatch.setattr(session_changed, "receivers", [])
    session_changed.sender_receivers_cache.clear()
    try:
        with pytest.raises(RuntimeError, match="no ledger recorded it"):
            roads.cancel(org, session)
    finally:
        monkeypatch.undo()
        session_changed.sender_receivers_cache.clear()
    assert records.stored(org, session) == before


def test_a_record_without_its_transition_is_not_kept_either(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = factories.pending(org)
    before = records.stored(org, session)

    def failing(*_: Any) -> Transition:
        raise RuntimeError("a defect")

    monkeypatch.setattr(transitions, "row_of", failing)
    with pytest.raises(RuntimeError, match="a defect"):
        roads.cancel(org, session)
    monkeypatch.undo()
    assert records.stored(org, session) == before


# --- partitions ------------------------------------------------------------------------------


def partitions() -> list[str]:
    with connections["maintain"].cursor() as cursor:
        cursor.execute(
            "SELECT relname, pg_get_expr(relpartbound, oid) FROM pg_inherits"
            " JOIN pg_class ON oid = inhrelid WHERE inhparent = 'runner_event'::regclass"
        )
        rows = cursor.fetchall()
    assert "DEFAULT" not in {bound for _, bound in rows}
    return sorted(name for name, _ in rows)


def test_there_are_partitions_for_a_year_and_none_by_default() -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT to_char(month, '\"runner_event_\"YYYY_MM') FROM generate_series("
            " date_trunc('month', now() AT TIME ZONE 'UTC'),"
            " now() AT TIME ZONE 'UTC' + interval '1 year', interval '1 month') AS month"
        )
        wanted = [row[0] for row in cursor.fetchall()]
    assert len(wanted) >= 12
    assert set(wanted) <= set(partitions())


def test_a_sessions_events_are_in_the_partition_of_its_month(org: Org) -> None:
    session = factories.running(org)
    with org.scope(), connections["default"].cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT tableoid::regclass::text,"
            " to_char(%s AT TIME ZONE 'UTC', '\"runner_event_\"YYYY_MM')"
            " FROM runner_event WHERE session_id = %s",
            [session.created_at, session.id],
        )
        rows = cursor.fetchall()
    assert [row[0] for row in rows] == [rows[0][1]]


def test_maintenance_makes_partitions_ahead_and_again_none() -> None:
    before = partitions()
    with transaction.atomic(using="maintain"), connections["maintain"].cursor() as cursor:
        ahead = "SELECT kt_make_event_partitions(now(), now() + interval '15 months')"
        cursor.execute(ahead)
        (made,) = cursor.fetchone()
        assert made == len(partitions()) - len(before) > 0
        cursor.execute(ahead)
        assert cursor.fetchone() == (0,)
        transaction.set_rollback(True, using="maintain")
    assert partitions() == before


def test_a_session_id_says_when_by_the_databases_clock(org: Org) -> None:
    session = factories.pending(org)
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT kt_uuid7(), clock_timestamp()")
        made, now = cursor.fetchone()
    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert abs((made.int >> 80) / 1000 - now.timestamp()) < 1
    assert session.id.version == 7
    assert session.id < made
    with org.scope():
        assert Event.objects.filter(session_id=session.id).count() == 1
