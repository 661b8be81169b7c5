"""What superusers do in the admin: a verb of the core, with a reason, on the record."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.test import Client

from grants.custody_models import LegalHold
from keeptrusts_runners import ids
from keeptrusts_runners.errors import PermissionDenied
from keeptrusts_runners.identity.models import User
from keeptrusts_runners.identity.scopes import Scope
from keeptrusts_runners.investigations import acts
from sessions.models import RunnerSession
from tests import factories
from tests.admin.staff import SESSIONS, looker, name_of, on_record, superuser
from tests.browsers import text_of
from tests.people import Org


@pytest.fixture
def root() -> Client:
    return superuser()


@pytest.fixture
def org() -> Org:
    return Org()


def act(
    client: Client, name: str, sessions: list[RunnerSession], address: str = SESSIONS, **sent: str
) -> Any:
    chosen = [str(each.id) for each in sessions]
    return client.post(address, {"action": name, "_selected_action": chosen, **sent}, follow=True)


def state(session: RunnerSession) -> str:
    return RunnerSession.objects.using("forensics").get(id=session.id).state


@pytest.mark.proves("admin.acts")
def test_a_superuser_cancels_with_a_reason_that_the_organization_finds(
    root: Client, org: Org
) -> None:
    waiting, running = factories.pending(org), factories.running(org)
    asked = act(root, "cancelled", [waiting, running])
    assert "2 chosen" in text_of(asked)
    assert state(waiting) == "pending"
    done = act(root, "cancelled", [waiting, running], confirmed="yes", reason="Runaway costs")
    assert "2 done" in text_of(done)
    assert (state(waiting), state(running)) == ("cancelled", "cancelling")
    for session in (waiting, running):
        name = ids.encode("sess", session.id)
        found = on_record(org, f"object={name}&actor={name_of(root)}")
        assert {each["verb"] for each in found} > {"staff.cancelled"}
        (record,) = (each for each in found if each["verb"] == "staff.cancelled")
        assert record["detail"] == {"reason": "Runaway costs"}
    chain = org.viewer.api.get(factories.path(waiting, "events")).json()["items"]
    assert chain[-1]["actor"] == name_of(root)


@pytest.mark.proves("admin.acts")
def test_without_a_reason_nothing_happens(root: Client, org: Org) -> None:
    session = factories.pending(org)
    answer = act(root, "cancelled", [session], confirmed="yes", reason="  ")
    assert answer.status_code == 422
    assert "Say why" in text_of(answer)
    assert state(session) == "pending"


@pytest.mark.proves("admin.acts")
def test_staff_look_and_do_not_act(org: Org) -> None:
    staff, session = looker(), factories.pending(org)
    assert b'value="cancelled"' not in staff.get(f"{SESSIONS}?find=waiting").content
    act(staff, "cancelled", [session], confirmed="yes", reason="Because")
    assert state(session) == "pending"
    assert on_record(org, "verb=staff.cancelled") == []
    with pytest.raises(PermissionDenied):
        acts.principal(User.objects.get(id=staff.session["_auth_user_id"]), org.id, Scope.WRITE)


@pytest.mark.proves("admin.acts")
def test_a_refusal_is_told_and_holds_up_no_other(root: Client, org: Org) -> None:
    ended, open_one = factories.pending(org), factories.pending(org)
    act(root, "cancelled", [ended], confirmed="yes", reason="First")
    with org.scope():
        RunnerSession.objects.filter(id=ended.id).update(state="failed")
    told = text_of(act(root, "cancelled", [ended, open_one], confirmed="yes", reason="Second"))
    assert f"Refused. {ids.encode('sess', ended.id)}" in told
    assert "1 done" in told
    assert state(open_one) == "cancelled"
    assert len(on_record(org, f"verb=staff.cancelled&object={ids.encode('sess', ended.id)}")) == 1


def test_a_page_of_them_at_once_and_no_more(root: Client, org: Org) -> None:
    sessions = factories.queue(org, factories.profile(org), acts.MOST_AT_ONCE + 1)
    sent = {
        "action": "cancelled", "_selected_action": [str(each) for each in sessions],
        "confirmed": "yes", "reason": "All of it",
    }  # fmt: skip
    assert "choose at most 50" in text_of(root.post(SESSIONS, sent, follow=True))
    assert on_record(org, "verb=staff.cancelled") == []


@pytest.mark.proves("admin.acts")
def test_a_superuser_holds_evidence(root: Client, org: Org) -> None:
    session = factories.pending(org)
    heads = "/admin/grants/ledgerhead/"
    act(root, "held", [session], heads, confirmed="yes", reason="Case 7")
    hold = LegalHold.objects.using("forensics").get(session_id=session.id)
    assert (hold.reason, hold.placed_by) == ("Case 7", name_of(root))
    assert on_record(org, "verb=hold.placed")


@pytest.mark.proves("admin.acts")
def test_the_principal_has_the_one_scope_and_may_approve_nothing(root: Client, org: Org) -> None:
    user = User.objects.get(id=UUID(root.session["_auth_user_id"]))
    by = acts.principal(user, org.id, Scope.WRITE)
    assert by.scopes == {Scope.WRITE}
    assert by.role is None
