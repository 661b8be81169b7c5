"""A grant as one person sees it at one instant: what it is, and what they may do about it.

It decides nothing: the verbs ask again, under the lock (grants.approvals, grants.access).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from grants import access, policy
from grants.models import OPEN_GRANT_STATES, Decision, GrantState, PermissionGrant
from keeptrusts_runners import ids
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.queries import Actor, spoken
from keeptrusts_runners.identity.scopes import Scope
from sessions.models import RunnerSession


@dataclass
class Standing:
    """`actors` holds the names of those of `actors_of`."""

    grant: PermissionGrant
    session: RunnerSession
    by: Principal
    now: datetime
    actors: Mapping[str, Actor]

    @property
    def id(self) -> str:
        return ids.encode("grant", self.grant.id)

    @cached_property
    def state(self) -> str:
        return access.current_state(self.grant, self.now)

    @cached_property
    def decisions(self) -> list[Decision]:
        return sorted(self.grant.decisions.all(), key=lambda decision: decision.at)

    @property
    def approvals(self) -> int:
        return sum(decision.decision == "approve" for decision in self.decisions)

    @property
    def risk(self) -> str:
        return str((self.grant.rule or {}).get("risk", ""))

    @property
    def comment_required(self) -> bool:
        return self.risk in ("high", "critical")

    @property
    def requester(self) -> str:
        return self.name(self.grant.requested_by)

    @property
    def dispatcher(self) -> str:
        return self.name(self.session.dispatched_by)

    @property
    def ended_by(self) -> str:
        return self.name(self.grant.ended_by)

    @property
    def decided(self) -> list[tuple[Decision, str]]:
        return [(row, self.name(ids.encode("user", row.by_id))) for row in self.decisions]

    def name(self, actor: str) -> str:
        return spoken(actor, self.actors)

    @property
    def is_decidable(self) -> bool:
        """It waits, and this person decides about such things."""
        return self.state == GrantState.REQUESTED and self.by.has(Scope.APPROVE)

    @property
    def is_revocable(self) -> bool:
        return self.state in OPEN_GRANT_STATES and self.by.has(Scope.WRITE)

    @property
    def is_renewable(self) -> bool:
        """It is in force, the rule leaves time, and this person may ask for it."""
        grant = self.grant
        return (
            self.by.has(Scope.WRITE)
            and not grant.single_use
            and access.why_not(grant, self.session, self.now) is None
            and grant.expires_at is not None
            and grant.renewable_until is not None
            and grant.renewable_until > grant.expires_at
        )

    @property
    def why_unusable(self) -> str:
        """What keeps an active grant from being used now; empty when nothing does."""
        if self.state != GrantState.ACTIVE:
            return ""
        found = access.why_not(self.grant, self.session, self.now) or ""
        return found.replace("_", " ")

    @property
    def ends_soon(self) -> bool:
        """Less than a fifth of its time is left."""
        begun, ends = self.grant.activated_at, self.grant.expires_at
        if self.state != GrantState.ACTIVE or begun is None or ends is None:
            return False
        return (ends - self.now) < (ends - begun) / 5

    @property
    def decided_at(self) -> datetime | None:
        """When the request was over: by the last decision, or when it took effect without one."""
        if self.state == GrantState.REQUESTED:
            return None
        if self.decisions:
            return self.decisions[-1].at
        return self.grant.activated_at or self.grant.ended_at

    @property
    def longest_seconds(self) -> int:
        """How long the rule lets access last, renewals included."""
        return policy.max_ttl_seconds(self.grant.rule)

    @property
    def pattern(self) -> str:
        """The operations of the rule that it falls under; empty where there is none."""
        return str((self.grant.rule or {}).get("operation", ""))

    @cached_property
    def why_not(self) -> str:
        """What keeps this person from approving it; empty when nothing does."""
        if own := self._own_part():
            return own
        if not policy.may_approve(self.grant.rule, self.by):
            roles = " or ".join((self.grant.rule or {}).get("approver_roles") or [])
            return f"Only {roles} may approve this" if roles else "You may not approve this"
        if any(decision.by_id == self.by.id for decision in self.decisions):
            return "You have approved this already"
        return ""

    def _own_part(self) -> str:
        me = self.by.actor
        dispatcher = self.actors.get(self.session.dispatched_by)
        if self.grant.requested_by == me:
            return "You requested this"
        if self.session.dispatched_by == me:
            return "You dispatched this session"
        if self.grant.requested_owner == self.by.id:
            return "You answer for the account that requested this"
        if dispatcher is not None and dispatcher.owner_id == self.by.id:
            return "You answer for the account that dispatched this session"
        return ""


def actors_of(grants: Iterable[PermissionGrant]) -> set[str]:
    """Whoever had a part in these grants and their sessions, as actors."""
    found: set[str] = set()
    for each in grants:
        found |= {each.requested_by, each.ended_by, each.session.dispatched_by}
        found |= {ids.encode("user", decision.by_id) for decision in each.decisions.all()}
    return found
