"""What a session's change does to its grants, in the same transaction."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django.db.models import F

from grants import access, policy
from grants.ledger import Record
from grants.models import OPEN_GRANT_STATES, GrantState, PermissionGrant
from keeptrusts_runners import ids
from sessions.signals import Change
from sessions.states import EXECUTING, FINAL, State, Verb


def follow(changes: Iterable[Change]) -> dict[UUID, list[Record]]:
    """End or activate grants as the changes demand; the records to append, by session.

    One query for all sessions, whatever their number, and another where a policy lets grants be
    requested again; none where no change touches grants.
    """
    changes = list(changes)
    records = _end_or_activate(changes)
    for session_id, again in _request_again(changes).items():
        records.setdefault(session_id, []).extend(again)
    return records


def _end_or_activate(changes: list[Change]) -> dict[UUID, list[Record]]:
    by_session = {change.session.id: change for change in changes if _touches_grants(change)}
    if not by_session:
        return {}
    grants = PermissionGrant.objects.select_for_update().filter(
        session_id__in=by_session, state__in=OPEN_GRANT_STATES
    )
    records: dict[UUID, list[Record]] = {}
    for grant in grants.order_by("id"):
        change = by_session[grant.session_id]
        if record := _followed(grant, change):
            grant.save()
            records.setdefault(grant.session_id, []).append(record)
    return records


def _touches_grants(change: Change) -> bool:
    left = change.source in EXECUTING and change.target not in EXECUTING
    return left or change.target in FINAL or change.verb is Verb.CLAIM


def _followed(grant: PermissionGrant, change: Change) -> Record | None:
    """Sets columns only. A new lease starts the clock of what was approved before it. An ended
    lease ends what was active, and what executing code had asked for under it; a person's
    request outlives the lease, but nothing outlives the session."""
    if change.verb is Verb.CLAIM:
        if grant.state != GrantState.APPROVED:
            return None
        grant.version += 1
        return access.activate(grant, change.session, change.by, change.at)
    if change.target not in FINAL and grant.lease_epoch is None:
        return None
    if record := access.run_out(grant, change.session, change.by, change.at):
        return record
    reason = "session_ended" if change.target in FINAL else f"session_{change.target.value}"
    if change.target is State.PENDING:
        reason = "lease_ended"
    return access.end(grant, GrantState.ENDED, reason, change.by, change.session, change.at)


# Ends that are nobody's decision on the grant: the work goes on under another lease.
_ENDED_WITH_LEASE = ("lease_ended", "session_paused")


def _request_again(changes: list[Change]) -> dict[UUID, list[Record]]:
    """What the lease before had, or had asked for, where its rule says `request_again`."""
    claims = {change.session.id: change for change in changes if _may_request_again(change)}
    if not claims:
        return {}
    ended = PermissionGrant.objects.filter(
        session_id__in=claims,
        lease_epoch=F("session__lease_epoch") - 1,
        state=GrantState.ENDED,
        end_reason__in=_ENDED_WITH_LEASE,
        rule__request_again=True,
    )
    records: dict[UUID, list[Record]] = {}
    for grant in ended.order_by("id"):
        change = claims[grant.session_id]
        records.setdefault(grant.session_id, []).extend(_requested_again(grant, change))
    return records


def _may_request_again(change: Change) -> bool:
    session = change.session
    return (
        change.verb is Verb.CLAIM
        and session.lease_epoch > 1
        and any(rule.get("request_again") for rule in session.grant_policy)
    )


def _requested_again(ended: PermissionGrant, change: Change) -> list[Record]:
    """The same terms, to be decided anew. A person who had asked stays who asked, so that they do
    not approve it now; the owner of the machine that holds the lease is excluded as well."""
    assert ended.rule is not None
    names = ("operation", "resource", "constraints", "reason", "ttl_seconds")
    fields = {name: getattr(ended, name) for name in names}
    grant = access.asked(change.session, fields, policy.under(ended.rule), change.by, change.at)
    if ended.requested_by.startswith("user_"):
        grant.requested_by = ended.requested_by
    records = access.requested(grant, change.session, by=change.by, now=change.at)
    records[0].data |= {"again": ids.encode("grant", ended.id)}
    return records
