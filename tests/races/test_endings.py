"""Endings against endings: whatever comes first counts, whole, and the rest is told so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from grants import access
from grants.models import GrantState, PermissionGrant
from keeptrusts_runners import ids
from keeptrusts_runners.errors import DomainError
from keeptrusts_runners.identity import principal
from sessions import claims, lifecycle, outcomes, reaper
from sessions.models import RunnerSession
from sessions.states import LEASED, State, Verb
from tests import factories
from tests.people import Org
from tests.races.threads import at_once
from tests.sessions import records, roads

ROUNDS = 50


@pytest.fixture(scope="module")
def org() -> Org:
    org = Org()
    # Named before any scope is open, since naming them makes them.
    assert org.operator.principal.id
    assert org.runner.principal.id
    return org


def attempt(org: Org, verb: Callable[[], Any]) -> Any:
    """The verb's answer, or the code of its refusal."""
    try:
        with org.scope():
            return verb()
    except DomainError as refusal:
        return refusal.code


def complete(org: Org, session: RunnerSession) -> Any:
    ended = partial(
        outcomes.end, session.id, Verb.COMPLETE, {"result": {}}, by=org.runner.principal,
        lease_epoch=session.lease_epoch,
    )  # fmt: skip
    answer = attempt(org, ended)
    return str(answer.state) if isinstance(answer, RunnerSession) else answer


def cancel(org: Org, session: RunnerSession) -> Any:
    answer = attempt(org, partial(lifecycle.cancel, session.id, by=org.operator.principal))
    return str(answer.state) if isinstance(answer, RunnerSession) else answer


def reap(org: Org, session: RunnerSession) -> Any:
    by = principal.system(org.id)
    answer = attempt(org, partial(reaper.settle, session.id, by=by))
    return str(answer.state) if isinstance(answer, RunnerSession) else answer


def beat(org: Org, session: RunnerSession) -> Any:
    answer = attempt(
        org, partial(claims.heartbeat, session.id, by=org.runner.principal, lease_epoch=1)
    )
    return str(answer.state) if isinstance(answer, RunnerSession) else answer


def test_complete_against_cancel(org: Org) -> None:
    """Completed, and the cancel refused; or cancelled, with the outcome kept beside it."""
    legal = {("completed", "state_conflict"): "completed", ("cancelled", "cancelling"): "cancelled"}
    for _ in range(ROUNDS):
        session = factories.running(org)
        completed, cancelled = at_once(
            [partial(complete, org, session), partial(cancel, org, session)]
        )
        row = records.fresh(org, session)
        assert row.state == legal[completed, cancelled]
        assert row.reported_outcome == "completed"
        records.assert_sound(org, session)


