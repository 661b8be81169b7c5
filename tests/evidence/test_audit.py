"""The audit log: every mutation and every denial, by whom and from where, and unchangeable."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import Error, connections
from django.db.models import F
from structlog.testing import capture_logs

from grants.ledger import microseconds
from keeptrusts_runners import clock, ids
from keeptrusts_runners.evidence import audit, denials, unauthenticated
from keeptrusts_runners.evidence.audit_models import AuditRecord, Denial
from keeptrusts_runners.identity import accounts
from tests import factories
from tests.contract.calls import call
from tests.contract.routes import TABLE, Route
from tests.people import Api, Org, client

# Telemetry under a lease, which the session's chain alone records, and what changes nothing.
NOT_AUDITED = {
    "PATCH /v1/runners/sessions/{session_id}",  # in the table of progress alone
    "POST /v1/runners/sessions/{session_id}/heartbeat",
    "POST /v1/runners/sessions/{session_id}/events",
    "POST /v1/runners/profiles/{profile_id}/unpause",  # in the table its profile is not paused
    "POST /v1/runners/executors/{executor_id}/undrain",  # likewise
    "POST /v1/runners/sessions/{session_id}/evidence/verification",  # looks, and changes nothing
    # What was no artifact yet is on no record.
    "DELETE /v1/runners/sessions/{session_id}/artifacts/{artifact_id}/content",
    # Changes nothing of an artifact that is good.
    "POST /v1/runners/sessions/{session_id}/artifacts/{artifact_id}/verification",
    "POST /v1/runners/permissions/introspect",  # likewise
    # Refused by the store of these tests; what they lead to is in the chain: test_direct_uploads.
    "POST /v1/runners/sessions/{session_id}/artifacts/direct",
    "POST /v1/runners/sessions/{session_id}/artifacts/{artifact_id}/parts",
    "POST /v1/runners/sessions/{session_id}/artifacts/{artifact_id}/complete",
}
MUTATIONS = [route for route in TABLE if route.method != "GET" and route.name not in NOT_AUDITED]


@pytest.fixture
def org() -> Org:
    return Org()


@pytest.fixture
def minute_later() -> Any:
    """The denials so far happened a minute ago."""

    def move(org: Org) -> None:
        with org.scope():
            Denial.objects.update(minute=F("minute") - timedelta(minutes=1))

    return move


def listed(org: Org, query: str = "") -> list[dict[str, Any]]:
    answer = org.auditor.api.get(f"/runners/audit{query}")
    assert answer.status_code == 200, answer.content
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def rows(org: Org) -> list[AuditRecord]:
    with org.scope():
        return list(AuditRecord.objects.filter(organization_id=org.id).order_by("id"))


@pytest.mark.proves("audit.every-mutation")
@pytest.mark.parametrize("route", MUTATIONS, ids=lambda route: route.name)
def test_every_mutation_is_on_record_with_its_request_actor_and_address(
    org: Org, route: Route
) -> None:
    objects, request_id = route.prepare(org), ids.new().hex
    answer = call(org.admin.api, route, objects, **{"X-Request-Id": request_id})
    assert answer.status_code == route.succeeds, answer.content
    found = listed(org, f"?request_id={request_id}")
    assert found, "no record of it"
    for item in found:
        assert (item["actor"], item["outcome"]) == (org.admin.principal.actor, "done")
        assert item["source_address"] == "127.0.0.1"
        assert item["before"] or item["after"]


@pytest.mark.proves("audit.every-mutation")
def test_what_a_person_amends_is_on_record_with_what_changed(org: Org) -> None:
    session = factories.pending(org)
    assert org.operator.api.patch(factories.path(session), {"priority": 5}).status_code == 200
    (item,) = listed(org, "?verb=session.amended")
    assert item["object"] == ids.encode("sess", session.id)
    assert item["detail"] == {"changed": ["priority"]}
    assert item["before"] != item["after"]


@pytest.mark.proves("audit.every-mutation")
def test_what_one_change_left_is_what_the_next_began_with(org: Org) -> None:
    body = {"name": "chained", "description": "", "execution_target": "runner"}
    made = org.operator.api.post("/runners/profiles", body).json()
    place = f"/runners/profiles/{made['id']}"
    assert org.operator.api.put(place, body | {"description": "other"}).status_code == 200
    assert org.operator.api.post(f"{place}/pause").status_code == 200
    paused, replaced, created = listed(org, f"?object={made['id']}")
    assert (created["before"], replaced["before"]) == (None, created["after"])
    assert paused["before"] == replaced["after"]


@pytest.mark.proves("audit.every-mutation")
def test_evidence_that_left_the_house_is_on_record(org: Org) -> None:
    session = factories.pending(org)
    answer = org.auditor.api.get(factories.path(session, "evidence"))
    assert b"".join(answer.streaming_content)
    (item,) = listed(org, "?verb=evidence.exported")
    assert (item["object"], item["actor"]) == (
        ids.encode("sess", session.id),
        org.auditor.principal.actor,
    )


def test_a_step_of_a_session_is_on_record_by_the_hashes_of_its_chain(org: Org) -> None:
    session = factories.pending(org)
    assert org.operator.api.post(factories.path(session, "pause")).status_code == 200
    paused, dispatched = listed(org, f"?object={ids.encode('sess', session.id)}")
    assert (paused["verb"], dispatched["verb"]) == ("state.paused", "state.pending")
    assert paused["before"] == dispatched["after"]
    assert paused["detail"]["seq"] == 2


def test_a_mutation_that_is_rolled_back_leaves_no_record(org: Org) -> None:
    operator = org.operator.api
    before = len(rows(org))
    answer = operator.post("/runners/sessions", {"profile_id": ids.encode("prof", ids.new())})
    assert answer.status_code == 422
    assert len(rows(org)) == before


def test_a_command_acts_as_the_system(org: Org) -> None:
    with org.scope():
        account, _ = accounts.create_service_account(org.id, "by hand", "runner")
    (item,) = listed(org, f"?object={ids.encode('sa', account.id)}")
    assert (item["actor"], item["verb"]) == ("system", "service_account.created")
    assert item["detail"] == {"before": None, "after": {"name": "by hand", "role": "runner"}}
    assert (item["request_id"], item["source_address"]) == ("", None)


def test_no_record_tells_a_secret(org: Org) -> None:
    body = {"name": "with a secret", "role": "runner"}
    made = org.admin.api.post("/service-accounts", body).json()
    claimed = org.runner.api.post(factories.path(factories.pending(org), "claim")).json()
    told = b"".join(bytes(row.body) for row in rows(org))
    assert made["client_secret"].encode() not in told
    assert claimed["session_token"].encode() not in told


# --- denials ---------------------------------------------------------------------------------


@pytest.mark.proves("audit.denials")
def test_denials_of_a_minute_become_one_record_with_their_number(
    org: Org, minute_later: Any
) -> None:
    session = factories.pending(org)
    for _ in range(3):
        answer = org.viewer.api.post(factories.path(session, "cancel"))
        assert answer.status_code == 403
    assert listed(org, "?outcome=denied") == []
    minute_later(org)
    assert denials.run_once()["recorded"] >= 1
    (item,) = listed(org, "?outcome=denied")
    assert (item["verb"], item["actor"]) == ("access.denied", org.viewer.principal.actor)
    assert item["object"] == "POST /v1/runners/sessions/<sess:session_id>/cancel"
    assert (item["detail"]["code"], item["detail"]["count"]) == ("missing_scope", 3)
    assert item["detail"]["first_request_id"]
    denials.run_once()
    assert len(listed(org, "?outcome=denied")) == 1


@pytest.mark.proves("audit.denials")
def test_a_page_that_is_denied_is_counted_as_well(org: Org, minute_later: Any) -> None:
    browser = client()
    browser.force_login(org.viewer.user)
    session = ids.encode("sess", factories.pending(org).id)
    assert browser.get(f"/runners/sessions/{session}/evidence/bundle").status_code == 403
    minute_later(org)
    denials.run_once()
    (item,) = listed(org, "?outcome=denied")
    assert item["object"].startswith("GET /runners/sessions/")


def test_who_is_not_known_is_logged_and_on_no_organizations_record(org: Org) -> None:
    before = len(rows(org))
    with capture_logs() as lines:
        Api().get("/runners/sessions")
    assert len(rows(org)) == before
    (line,) = [line for line in lines if line["event"] == "access.unauthenticated"]
    assert (line["route"], line["code"]) == ("v1/runners/sessions", "not_authenticated")


@pytest.mark.proves("audit.denials")
def test_who_is_not_known_is_counted_for_the_metrics_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def told() -> float:
        (family,) = unauthenticated.metrics()
        return sum(s.value for s in family.samples if s.labels["code"] == "not_authenticated")

    before, instant = told(), 0.0
    monkeypatch.setattr(unauthenticated.time, "monotonic", lambda: instant)
    monkeypatch.setattr(unauthenticated, "tally", unauthenticated.Tally())
    for _ in range(3):
        Api().get("/runners/sessions")
    assert told() == before + 1
    instant = unauthenticated.EVERY_SECONDS + 1
    Api().get("/runners/sessions")
    assert told() == before + 4


# --- reading ---------------------------------------------------------------------------------


def test_who_may_audit_reads_it_and_nobody_else(org: Org) -> None:
    factories.pending(org)
    newest = listed(org)[0]["id"]
    assert org.auditor.api.get(f"/runners/audit/{newest}").status_code == 200
    for path in ("/runners/audit", f"/runners/audit/{newest}"):
        assert org.operator.api.get(path).json()["code"] == "missing_scope"
    outsider = Org()
    assert outsider.auditor.api.get(f"/runners/audit/{newest}").status_code == 404
    assert newest not in {item["id"] for item in listed(outsider)}


def test_it_is_searched_by_actor_verb_object_and_time(org: Org) -> None:
    first = factories.pending(org)
    assert org.operator.api.post(factories.path(first, "pause")).status_code == 200
    with org.scope():
        between = clock.now()
    assert org.admin.api.post(factories.path(first, "resume")).status_code == 200
    name = ids.encode("sess", first.id)
    by_operator = listed(org, f"?object={name}&actor={org.operator.principal.actor}")
    assert "state.paused" in {item["verb"] for item in by_operator}
    assert "state.running" not in {item["verb"] for item in by_operator}
    instant = clock.rfc3339(between)
    later = [item["actor"] for item in listed(org, f"?object={name}&created_after={instant}")]
    assert later == [org.admin.principal.actor]
    earlier = listed(org, f"?object={name}&created_before={instant}")
    assert {item["verb"] for item in earlier} == {"state.pending", "state.paused"}
    assert org.auditor.api.get("/runners/audit?verb=").status_code == 400
    assert org.auditor.api.get("/runners/audit?who=me").status_code == 400


# --- what holds it ---------------------------------------------------------------------------


@pytest.mark.proves("audit.append-only")
@pytest.mark.parametrize("alias", ["default", "migrate"])
@pytest.mark.parametrize(
    "change", ["UPDATE evidence_audit SET actor = 'x'", "DELETE FROM evidence_audit"]
)
def test_nobody_changes_or_deletes_a_record(org: Org, alias: str, change: str) -> None:
    factories.pending(org)
    before = rows(org)
    with pytest.raises(Error), connections[alias].cursor() as cursor:
        cursor.execute(change)
    assert [bytes(row.digest) for row in rows(org)] == [bytes(row.digest) for row in before]


@pytest.mark.proves("audit.append-only")
def test_the_digest_of_a_record_is_what_its_bytes_give(org: Org) -> None:
    factories.pending(org)
    for row in rows(org):
        at = microseconds(row.at)
        assert audit.digest(org.id, row.id, at, bytes(row.body)) == bytes(row.digest)
        changed = bytes(row.body).replace(b"done", b"gone")
        assert audit.digest(org.id, row.id, at, changed) != bytes(row.digest)
    told = org.auditor.api.get(f"/runners/audit/{ids.encode('aud', rows(org)[0].id)}").json()
    assert json.loads(told["body"])["verb"] == "organization.created"
    assert told["digest"] == bytes(rows(org)[0].digest).hex()
