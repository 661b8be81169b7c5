"""What leaves the admin as a file: which rows, how many, in which form, and on whose record."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from django.test import Client

from grants import events
from keeptrusts_runners import ids
from keeptrusts_runners.evidence import audit
from keeptrusts_runners.investigations import exports
from tests import factories
from tests.admin.staff import SESSIONS, keys, looker, name_of, on_record
from tests.people import Org


@pytest.fixture
def staff() -> Client:
    return looker()


@pytest.fixture
def org() -> Org:
    return Org()


def export(client: Client, address: str, form: str, chosen: list[str], *, across: int = 0) -> Any:
    sent = {
        "action": f"export_{form}",
        "_selected_action": chosen,
        "select_across": across,
        "index": 0,
    }
    return client.post(address, sent)


def body(response: Any) -> str:
    assert response.status_code == 200
    return b"".join(response.streaming_content).decode()


@pytest.mark.proves("admin.exports")
def test_an_export_has_the_chosen_rows_and_is_on_record_with_who_what_and_how_many(
    staff: Client, org: Org
) -> None:
    sessions = [factories.pending(org) for _ in range(3)]
    address = f"{SESSIONS}?q={ids.encode('org', org.id)}"
    response = export(staff, address, "ndjson", [str(each.id) for each in sessions[:2]])
    rows = [json.loads(line) for line in body(response).splitlines()]
    assert [row["id"] for row in rows] == [ids.encode("sess", each.id) for each in sessions[1::-1]]
    assert rows[0]["organization_id"] == ids.encode("org", org.id)
    assert rows[0]["created_at"].endswith("Z")
    assert response["Content-Disposition"] == 'attachment; filename="runner_session.ndjson"'
    (record,) = on_record(org, f"verb=staff.exported&actor={name_of(staff)}")
    assert record["object"] == f"runner_session?q={ids.encode('org', org.id)}"
    assert record["detail"] == {"rows": 2, "format": "ndjson"}


@pytest.mark.proves("admin.exports")
def test_each_organization_has_its_own_rows_on_record(staff: Client, org: Org) -> None:
    other = Org()
    chosen = [str(factories.pending(each).id) for each in (org, org, other)]
    body(export(staff, SESSIONS, "csv", chosen))
    for each, rows in ((org, 2), (other, 1)):
        (record,) = on_record(each, "verb=staff.exported")
        assert record["detail"] == {"rows": rows, "format": "csv"}


@pytest.mark.proves("admin.exports")
def test_all_that_a_filter_finds_is_exported_up_to_a_bound_that_the_file_tells(
    staff: Client, org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.queue(org, factories.profile(org), 60)
    address = f"{SESSIONS}?q={ids.encode('org', org.id)}&state=pending"
    chosen = keys(staff.get(address))[:1]
    assert len(body(export(staff, address, "ndjson", chosen, across=1)).splitlines()) == 60
    monkeypatch.setattr(exports, "MOST", 5)
    lines = body(export(staff, address, "ndjson", chosen, across=1)).splitlines()
    assert json.loads(lines[-1]) == {"truncated_at": 5}
    assert len(lines) == 6
    lines = body(export(staff, address, "csv", chosen, across=1)).splitlines()
    assert lines[-1] == "Cut off at 5 rows"


@pytest.mark.proves("admin.exports")
@pytest.mark.parametrize("task", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_of_a_csv_is_a_formula(staff: Client, org: Org, task: str) -> None:
    session = factories.pending(org, task_id="x")
    with org.scope():
        type(session).objects.filter(id=session.id).update(task_id=task)
    text = body(export(staff, SESSIONS, "csv", [str(session.id)]))
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert row["task_id"] == f"'{task}"


@pytest.mark.proves("admin.exports")
def test_what_cannot_be_put_on_record_does_not_leave(
    staff: Client, org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(audit, "record_staff", fails)
    session = factories.pending(org)
    response = export(staff, SESSIONS, "csv", [str(session.id)])
    assert response.status_code == 500
    assert session.task_id.encode() not in response.content


@pytest.mark.proves("admin.exports")
def test_secrets_do_not_leave(staff: Client, org: Org) -> None:
    user = org.operator.user
    (row,) = body(export(staff, "/admin/identity/user/", "ndjson", [str(user.id)])).splitlines()
    assert json.loads(row)["email"] == user.email
    assert "password" not in json.loads(row)
    for secret in ("serviceaccountsecret", "refreshtoken", "revokedtoken"):
        page = staff.get(f"/admin/identity/{secret}/").content
        assert b"export_csv" not in page


@pytest.mark.proves("admin.exports")
def test_records_of_a_session_are_exported_with_what_they_say_and_no_salt(
    staff: Client, org: Org
) -> None:
    session = factories.running(org)
    given = [{"kind": "log", "level": "info", "message": f"line {n}"} for n in range(3)]
    with org.scope():
        events.ingest(session.id, given, by=org.runner.principal, lease_epoch=1)
    address = f"/admin/grants/event/?session={ids.encode('sess', session.id)}"
    chosen = keys(staff.get(address))
    rows = [
        json.loads(line) for line in body(export(staff, address, "ndjson", chosen)).splitlines()
    ]
    assert [row["seq"] for row in rows] == sorted((row["seq"] for row in rows), reverse=True)
    assert rows[0]["body"]["message"] == "line 2"
    assert len(rows[0]["hash"]) == 64
    assert "salt" not in rows[0]
