"""How many sessions may run at once: of a profile, and with the same concurrency key.

A slot is a live lease and nothing else. Whoever wants one counts the leases under an advisory
lock, so there is no counter that could leak or go negative, and what a lost runner held is free
with its lease. Locks are taken after the rows, which claims skip and never wait for: profiles,
then keys, in the order of their names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db import connection

from sessions import ordered
from sessions.models import RunnerSession
from sessions.states import LEASED


def lock(*names: bytes) -> None:
    """Wait for an advisory lock of this name, and hold it until the transaction ends."""
    _lock([_number(*names)])


def _number(*names: bytes) -> int:
    digest = hashlib.sha256(b"\0".join(names)).digest()
    return int.from_bytes(digest[:8], signed=True)


def _lock(numbers: Iterable[int], *, wait: bool = True) -> set[int]:
    """Lock them in this order; which are ours then. Without `wait`, those that are free."""
    function = "pg_advisory_xact_lock" if wait else "pg_try_advisory_xact_lock"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT n, {function}(n)::text FROM unnest(%s::bigint[]) AS n", [list(numbers)]
        )
        return {number for number, answer in cursor.fetchall() if answer != "false"}


@dataclass(slots=True)
class Use:
    """How many leases are live, and the least limit that anybody who holds or wants one names."""

    live: int = 0
    limit: int | None = None

    @property
    def is_full(self) -> bool:
        return self.limit is not None and self.live >= self.limit

    def narrowed(self, limit: int | None) -> Use:
        """As one more session sees it, with the limit that it names itself."""
        named = [each for each in (self.limit, limit) if each is not None]
        return Use(self.live, min(named, default=None))


class Uses:
    """What is in use of all that limits some sessions of one organization, which come with their
    profiles. Where nothing limits them nothing is asked."""

    def __init__(self, sessions: Iterable[RunnerSession]) -> None:
        sessions = list(sessions)
        self._organizations = {session.organization_id for session in sessions}
        self._limited = {s.profile_id for s in sessions if s.profile.max_concurrent_sessions}
        self._named = {session.concurrency_key for session in sessions} - {""}
        self._read()

    def _read(self) -> None:
        self._profiles, self._keys = _uses(self._limited, self._organizations, self._named)

    def of_profile(self, session: RunnerSession) -> Use:
        use = self._profiles.get(session.profile_id, Use())
        return use.narrowed(session.profile.max_concurrent_sessions)

    def of_key(self, session: RunnerSession) -> Use:
        if not session.concurrency_key:
            return Use()
        use = self._keys.get(session.concurrency_key, Use())
        return use.narrowed(session.concurrency_limit)


_LEASED = ", ".join(f"'{state}'" for state in sorted(LEASED))
# How many sessions of a profile hold a lease, up to `most`; served by runner_session_live.
LIVE_OF_PROFILE = f"""(
SELECT count(*) FROM (
       SELECT FROM runner_session l WHERE l.profile_id = {{profile}}
          AND l.state IN ({_LEASED})
        ORDER BY l.dispatched_at LIMIT {{most}}) live)"""
_USE_OF_PROFILES = f"""
SELECT p.id, NULL::text, {LIVE_OF_PROFILE.format(profile="p.id", most="ALL")}, NULL::int
  FROM unnest(%(profiles)s::uuid[]) p (id)
"""
# Served by runner_session_live_key.
_USE_OF_KEYS = f"""
SELECT NULL::uuid, l.concurrency_key::text, count(*), min(l.concurrency_limit)
  FROM runner_session l
 WHERE l.organization_id = ANY(%(organizations)s::uuid[]) AND l.concurrency_key <> ''
   AND l.concurrency_key = ANY(%(keys)s::text[]) AND l.state IN ({_LEASED})
 GROUP BY l.concurrency_key
"""


def _uses(
    profile_ids: set[UUID], organizations: set[UUID], keys: set[str]
) -> tuple[dict[UUID, Use], dict[str, Use]]:
    """Of these profiles and of these keys. One query, or none."""
    wanted = [_USE_OF_PROFILES] * bool(profile_ids) + [_USE_OF_KEYS] * bool(keys)
    if not wanted:
        return {}, {}
    given = {
        "profiles": list(profile_ids),
        "organizations": list(organizations),
        "keys": list(keys),
    }
    found = ordered.rows(" UNION ALL ".join(wanted), given)
    profiles = {profile_id: Use(live) for profile_id, _, live, _ in found if profile_id}
    return profiles, {key: Use(live, limit) for _, key, live, limit in found if key}


class Slots(Uses):
    """The free slots for some locked sessions, under the locks of all that limits them.

    Who holds such locks already does not `wait` for more, since two that wait for each other
    would never end: what somebody else is at is then taken for full.
    """

    def __init__(
        self,
        sessions: Iterable[RunnerSession],
        *,
        taken: Iterable[RunnerSession] = (),
        wait: bool = True,
    ) -> None:
        """`taken` are those that this claim has counted in before: their leases are not written
        yet, so that no count finds them."""
        self._wait = wait
        super().__init__(sessions)
        for session in taken:
            self._count_in(session)

    def _read(self) -> None:
        numbers: dict[int, UUID | str] = {
            _number(b"kt.profile_slots", each.bytes): each for each in sorted(self._limited)
        }
        for organization_id in self._organizations:
            for key in sorted(self._named):
                name = _number(b"kt.key_slots", organization_id.bytes, key.encode())
                numbers[name] = key
        ours = _lock(numbers, wait=self._wait) if numbers else set()
        self._others = {name for number, name in numbers.items() if number not in ours}
        super()._read()

    def take(self, session: RunnerSession) -> str | None:
        """Count the session in; or what has no room for it: `limit_reached` or
        `key_limit_reached`."""
        profile, key = self.of_profile(session), self.of_key(session)
        if profile.is_full or session.profile_id in self._others:
            return "limit_reached"
        if key.is_full or session.concurrency_key in self._others:
            return "key_limit_reached"
        self._count_in(session)
        return None

    def _count_in(self, session: RunnerSession) -> None:
        profile, key = self.of_profile(session), self.of_key(session)
        self._profiles[session.profile_id] = Use(profile.live + 1)
        if session.concurrency_key:
            self._keys[session.concurrency_key] = Use(key.live + 1, key.limit)
