"""What is known of a session's evidence in one badge: never a bare tick, but how far and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from grants.custody_models import Verdict, Verification
from sessions.models import RunnerSession

_WORDS = {
    Verdict.VERIFIED: "verified",
    Verdict.BROKEN: "broken",
    Verdict.EXPIRED: "expired",
    Verdict.PENDING: "not_checked",
}


@dataclass(frozen=True, slots=True)
class Badge:
    """The last check of a session that has `newest` records; `check` is None before the first."""

    newest: int
    check: Verification | None

    @property
    def word(self) -> str:
        """A state as the console draws it."""
        return _WORDS[Verdict(self.check.verdict)] if self.check else "not_checked"

    @property
    def newer(self) -> int:
        """How many records have come since."""
        return max(0, self.newest - self.check.records) if self.check else self.newest

    @property
    def label(self) -> str:
        """The word, and of what where it is not all."""
        if self.check is None:
            return "Not checked"
        if self.word == "broken":
            return f"Broken at record {self.check.first_bad_seq or self.check.records + 1:,}"
        if self.word == "verified" and self.newer:
            return f"Verified up to #{self.check.records:,}"
        return "Expired by retention" if self.word == "expired" else ""


def badges(sessions: Iterable[RunnerSession]) -> Mapping[UUID, Badge]:
    """Of each of these sessions, which carry their `ledger_head`: one query by primary key."""
    of = {session.id: session for session in sessions}
    checks = {check.session_id: check for check in Verification.objects.filter(session_id__in=of)}
    return {key: Badge(each.ledger_head.seq, checks.get(key)) for key, each in of.items()}


def badge(session: RunnerSession) -> Badge:
    return badges([session])[session.id]
