"""Verbs against verbs: whatever comes first counts, whole, and the rest is told so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from grants import access, renewals, revocations
from grants.models import GrantState, PermissionGrant
from keeptrusts_runners import clock, ids
from keeptrusts_runners.errors import DomainError
from keeptrusts_runners.identity import principal
from keeptrusts_runners.identity.principal import Principal
from sessions import claims, lifecycle, outcomes, reaper, transitions
from sessions.models import DesiredState, RunnerSession
from sessions.states import LEASED, State, Verb
from tests import factories
from tests.people import Org
from tests.races.threads import at_once
from tests.recording import Figures
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


@pytest.mark.proves("life.cancel-wins", "life.outcome-once")
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


@pytest.mark.proves("life.final")
def test_a_late_finish_against_the_reaper(org: Org) -> None:
    """The lease ends once: by the runner that was late, or by the reaper."""
    legal = {("completed", None): "completed", ("lease_lost", "lost"): "lost"}
    for _ in range(ROUNDS // 2):
        session = factories.running(org)
        roads.overdue(org, session, "lease_expires_at")
        completed, reaped = at_once([partial(complete, org, session), partial(reap, org, session)])
        assert records.fresh(org, session).state == legal[completed, reaped]
        records.assert_sound(org, session)


@pytest.mark.proves("stuck.live-not-reaped")
def test_a_heartbeat_against_the_reaper(org: Org) -> None:
    heartbeat_against_the_reaper(org)


def heartbeat_against_the_reaper(org: Org) -> None:
    """One that is acknowledged is never followed by a loss; one that lost is told so."""
    legal = {("running", None): State.RUNNING, ("lease_lost", "lost"): State.LOST}
    for _ in range(ROUNDS // 2):
        session = factories.running(org)
        roads.overdue(org, session, "lease_expires_at")
        beaten, reaped = at_once([partial(beat, org, session), partial(reap, org, session)])
        assert (beaten, reaped) in legal, "acknowledged, and lost for silence"
        assert records.fresh(org, session).state == legal[beaten, reaped]
        records.assert_sound(org, session)


@pytest.mark.proves("tests.controls")
def test_a_reaper_that_does_not_look_again_is_caught_here(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends whatever it had found overdue, a heartbeat in between or not."""

    def settle(session_id: UUID, *, by: Principal) -> RunnerSession:
        session = transitions.lock(session_id, by=by)
        return outcomes.lose(session, by=by, now=clock.now())

    monkeypatch.setattr(reaper, "settle", settle)
    with pytest.raises(AssertionError, match="acknowledged, and lost"):
        heartbeat_against_the_reaper(org)