def test_a_late_finish_against_the_reaper(org: Org) -> None:
    """The lease ends once: by the runner that was late, or by the reaper."""
    legal = {("completed", None): "completed", ("lease_lost", "lost"): "lost"}
    for _ in range(ROUNDS // 2):
        session = factories.running(org)
        roads.overdue(org, session, "lease_expires_at")
        completed, reaped = at_once([partial(complete, org, session), partial(reap, org, session)])
        assert records.fresh(org, session).state == legal[completed, reaped]
        records.assert_sound(org, session)


def test_a_heartbeat_against_the_reaper(org: Org) -> None:
    """One that is acknowledged is never followed by a loss; one that lost is told so."""
    legal = {("running", None): State.RUNNING, ("lease_lost", "lost"): State.LOST}
    for _ in range(ROUNDS // 2):
        session = factories.running(org)
        roads.overdue(org, session, "lease_expires_at")
        beaten, reaped = at_once([partial(beat, org, session), partial(reap, org, session)])
        assert records.fresh(org, session).state == legal[beaten, reaped]
        records.assert_sound(org, session)


def test_every_ending_at_once_leaves_one_and_the_ledger_whole(org: Org) -> None:
    for _ in range(10):
        session = factories.running(org)
        roads.overdue(org, session, "lease_expires_at", "deadline_at")
        verbs = [complete, cancel, reap, beat, complete, cancel, reap, beat]
        at_once([partial(verb, org, session) for verb in verbs])
        while records.fresh(org, session).state in LEASED:
            roads.overdue(org, session, "deadline_at")
            reap(org, session)
        records.assert_sound(org, session)


# --- grants ----------------------------------------------------------------------------------


def granted(org: Org, session: RunnerSession) -> PermissionGrant:
    wanted = {"operation": "network.egress", "reason": "to fetch", "ttl_seconds": 60}
    by = org.operator.principal
    with org.scope():
        return access.request(session.id, wanted | {"resource": "", "constraints": {}}, by=by)


def use(org: Org, session: RunnerSession, grant: PermissionGrant) -> Any:
    answer = attempt(
        org, partial(access.use, session.id, grant.id, by=org.runner.principal, lease_epoch=1)
    )
    return answer[1] if isinstance(answer, tuple) else answer


def revoke(org: Org, session: RunnerSession, grant: PermissionGrant) -> Any:
    return attempt(org, partial(access.revoke, session.id, grant.id, by=org.operator.principal))


def assert_no_use_after_the_end(org: Org, session: RunnerSession, grant: PermissionGrant) -> int:
    of_grant = [
        event.kind
        for event in records.events(org, session)
        if isinstance(event.data, dict)
        and event.data.get("grant_id") == ids.encode("grant", grant.id)
    ]
    ended = next(n for n, kind in enumerate(of_grant) if kind in ("grant.revoked", "grant.ended"))
    assert "grant.used" not in of_grant[ended:]
    with org.scope():
        row = PermissionGrant.objects.get(id=grant.id)
    assert row.uses == of_grant.count("grant.used")
    return row.uses


@pytest.mark.parametrize("end", ["revoke", "cancel", "lose"])
def test_uses_against_the_end_of_a_grant(org: Org, end: str) -> None:
    """No use stands after the end, and every use that was allowed is recorded before it."""
    for _ in range(ROUNDS // 4):
        session = factories.running(org)
        grant = granted(org, session)
        ends: dict[str, Callable[[], Any]] = {
            "revoke": partial(revoke, org, session, grant),
            "cancel": partial(cancel, org, session),
            "lose": partial(reap, org, session),
        }
        if end == "lose":
            roads.overdue(org, session, "lease_expires_at")
        *used, _ = at_once([partial(use, org, session, grant)] * 5 + [ends[end]])
        assert Counter(used)[True] == assert_no_use_after_the_end(org, session, grant)
        assert use(org, session, grant) is not True
        records.assert_sound(org, session)


def test_a_grant_for_a_single_use_is_used_once(org: Org) -> None:
    once = [{"operation": "network.*", "single_use": True, "auto": True}]
    on = factories.profile(org, grant_policy=once)
    for _ in range(5):
        session = factories.running(org, factories.pending(org, on))
        grant = granted(org, session)
        used = at_once([partial(use, org, session, grant)] * 6)
        assert Counter(used) == {True: 1, False: 5}
        with org.scope():
            row = PermissionGrant.objects.get(id=grant.id)
        assert (row.state, row.uses) == (GrantState.CONSUMED, 1)
        records.assert_sound(org, session)


def test_writers_of_one_ledger_leave_no_gap(org: Org) -> None:
    session = factories.running(org)
    grant = granted(org, session)
    api = factories.session_api(org, session)
    place = factories.path(session, "events")
    batch = {"events": [{"kind": "log", "message": str(n)} for n in range(20)]}
    writers: list[Callable[[], Any]] = []
    for _ in range(5):
        writers += [
            lambda: api.post(place, batch).status_code,
            lambda: api.post(place, {"kind": "metric"}).status_code,
            lambda: api.post(factories.path(session, "checkpoint"), {"data": {}}).status_code,
            lambda: use(org, session, grant) and 200,
        ]
    assert set(at_once(writers)) == {200, 201}
    assert len(records.events(org, session)) >= 5 * (20 + 1 + 1 + 1)
    records.assert_sound(org, session)
