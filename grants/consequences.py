"""What a session's change does to its grants, in the same transaction."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from grants import access
from grants.ledger import Record
from grants.models import OPEN_GRANT_STATES, GrantState, PermissionGrant
from sessions.signals import Change
from sessions.states import EXECUTING, FINAL, State, Verb


def follow(changes: Iterable[Change]) -> dict[UUID, list[Record]]:
    """End or activate grants as the changes demand; the records to append, by session.

    One query for all sessions, whatever their number; none where no change touches grants.
    """
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
