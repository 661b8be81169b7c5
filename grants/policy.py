"""A profile's grant policy: which rule an operation falls under, and what it then takes.

The policy is pinned at dispatch. A rule's `operation` is a name or a prefix ending in `*`; the
longest that matches counts. No rule: a person with runners:write issues the grant at once, for at
most an hour; an executor's request takes one approval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from keeptrusts_runners.errors import field_error
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Scope
from sessions.models import RunnerSession

DEFAULT_MAX_TTL_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Terms:
    """What a request takes under the policy."""

    rule: dict[str, Any] | None
    approvals_required: int
    single_use: bool


def matches(pattern: str, operation: str) -> bool:
    if pattern.endswith("*"):
        return operation.startswith(pattern[:-1])
    return pattern == operation


def rule_for(policy: list[dict[str, Any]], operation: str) -> dict[str, Any] | None:
    """The rule with the longest pattern that matches; an exact name beats every prefix."""
    found = [rule for rule in policy if matches(rule["operation"], operation)]
    return max(
        found,
        key=lambda rule: (not rule["operation"].endswith("*"), len(rule["operation"])),
        default=None,
    )


def terms(session: RunnerSession, fields: Mapping[str, Any], *, by: Principal) -> Terms:
    """Raises Invalid where the ttl is over what the rule allows."""
    rule = rule_for(session.grant_policy, fields["operation"])
    most = max_ttl_seconds(rule)
    if fields["ttl_seconds"] > most:
        raise field_error(
            "/ttl_seconds", "too_large", f"At most {most} seconds for this operation."
        )
    if rule is None:
        return Terms(None, 0 if by.is_person else 1, single_use=False)
    found = under(rule)
    if found.approvals_required and not rule.get("separation", True) and may_approve(rule, by):
        return replace(found, approvals_required=found.approvals_required - 1)
    return found


def under(rule: dict[str, Any]) -> Terms:
    """What the rule asks for where nobody's asking counts as approving."""
    required = 0 if rule.get("auto") else rule.get("approvals_required", 1)
    return Terms(rule, required, bool(rule.get("single_use")))


def max_ttl_seconds(rule: Mapping[str, Any] | None) -> int:
    """The longest that access may last, renewals included."""
    return int((rule or {}).get("max_ttl_seconds", DEFAULT_MAX_TTL_SECONDS))


def may_approve(rule: Mapping[str, Any] | None, by: Principal) -> bool:
    """A person with the scope, and with one of the rule's roles where it names some."""
    roles = (rule or {}).get("approver_roles") or []
    return by.is_person and by.has(Scope.APPROVE) and (not roles or by.role in roles)
