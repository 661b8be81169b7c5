"""Each named investigation finds what it is named for, and nothing sound beside it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.contrib import admin
from django.db.models import F
from django.test import Client

from grants.custody_models import Verification
from grants.models import PermissionGrant
from keeptrusts_runners import clock, ids
from keeptrusts_runners.evidence import audit
from keeptrusts_runners.evidence.audit_models import AuditRecord, Denial
from keeptrusts_runners.investigations.questions import Investigation
from sessions.models import RunnerSession
from tests import factories
from tests.admin.staff import SESSIONS, as_owner, keys, looker, on_record
from tests.browsers import at_most, text_of
from tests.people import Org

PAGES: list[Any] = list(admin.site._registry.values())
ALL = [(page, each) for page in PAGES for each in getattr(page, "investigations", ())]


def address(page: Any, more: str = "") -> str:
    meta = page.model._meta
    return f"/admin/{meta.app_label}/{meta.model_name}/{more}"


@pytest.fixture(scope="module")
def staff() -> Client:
    return looker()


@pytest.fixture
def org() -> Org:
    return Org()


def found(staff: Client, slug: str, where: str = SESSIONS) -> list[str]:
    with at_most(12, "default", "forensics"):
        return keys(staff.get(f"{where}?find={slug}"))


@pytest.mark.proves("admin.investigations")
@pytest.mark.parametrize(
    ("page", "each"), ALL, ids=[f"{page.opts.model_name}-{each.slug}" for page, each in ALL]
)
def test_each_is_one_link_away_says_what_it_means_and_costs_little(
    staff: Client, page: Any, each: Investigation
) -> None:
    to = address(page, f"?find={each.slug}")
    assert f'href="{to}"' in staff.get("/admin/").content.decode()
    with at_most(12, "default", "forensics"):
        response = staff.get(to)
    assert response.status_code == 200
    assert each.hint in text_of(response).replace("&#x27;", "'")


@pytest.mark.proves("admin.investigations")
def test_none_asks_an_index_for_what_changes_while_it_is_read() -> None:
    assert not [each.slug for _, each in ALL if "clock_timestamp" in each.sql]


def test_what_is_no_investigation_is_the_whole_list(staff: Client, org: Org) -> None:
    factories.pending(org)
    assert found(staff, "nonsense") == found(staff, "")


# --- sessions ----------------------------------------------------------------------------------


@pytest.mark.proves("admin.investigations")
def test_what_nobody_claims_for_an_hour(staff: Client, org: Org) -> None:
    fresh, old, put_off = (factories.pending(org) for _ in range(3))
    as_owner(
        "UPDATE runner_session SET created_at = created_at - interval '2 hours',"
        " not_before = CASE WHEN id = %s THEN clock_timestamp() END WHERE id IN (%s, %s)",
        put_off.id, old.id, put_off.id,
    )  # fmt: skip
    waiting = found(staff, "waiting")
    assert str(old.id) in waiting
    assert not {str(fresh.id), str(put_off.id)} & set(waiting)


@pytest.mark.proves("admin.investigations")
def test_what_is_past_its_deadline_or_lease(staff: Client, org: Org) -> None:
    sound, late, silent = factories.running(org), factories.pending(org), factories.running(org)
    past = "clock_timestamp() - interval '2 minutes'"
    as_owner(f"UPDATE runner_session SET deadline_at = {past} WHERE id = %s", late.id)
    as_owner(f"UPDATE runner_session SET lease_expires_at = {past} WHERE id = %s", silent.id)
    overdue = found(staff, "overdue")
    assert {str(late.id), str(silent.id)} <= set(overdue)
    assert str(sound.id) not in overdue


def _ended(session: RunnerSession, state: str, reason: str) -> str:
    as_owner(
        "UPDATE runner_session SET state = %s, reason = %s, ended_at = clock_timestamp(),"
        " lease_expires_at = NULL WHERE id = %s",
        state, reason, session.id,
    )  # fmt: skip
    return str(session.id)


@pytest.mark.proves("admin.investigations")
def test_what_is_lost_until_somebody_decides(staff: Client, org: Org) -> None:
    lost, decided = (_ended(factories.running(org), "lost", "lease_expired") for _ in range(2))
    as_owner("UPDATE runner_session SET disposition = 'accept' WHERE id = %s", UUID(decided))
    assert lost in found(staff, "lost")
    assert decided not in found(staff, "lost")


@pytest.mark.proves("admin.investigations")
def test_what_was_cancelled_and_never_confirmed(staff: Client, org: Org) -> None:
    forced = _ended(factories.running(org), "cancelled", "cancel_forced")
    confirmed = _ended(factories.running(org), "cancelled", "cancel_acknowledged")
    assert forced in found(staff, "unconfirmed")
    assert confirmed not in found(staff, "unconfirmed")


@pytest.mark.proves("admin.investigations")
def test_the_same_task_twice_but_not_its_retries_or_another_organizations(
    staff: Client, org: Org
) -> None:
    task = f"task-{ids.new()}"
    once, elsewhere = factories.pending(org, task_id=f"{task}-b"), Org()
    one, two = (factories.pending(org, task_id=task) for _ in range(2))
    other = factories.pending(elsewhere, task_id=f"{task}-b")
    twice = found(staff, "twice")
    assert {str(one.id), str(two.id)} <= set(twice)
    assert not {str(once.id), str(other.id)} & set(twice)


@pytest.mark.proves("admin.investigations")
def test_writes_after_the_lease(staff: Client, org: Org) -> None:
    session = factories.running(org)
    path = factories.path(session, "heartbeat")
    assert org.runner.api.post(path, {"lease_epoch": 7}).json()["code"] == "lease_lost"
    listed = staff.get("/admin/runner_sessions/refusal/?find=stale")
    assert ids.encode("sess", session.id) in text_of(listed)


# --- grants ------------------------------------------------------------------------------------

GRANTS = "/admin/grants/permissiongrant/"


def _grant(org: Org, session: RunnerSession) -> str:
    body = {"operation": "deploy", "reason": "Because", "ttl_seconds": 600}
    made = org.operator.api.post(factories.path(session, "permissions"), body).json()
    return str(ids.decode("grant", made["id"]))


@pytest.mark.proves("admin.investigations")
def test_grants_that_are_active_after_the_end(staff: Client, org: Org) -> None:
    sound, left = factories.running(org), factories.running(org)
    grants = [_grant(org, each) for each in (sound, left)]
    _ended(left, "lost", "lease_expired")
    assert grants[1] in found(staff, "after-end", GRANTS)
    assert grants[0] not in found(staff, "after-end", GRANTS)
    as_owner("UPDATE runner_grant SET state = 'ended' WHERE id = %s", UUID(grants[1]))


@pytest.mark.proves("admin.investigations")
def test_grants_that_nobody_decided_and_that_wait(staff: Client, org: Org) -> None:
    session = factories.running(org)
    issued = _grant(org, session)
    asked = factories.session_api(org, session).post(
        factories.path(session, "permissions"),
        {"operation": "deploy", "reason": "Because", "ttl_seconds": 600},
    )
    waiting = str(ids.decode("grant", asked.json()["id"]))
    assert issued in found(staff, "undecided", GRANTS)
    assert waiting in found(staff, "waiting", GRANTS)
    assert waiting not in found(staff, "undecided", GRANTS)
    org.operator.api.delete(
        factories.path(session, "permissions", ids.encode("grant", UUID(issued)))
    )
    assert issued in found(staff, "refused", GRANTS)
    shown = text_of(staff.get(f"{GRANTS}{issued}/change/"))
    assert "grant.activated" in shown
    assert PermissionGrant.objects.using("forensics").get(id=issued).state == "revoked"


# --- evidence ----------------------------------------------------------------------------------


@pytest.mark.proves("admin.investigations")
def test_broken_chains(staff: Client, org: Org) -> None:
    for verdict in ("broken", "verified"):
        session = factories.pending(org)
        with org.scope():
            Verification.objects.create(
                session_id=session.id, organization_id=org.id, verdict=verdict, records=1,
                head_hash=b"", first_bad_seq=1, checked_at=clock.now(),
            )  # fmt: skip
        listed = str(session.id) in found(staff, "broken", "/admin/grants/verification/")
        assert listed == (verdict == "broken")


@pytest.mark.proves("admin.investigations")
def test_artifacts_that_are_not_what_was_recorded(staff: Client, org: Org) -> None:
    session = factories.running(org)
    path = factories.path(session, "artifacts?name=a.txt&kind=log")
    sent = {"Content_Type": "text/plain"}
    made = [
        factories.session_api(org, session).request("POST", path, raw=each, **sent).json()
        for each in (b"one", b"two")
    ]
    sound, damaged = (ids.decode("art", each["id"]) for each in made)
    as_owner("UPDATE runner_artifact SET status = 'missing' WHERE id = %s", damaged)
    artifacts = "/admin/grants/artifact/"
    assert str(damaged) in found(staff, "damaged", artifacts)
    assert str(sound) not in found(staff, "damaged", artifacts)
    assert keys(staff.get(f"{artifacts}?q={made[0]['sha256']}")) == [str(sound)]


@pytest.mark.proves("admin.investigations")
def test_heads_that_the_log_does_not_have(staff: Client, org: Org) -> None:
    session = factories.pending(org)
    heads = "/admin/grants/ledgerhead/"
    assert str(session.id) not in found(staff, "unanchored", heads)
    as_owner(
        "UPDATE evidence_pending SET at = at - interval '2 minutes' WHERE subject = %s", session.id
    )
    assert str(session.id) in found(staff, "unanchored", heads)
    assert "Up to #1" in text_of(staff.get(f"{heads}{session.id}/change/"))


# --- the audit log -----------------------------------------------------------------------------


@pytest.mark.proves("admin.investigations")
def test_bursts_of_denials(staff: Client, org: Org) -> None:
    with org.scope():
        for count in (3, 12):
            for _ in range(count):
                audit.deny(org.id, actor=f"user_{count}", route="GET /x", code="missing_scope")
    assert "user_12" in text_of(staff.get("/admin/evidence/denial/?find=bursts"))
    with org.scope():
        Denial.objects.update(minute=F("minute") - timedelta(minutes=1))
        audit.seal_denials(org.id)
    listed = text_of(staff.get("/admin/evidence/auditrecord/?find=denied"))
    assert "user_12" in listed
    assert "user_3 " not in listed


@pytest.mark.proves("admin.investigations")
@pytest.mark.parametrize("slug", ["people", "staff"])
def test_who_let_whom_in_and_what_staff_looked_at(staff: Client, org: Org, slug: str) -> None:
    session = factories.pending(org)
    staff.get(f"{SESSIONS}{session.id}/change/")
    verb = {"people": "member.added", "staff": "staff.viewed"}[slug]
    assert on_record(org, f"verb={verb}")
    mine = AuditRecord.objects.using("forensics").filter(organization_id=org.id, verb=verb)
    record = mine.order_by("-id")[0]
    assert str(record.id) in found(staff, slug, "/admin/evidence/auditrecord/")
