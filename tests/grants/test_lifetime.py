"""How long a grant lives: by the database's clock, and never longer than the lease."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from grants import access
from grants.models import PermissionGrant
from keeptrusts_runners import ids
from sessions.models import DesiredState, RunnerSession
from sessions.states import State, Verb
from tests import factories
from tests.factories import path, session_api
from tests.grants.asking import (
    approve,
    ask,
    asked,
    overdue,
    place,
    requested,
    row,
    shown,
    stored_state,
    under,
    usable,
    use,
)
from tests.people import Org
from tests.races.threads import at_once
from tests.sessions import records, roads


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


def active(org: Org, session: RunnerSession) -> dict[str, Any]:
    grant = asked(org.operator.api, session)
    assert grant["state"] == "active"
    assert usable(org, grant)
    return grant


# --- the clock -------------------------------------------------------------------------------


def test_access_lasts_from_its_activation_for_the_time_that_was_given(org: Org) -> None:
    grant = row(org, active(org, factories.running(org)))
    assert grant.activated_at is not None
    assert grant.expires_at == grant.activated_at + timedelta(seconds=600)


def test_a_request_lapses_after_an_hour(org: Org) -> None:
    grant = requested(org, under(org))
    asked_at = row(org, grant)
    assert asked_at.request_lapses_at - asked_at.requested_at == timedelta(hours=1)
    overdue(org, grant, "request_lapses_at")
    assert stored_state(org, grant) == "requested"
    assert shown(org, grant)["state"] == "lapsed"
    answer = approve(org.approver.api, grant)
    assert (answer.status_code, answer.json()["code"]) == (409, "already_decided")
    assert answer.json()["state"] == "lapsed"


@pytest.mark.proves("grant.clock")
def test_an_expired_grant_allows_nothing_before_anybody_has_swept(org: Org) -> None:
    session = factories.running(org)
    grant = active(org, session)
    overdue(org, grant, "expires_at")
    assert not usable(org, grant)
    assert shown(org, grant)["state"] == "expired"
    assert org.viewer.api.get(path(session)).json()["counts"]["active_grants"] == 0
    answer = use(session_api(org, session), grant)
    assert (answer["allowed"], answer["uses"]) == (False, 0)
    refusal = records.last(org, session, "grant.refused")
    assert refusal.data["refusal"] == "grant_expired"
    assert stored_state(org, grant) == "active"


@pytest.mark.proves("grant.clock")
def test_a_lease_past_its_time_allows_nothing_before_the_reaper_comes(org: Org) -> None:
    session = factories.running(org)
    grant = active(org, session)
    roads.overdue(org, session, "lease_expires_at")
    assert not usable(org, grant)
    answer = use(session_api(org, session), grant)
    assert answer["allowed"] is False
    assert records.last(org, session, "grant.refused").data["refusal"] == "lease_expired"


def test_the_sweep_writes_down_what_lapsed_and_what_expired(org: Org) -> None:
    session = factories.running(org)
    waiting, expiring = requested(org, session), active(org, session)
    lasting = active(org, session)
    overdue(org, waiting, "request_lapses_at")
    overdue(org, expiring, "expires_at")
    counts = access.run_once()
    assert counts["lapsed"] >= 1
    assert counts["expired"] >= 1
    found = [stored_state(org, grant) for grant in (waiting, expiring, lasting)]
    assert found == ["lapsed", "expired", "active"]
    before = records.stored(org, session)
    access.run_once()
    assert records.stored(org, session) == before
    records.assert_sound(org, session)


def test_sweeps_at_the_same_time_write_nothing_twice(org: Org) -> None:
    session = factories.running(org)
    grants = [active(org, session) for _ in range(5)]
    for grant in grants:
        overdue(org, grant, "expires_at")
    assert not any(counts["failed"] for counts in at_once([access.run_once] * 4))
    assert records.kinds(org, session).count("grant.ended") == len(grants)
    records.assert_sound(org, session)


def test_a_grant_that_cannot_be_swept_holds_up_no_other(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = factories.running(org)
    poison, well = active(org, session), active(org, session)
    for grant in (poison, well):
        overdue(org, grant, "expires_at")
    lapse = access._lapse

    def stumbling(session_id: Any, grant_id: Any, by: Any) -> str:
        if grant_id == ids.decode("grant", poison["id"]):
            raise RuntimeError("a defect")
        return lapse(session_id, grant_id, by)

    monkeypatch.setattr(access, "_lapse", stumbling)
    access.run_once()
    assert [stored_state(org, grant) for grant in (poison, well)] == ["active", "expired"]
    monkeypatch.undo()
    access.run_once()
    assert stored_state(org, poison) == "expired"


@pytest.mark.parametrize("end", ["revoke", "complete"])
def test_what_has_expired_is_not_ended_otherwise_afterwards(org: Org, end: str) -> None:
    """How it ended does not depend on whether the sweep came by before."""
    session = factories.running(org)
    grant = active(org, session)
    overdue(org, grant, "expires_at")
    if end == "revoke":
        assert org.operator.api.delete(place(grant)).status_code == 204
    else:
        roads.end(org, session, Verb.COMPLETE)
    assert stored_state(org, grant) == "expired"
    records.assert_sound(org, session)


# --- the lease -------------------------------------------------------------------------------

ENDS: dict[str, Callable[[Org, RunnerSession], Any]] = {
    "completed": lambda org, session: roads.end(org, session, Verb.COMPLETE),
    "failed": lambda org, session: roads.end(org, session, Verb.FAIL),
    "tried again": lambda org, session: roads.end(org, session, Verb.FAIL, retryable=True),
    "cancelling": roads.cancel,
    "cancelled by force": lambda org, session: org.operator.api.post(
        path(session, "cancel"), {"force": True}
    ),
    "lost": lambda org, session: roads.settled(org, session, "lease_expires_at"),
    "timed out": lambda org, session: roads.settled(org, session, "deadline_at"),
}


@pytest.mark.proves("grant.ends-with-lease")
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_grants_end_in_the_transaction_that_ends_the_lease(
    org: Org, end: Callable[[Org, RunnerSession], Any]
) -> None:
    session = factories.running(org, factories.pending(org, max_attempts=2))
    token = session_api(org, session)
    grants = [active(org, session), asked(token, session)]
    end(org, session)
    for grant in grants:
        assert stored_state(org, grant) == "ended"
        assert not usable(org, grant)
    kinds = records.kinds(org, session)
    ended_at = max(n for n, kind in enumerate(kinds) if kind.startswith("state."))
    assert kinds[ended_at:].count("grant.ended") == 2
    assert records.last(org, session, "grant.ended").recorded_at == (
        records.transitions(org, session)[-1].at
    )
    refused = token.post(place(grants[0], "use"), {})
    if refused.status_code == 200:
        assert refused.json()["allowed"] is False
    else:
        assert refused.json()["code"] == "lease_lost"
    records.assert_sound(org, session)


def test_grants_end_with_a_pause_that_takes_effect_and_not_with_the_wish(org: Org) -> None:
    session = factories.running(org)
    grant = active(org, session)
    roads.pause(org, session)
    assert usable(org, grant)
    roads.acknowledge(org, session, DesiredState.PAUSED)
    assert (stored_state(org, grant), usable(org, grant)) == ("ended", False)
    assert shown(org, grant)["end_reason"] == "session_paused"


@pytest.mark.proves("grant.ends-with-lease")
def test_a_grant_is_dead_with_its_lease_even_if_nothing_had_ended_it(org: Org) -> None:
    """The join alone decides: the row says active, the session says otherwise."""
    session = factories.running(org, factories.pending(org, max_attempts=2))
    grant = active(org, session)
    roads.end(org, session, Verb.FAIL, retryable=True)
    with org.scope():
        PermissionGrant.objects.filter(id=ids.decode("grant", grant["id"])).update(
            state="active", ended_at=None
        )
    assert not usable(org, grant)
    roads.overdue(org, session, "not_before")
    second = factories.running(org, session)
    assert not usable(org, grant)
    assert use(session_api(org, second), grant)["allowed"] is False
    assert records.last(org, session, "grant.refused").data["refusal"] == "lease_ended"


def test_a_grant_of_another_session_is_not_there(org: Org) -> None:
    grant, other = active(org, factories.running(org)), factories.running(org)
    answer = session_api(org, other).post(path(other, "permissions", grant["id"], "use"), {})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


# --- before the lease ------------------------------------------------------------------------


def test_a_grant_approved_before_the_lease_begins_with_it(org: Org) -> None:
    session = factories.pending(org)
    grant = asked(org.operator.api, session)
    assert (grant["state"], grant["expires_at"]) == ("approved", None)
    assert not usable(org, grant)
    claimed = factories.claimed(org, session)
    begun = shown(org, grant)
    assert (begun["state"], begun["lease_epoch"]) == ("active", 1)
    assert begun["activated_at"] == org.viewer.api.get(path(session)).json()["dispatched_at"]
    assert usable(org, grant)
    assert use(session_api(org, claimed), grant)["allowed"] is True
    assert "grant.activated" in records.kinds(org, session)
    records.assert_sound(org, session)


def test_a_request_made_and_approved_before_the_lease_begins_with_it(org: Org) -> None:
    on = factories.profile(org, grant_policy=[{"operation": "*"}])
    session = factories.pending(org, on)
    grant = asked(org.operator.api, session)
    assert grant["state"] == "requested"
    assert approve(org.approver.api, grant).json()["state"] == "approved"
    factories.claimed(org, session)
    assert shown(org, grant)["state"] == "active"


def test_a_persons_request_outlives_the_lease_but_not_the_session(org: Org) -> None:
    on = factories.profile(org, grant_policy=[{"operation": "*"}], max_attempts=2)
    session = factories.running(org, factories.pending(org, on))
    grant = asked(org.operator.api, session)
    waiting = roads.requeue(org, session)
    assert stored_state(org, grant) == "requested"
    assert approve(org.approver.api, grant).json()["state"] == "approved"
    roads.cancel(org, waiting)
    assert (stored_state(org, grant), shown(org, grant)["end_reason"]) == (
        "ended",
        "session_ended",
    )
    records.assert_sound(org, session)


@pytest.mark.parametrize("state", [State.CANCELLING, State.COMPLETED, State.LOST, State.EXPIRED])
def test_nothing_is_granted_to_what_is_ending_or_over(org: Org, state: State) -> None:
    session = roads.reach(org, state)
    before = records.stored(org, session)
    answer = ask(org.operator.api, session)
    assert (answer.status_code, answer.json()["current_state"]) == (409, state)
    assert records.stored(org, session) == before


# --- revoke ----------------------------------------------------------------------------------


def test_revoking_ends_a_grant_now_and_the_row_stays(org: Org) -> None:
    session = factories.running(org)
    token, grant = session_api(org, session), active(org, session)
    assert org.operator.api.delete(place(grant)).status_code == 204
    assert use(token, grant)["allowed"] is False
    over = shown(org, grant)
    assert (over["state"], over["ended_by"]) == ("revoked", org.operator.principal.account)
    before = records.stored(org, session)
    assert org.operator.api.delete(place(grant)).status_code == 204
    assert records.stored(org, session) == before


def test_a_request_is_withdrawn_by_revoking_it(org: Org) -> None:
    grant = requested(org, under(org))
    assert org.operator.api.delete(place(grant)).status_code == 204
    assert approve(org.approver.api, grant).json()["code"] == "already_decided"


def test_a_runner_revokes_only_under_its_own_lease(org: Org) -> None:
    grant = active(org, factories.running(org))
    answer = org.machine().api.delete(place(grant))
    assert (answer.status_code, answer.json()["code"]) == (403, "not_lease_holder")
    assert usable(org, grant)
    assert org.runner.api.delete(place(grant)).status_code == 204


def test_a_runner_revokes_under_a_later_epoch_by_naming_it(org: Org) -> None:
    session = roads.second_epoch(org)
    grant = active(org, session)
    refused = org.runner.api.delete(place(grant))
    assert (refused.status_code, refused.json()["code"]) == (409, "lease_epoch_required")
    assert org.runner.api.delete(place(grant), **{"Lease-Epoch": "1"}).status_code == 409
    assert org.runner.api.delete(place(grant), **{"Lease-Epoch": "2"}).status_code == 204
    assert stored_state(org, grant) == "revoked"