@pytest.mark.proves("life.pause-resume", "fence.desired-state")
def test_a_pause_against_heartbeats(org: Org) -> None:
    """No heartbeat takes the wish away, none is refused for it, and the next one tells of it."""
    for _ in range(ROUNDS // 2):
        session = factories.claimed(org)
        pause = partial(lifecycle.pause, session.id, by=org.operator.principal)
        beats = [partial(beat, org, session)] * 3
        _, *beaten = at_once([partial(attempt, org, pause), *beats])
        assert set(beaten) == {"running"}
        row = records.fresh(org, session)
        assert (row.state, row.desired_state) == (State.RUNNING, DesiredState.PAUSED)
        told = factories.session_api(org, session).post(factories.path(session, "heartbeat"))
        assert told.json()["desired_state"] == "paused"
        records.assert_sound(org, session)


@pytest.mark.proves("life.pause-resume")
@pytest.mark.parametrize("put_aside", [True, False])
def test_resumes_at_the_same_time(org: Org, put_aside: bool) -> None:
    """One takes effect: of what is paused, and of what is only asked to be."""
    for _ in range(ROUNDS // 5):
        session = roads.paused(org) if put_aside else factories.running(org)
        if not put_aside:
            roads.pause(org, session)
        resume = partial(lifecycle.resume, session.id, by=org.operator.principal)
        answers = at_once([partial(attempt, org, resume)] * 5)
        assert Counter(getattr(a, "state", a) for a in answers) == {
            State.PENDING if put_aside else State.RUNNING: 1,
            "state_conflict": 4,
        }
        resumed = [step for step in records.transitions(org, session) if step.verb == Verb.RESUME]
        assert len(resumed) == 1
        assert records.fresh(org, session).desired_state == DesiredState.RUNNING
        records.assert_sound(org, session)


@pytest.mark.proves("life.final")
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


def revoke_many(org: Org, session: RunnerSession) -> Any:
    return attempt(
        org,
        partial(
            revocations.revoke_all, by=org.operator.principal, reason="it leaks",
            profile_id=session.profile_id,
        ),
    )  # fmt: skip


def put_aside(org: Org, session: RunnerSession) -> Any:
    acknowledged = partial(
        outcomes.acknowledge, session.id, DesiredState.PAUSED, by=org.runner.principal,
        lease_epoch=1,
    )  # fmt: skip
    return attempt(org, acknowledged)


def due_soon(org: Org, grant: PermissionGrant) -> None:
    """It expires while it is used."""
    with org.scope():
        soon = clock.now() + timedelta(milliseconds=10)
        PermissionGrant.objects.filter(id=grant.id).update(expires_at=soon)


def lapse(org: Org, session: RunnerSession, grant: PermissionGrant) -> Any:
    """Its end comes; from then on nothing is allowed, and then the sweep writes it down."""
    with org.scope():
        expires_at = PermissionGrant.objects.get(id=grant.id).expires_at
        assert expires_at is not None
        while clock.now() < expires_at:
            pass
    assert use(org, session, grant) is not True, "used after its end"
    by = principal.system(org.id)
    return attempt(org, partial(access._lapse, session.id, grant.id, by))


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


def uses_against_the_end(org: Org, end: str, rounds: int, figures: Figures) -> None:
    """No use stands after the end, and every use that was allowed is recorded before it."""
    for _ in range(rounds):
        session = factories.running(org)
        grant = granted(org, session)
        ends: dict[str, Callable[[], Any]] = {
            "revoke": partial(revoke, org, session, grant),
            "revoke many": partial(revoke_many, org, session),
            "complete": partial(complete, org, session),
            "pause": partial(put_aside, org, session),
            "cancel": partial(cancel, org, session),
            "lose": partial(reap, org, session),
            "lapse": partial(lapse, org, session, grant),
        }
        if end == "lose":
            roads.overdue(org, session, "lease_expires_at")
        elif end == "pause":
            roads.pause(org, session)
        elif end == "lapse":
            due_soon(org, grant)
        *used, _ = at_once([partial(use, org, session, grant)] * 5 + [ends[end]])
        assert Counter(used)[True] == assert_no_use_after_the_end(org, session, grant)
        assert use(org, session, grant) is not True
        records.assert_sound(org, session)
        figures.count("uses against an end", len(used))
        figures.tell()


ENDS = ("revoke", "revoke many", "complete", "pause", "cancel", "lose", "lapse")


@pytest.mark.proves("grant.no-late-use")
@pytest.mark.parametrize("end", ENDS)
def test_uses_against_the_end_of_a_grant(org: Org, end: str, figures: Figures) -> None:
    """With all its cases a thousand uses."""
    uses_against_the_end(org, end, 30, figures)


@pytest.mark.nightly
@pytest.mark.proves("grant.no-late-use")
@pytest.mark.parametrize("end", ENDS)
def test_uses_against_the_end_of_a_grant_for_longer(
    org: Org, end: str, figures: Figures, length: Callable[..., int]
) -> None:
    uses_against_the_end(org, end, length(3_000), figures)


@pytest.mark.proves("grant.no-late-use", "grant.renewal")
@pytest.mark.parametrize("end", ["revoke", "complete", "cancel", "lose"])
def test_renewals_against_the_end_of_a_grant(org: Org, end: str) -> None:
    """None stands after the end, and what is over stays over."""
    on = factories.profile(org, grant_policy=[{"operation": "*", "auto": True}])
    for _ in range(10):
        session = factories.running(org, factories.pending(org, on))
        grant = granted(org, session)
        ends: dict[str, Callable[[], Any]] = {
            "revoke": partial(revoke, org, session, grant),
            "complete": partial(complete, org, session),
            "cancel": partial(cancel, org, session),
            "lose": partial(reap, org, session),
        }
        if end == "lose":
            roads.overdue(org, session, "lease_expires_at")
        longer = [partial(renew, org, session, grant, ttl) for ttl in (600, 1200, 1800)]
        at_once([*longer, ends[end]])
        assert renew(org, session, grant, 3600) in ("conflict", "lease_lost")
        assert use(org, session, grant) is not True
        kinds = [kind for kind in records.kinds(org, session) if kind.startswith("grant.")]
        ended = next(n for n, kind in enumerate(kinds) if kind in ("grant.revoked", "grant.ended"))
        assert "grant.renewed" not in kinds[ended:]
        records.assert_sound(org, session)


def renew(org: Org, session: RunnerSession, grant: PermissionGrant, ttl_seconds: int) -> Any:
    again = partial(
        renewals.renew, session.id, grant.id, ttl_seconds=ttl_seconds, by=org.runner.principal,
        lease_epoch=1,
    )  # fmt: skip
    return attempt(org, again)


@pytest.mark.proves("grant.single-use")
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


@pytest.mark.proves("ledger.gapless")
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
