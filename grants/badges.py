"""What is known of a session's evidence in one badge: never a bare tick, but how far and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from grants.custody_models import Verdict, Verification, VerificationRun
from sessions.models import RunnerSession

_WORDS = {
    Verdict.VERIFIED: "verified",
    Verdict.BROKEN: "broken",
    Verdict.EXPIRED: "expired",
    Verdict.PENDING: "not_checked",
}


@dataclass(frozen=True, slots=True)
class Badge:
    """The last check of a session that has `newest` records, None before the first; and the one
    that is under way."""

    newest: int
    check: Verification | None
    run: VerificationRun | None = None

    @property
    def word(self) -> str:
        """A state as the console draws it."""
        if self.run is not None:
            return "cannot_check" if self.run.failed_at else "checking"
        return self.found

    @property
    def found(self) -> str:
        """What the last check said, whatever is under way."""
        return _WORDS[Verdict(self.check.verdict)] if self.check else "not_checked"

    @property
    def newer(self) -> int:
        """How many records have come since."""
        return max(0, self.newest - self.check.records) if self.check else self.newest

    @property
    def percent(self) -> int:
        """How much is read of what there is; 100 is a result, and no check under way."""
        read = self.run.records if self.run else 0
        return min(99, read * 100 // max(1, self.newest))

    @property
    def label(self) -> str:
        """The word, and of what where it is not all."""
        return f"Checking {self.percent} %" if self.word == "checking" else self._said(self.word)

    @property
    def before(self) -> str:
        """What the last check said, as a label, while another is under way."""
        return self._said(self.found)

    def _said(self, word: str) -> str:
        if self.check is None:
            return "" if word == "cannot_check" else "Not checked"
        if word == "broken":
            return f"Broken at record {self.check.first_bad_seq or self.check.records + 1:,}"
        if word == "verified" and self.newer:
            return f"Verified up to #{self.check.records:,}"
        return "Expired by retention" if word == "expired" else ""


def badges(sessions: Iterable[RunnerSession]) -> Mapping[UUID, Badge]:
    """Of each of these sessions, which carry their `ledger_head`: one query by primary key."""
    of = {session.id: session for session in sessions}
    kept = RunnerSession.objects.filter(id__in=of).only("id", "verification", "verification_run")
    checked = {each.id: each for each in kept.select_related("verification", "verification_run")}
    return {key: badge(each, checked.get(key, each)) for key, each in of.items()}


def badge(session: RunnerSession, checked: RunnerSession | None = None) -> Badge:
    """`checked`: the same session, where its checks are read apart from it."""
    kept = checked or session
    return Badge(
        session.ledger_head.seq,
        getattr(kept, "verification", None),
        getattr(kept, "verification_run", None),
    )
