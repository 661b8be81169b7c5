"""The admin: looking across organizations, for staff alone, and changing nothing."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import pytest
from django.contrib import admin
from django.test import Client

from grants import events
from grants.models import Event
from keeptrusts_runners import ids
from keeptrusts_runners.evidence import audit
from keeptrusts_runners.identity.models import User
from keeptrusts_runners.investigations.filters import id_range
from keeptrusts_runners.investigations.forensic import Forensic
from keeptrusts_runners.investigations.lists import CappedPaginator
from sessions import claims
from sessions.models import RunnerSession
from tests import factories
from tests.admin.staff import looker, signed_in
from tests.browsers import at_most, browser
from tests.people import Org

OURS = ("identity", "evidence", "profiles", "runner_sessions", "grants")
MODELS = [model for model in admin.site._registry if model._meta.app_label in OURS]
HOSTILE = "<script>alert(1)</script>"


def name(model: Any) -> str:
    return f"{model._meta.app_label}/{model._meta.model_name}"


@pytest.fixture
def staff() -> Client:
    return looker()


@pytest.fixture
def superuser() -> Client:
    return signed_in(is_staff=True, is_superuser=True)


@pytest.fixture(scope="module")
def session() -> RunnerSession:
    """In an organization that no staff belongs to."""
    org = Org()
    found = factories.running(org, factories.pending(org, task_id=HOSTILE, input={"x": HOSTILE}))
    given = [{"kind": "log", "level": "error", "message": HOSTILE} for _ in range(60)]
    with org.scope():
        events.ingest(found.id, given, by=org.runner.principal, lease_epoch=1)
        claims.checkpoint(found.id, {"x": HOSTILE}, by=org.runner.principal, lease_epoch=1)
    return found


# --- who gets in -----------------------------------------------------------------------------


def test_a_stranger_signs_in_where_everybody_does() -> None:
    client = browser()
    response = client.get("/admin/")
    assert response["Location"] == "/admin/login/?next=/admin/"
    assert client.get(response["Location"])["Location"] == "/sign-in?next=/admin/"


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_people_who_are_not_staff_are_told_so(model: Any) -> None:
    client = browser(Org().admin)
    response = client.get(f"/admin/{name(model)}/", follow=True)
    assert response.status_code == 403


def looks(org: Org, staff_user: str) -> list[str]:
    found = org.auditor.api.get(f"/runners/audit?verb=staff.viewed&actor={staff_user}").json()
    return [item["object"] for item in found["items"]]


@pytest.mark.proves("access.staff-audited")
def test_each_look_is_on_the_record_of_the_organizations_that_it_showed(
    staff: Client,
) -> None:
    mine, theirs, unseen = Org(), Org(), Org()
    user = ids.encode("user", UUID(staff.session["_auth_user_id"]))
    found = factories.pending(mine)
    assert staff.get(f"/admin/runner_sessions/runnersession/{found.id}/change/").status_code == 200
    assert looks(mine, user) == [ids.encode("sess", found.id)]
    profiles = [factories.profile(each) for each in (mine, theirs)]
    for each in profiles:
        prefix = ids.encode("prof", each.id)
        assert staff.get(f"/admin/profiles/runnerprofile/?q={prefix}").status_code == 200
    assert looks(mine, user)[0].startswith("runner_profile?q=")
    assert looks(theirs, user)[0].startswith("runner_profile?q=")
    assert looks(unseen, user) == []


@pytest.mark.proves("access.staff-audited")
def test_what_cannot_be_put_on_record_is_not_shown(
    staff: Client, session: RunnerSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(audit, "record_staff", fails)
    address = f"/admin/runner_sessions/runnersession/{session.id}/change/"
    response = staff.get(address)
    assert response.status_code == 500
    assert ids.encode("sess", session.id).encode() not in response.content


# --- lists -----------------------------------------------------------------------------------


def test_every_model_of_the_product_is_there() -> None:
    assert len(MODELS) == 27
    assert [model for model in admin.site._registry if model not in MODELS] == []


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_lists_cost_little(staff: Client, session: RunnerSession, model: Any) -> None:
    address = f"/admin/{name(model)}/"
    if model is Event:
        address += f"?session={ids.encode('sess', session.id)}"
    with at_most(12, "default", "forensics"):
        response = staff.get(address)
    assert response.status_code == 200


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_lists_are_bounded_and_ordered_by_an_index(model: Any) -> None:
    page = admin.site._registry[model]
    assert isinstance(page, Forensic)
    assert page.list_per_page == 50
    assert page.show_full_result_count is False
    assert page.paginator is CappedPaginator
    assert not page.sortable_by


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_nothing_is_added_or_deleted(superuser: Client, model: Any) -> None:
    assert superuser.get(f"/admin/{name(model)}/add/").status_code == 403
    page = admin.site._registry[model]
    assert not page.has_delete_permission(None)  # type: ignore[arg-type]
    if model is not User:
        assert not page.has_change_permission(None)  # type: ignore[arg-type]


def test_events_want_a_session_first(staff: Client, session: RunnerSession) -> None:
    with at_most(12, "default", "forensics"):
        response = staff.get("/admin/grants/event/")
    assert b"Choose a session" in response.content
    assert b"0 rows" in response.content
    for given in (ids.encode("sess", session.id), str(session.id)):
        response = staff.get(f"/admin/grants/event/?session={given}")
        assert b"&lt;script&gt;alert(1)" in response.content
    for given in ("sess_0", "nonsense", "%00"):
        response = staff.get(f"/admin/grants/event/?session={given}")
        assert b"0 rows" in response.content


# --- search ----------------------------------------------------------------------------------


def found(response: Any) -> int:
    return len(re.findall(r'<th class="field-', response.content.decode()))


def test_sessions_are_found_by_id_and_task_whole(staff: Client, session: RunnerSession) -> None:
    text = ids.encode("sess", session.id)
    for query in (text, text[:-3], str(session.id)):
        assert found(staff.get("/admin/runner_sessions/runnersession/", {"q": query})) == 1
    task = f"task-{ids.new()}"
    factories.pending(Org(), task_id=task)
    assert found(staff.get("/admin/runner_sessions/runnersession/", {"q": task})) == 1
    for query in (task[:-1], "sess_", "sess_!", "%", "grant_01"):
        response = staff.get("/admin/runner_sessions/runnersession/", {"q": query})
        assert response.status_code == 200
        assert found(response) == 0


def test_the_beginning_of_an_id_is_a_range_of_them() -> None:
    one = ids.new()
    low, high = id_range("sess", ids.encode("sess", one)[:15]) or (UUID(int=0), UUID(int=0))
    assert low < one < high
    assert id_range("sess", ids.encode("sess", one)) == (one, one)
    assert id_range("sess", "prof_01") is None
    assert id_range("", "sess_01") is None


# --- single objects --------------------------------------------------------------------------

SINGLE = [model for model in MODELS if model is not Event]


@pytest.mark.parametrize("model", SINGLE, ids=name)
def test_objects_open_with_everything_escaped(
    staff: Client, session: RunnerSession, model: Any
) -> None:
    row = model.objects.using("forensics").order_by("-pk").first()
    if row is None:
        pytest.fail(f"no {name(model)} to look at") if model.__name__ in CERTAIN else None
        return
    response = staff.get(f"/admin/{name(model)}/{row.pk}/change/")
    assert response.status_code == 200
    assert b"<script>alert" not in response.content
    assert b'name="_save"' not in response.content
    history = staff.get(f"/admin/{name(model)}/{row.pk}/history/")
    assert history["Location"].startswith("/admin/evidence/auditrecord/?q=")


CERTAIN = {"RunnerSession", "RunnerProfile", "Transition", "Checkpoint", "LedgerHead", "User"}


def test_a_session_shows_its_last_records_and_leads_on(
    staff: Client, session: RunnerSession
) -> None:
    response = staff.get(f"/admin/runner_sessions/runnersession/{session.pk}/change/")
    text = response.content.decode()
    assert text.count("&lt;script&gt;alert(1)") >= 20
    assert f"/admin/grants/event/?session={ids.encode('sess', session.pk)}" in text
    assert f"/admin/profiles/runnerprofile/{session.profile_id}/change/" in text


def test_what_is_not_there_is_not_found(staff: Client) -> None:
    for key in ("nonsense", ids.new()):
        address = f"/admin/runner_sessions/runnersession/{key}"
        assert staff.get(f"{address}/history/").status_code == 404
        assert staff.get(f"{address}/change/").status_code == 302


def test_nothing_can_be_saved(superuser: Client, session: RunnerSession) -> None:
    address = f"/admin/runner_sessions/runnersession/{session.pk}/change/"
    assert superuser.post(address, {"state": "completed"}).status_code == 403


def test_a_record_has_no_page_of_its_own(staff: Client, session: RunnerSession) -> None:
    event = Event.objects.using("forensics").filter(session_id=session.pk).first()
    assert event is not None
    assert staff.get(f"/admin/grants/event/{event.pk}/change/").status_code == 404


def test_superusers_change_who_may_enter_and_staff_do_not(staff: Client, superuser: Client) -> None:
    user = User.objects.create_user(f"{ids.new()}@example.test")
    address = f"/admin/identity/user/{user.pk}/change/"
    assert staff.post(address, {"name": "X", "is_active": "on"}).status_code == 403
    assert superuser.post(address, {"name": "Someone"}).status_code == 302
    user.refresh_from_db()
    assert (user.name, user.is_active) == ("Someone", False)


# --- what all of it keeps to -----------------------------------------------------------------


def test_instants_end_in_z(staff: Client, session: RunnerSession) -> None:
    response = staff.get("/admin/runner_sessions/transition/")
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", response.content.decode())
