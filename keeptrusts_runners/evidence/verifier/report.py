"""What a verification found: the verdict, what was checked, what is missing, what is wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

VERIFIED = "verified"
BROKEN = "broken"
UNUSABLE = "unusable"
EXIT_CODES = {VERIFIED: 0, BROKEN: 1, UNUSABLE: 2}

MAX_PROBLEMS = 100
_SHOWN_CHARACTERS = 200


class Unusable(Exception):  # noqa: N818 - says what the input is
    """The input is not a bundle, or not one that can be judged."""


class Damaged(Exception):  # noqa: N818 - says what the bundle is
    """The archive itself was changed: nothing behind this place can be read with certainty."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that does not hold; `seq` is the record's number if it is about one."""

    where: str
    detail: str
    seq: int | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.detail}"


@dataclass(slots=True)
class Report:
    """Everything that a verification has to say. Strings from the bundle are `shown` here."""

    bundle: str
    verdict: str = VERIFIED
    organization_id: str | None = None
    session_id: str | None = None
    state: str | None = None
    generated_at: str | None = None
    records: int = 0
    head_hash: str | None = None
    key_id: str | None = None
    key_pinned: bool = False
    log_key_id: str | None = None
    log_key_pinned: bool = False
    anchored_seq: int | None = None
    log_size: int | None = None
    checked: list[tuple[str, str]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def check(self, subject: str, result: str) -> None:
        self.checked.append((subject, result))

    def lacks(self, what: str) -> None:
        self.missing.append(what)

    def break_at(self, where: str, detail: str, seq: int | None = None) -> None:
        """Record a problem; the verdict is broken from here on."""
        self.verdict = BROKEN
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(where, detail, seq))

    def break_record(self, seq: int, detail: str) -> None:
        self.break_at(f"record {seq}", detail, seq)

    @property
    def first_bad(self) -> Problem | None:
        """The first broken record, or else the first problem of any kind."""
        of_records = [problem for problem in self.problems if problem.seq is not None]
        ordered = sorted(of_records, key=lambda problem: problem.seq or 0) or self.problems
        return ordered[0] if ordered else None

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON: the API's verification, and the details behind it."""
        first = self.first_bad
        document = asdict(self)
        document["checked"] = [
            {"subject": subject, "result": result} for subject, result in self.checked
        ]
        return document | {
            "first_bad_seq": first.seq if first else None,
            "reason": str(first) if first else None,
        }


def shown(value: object) -> str:
    """Text from a bundle for a terminal: one line, printable, and not endless."""
    text = value if isinstance(value, str) else repr(value)
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return safe if len(safe) <= _SHOWN_CHARACTERS else safe[:_SHOWN_CHARACTERS] + "…"


def render(report: Report) -> str:
    """The report for people, in short lines."""
    lines = [f"{subject:<12}{result}" for subject, result in _facts(report) + report.checked]
    lines += [f"{'Missing':<12}{what}" for what in report.missing]
    first = report.first_bad
    if first is None:
        return "\n".join([*lines, report.verdict.upper()])
    lines.append(f"{report.verdict.upper():<12}{first}")
    lines += [f"{'':<12}{problem}" for problem in report.problems if problem is not first]
    if len(report.problems) == MAX_PROBLEMS:
        lines.append(f"{'':<12}and possibly more: only the first {MAX_PROBLEMS} are listed")
    return "\n".join(lines)


def _facts(report: Report) -> list[tuple[str, str]]:
    facts = [("Bundle", report.bundle)]
    if report.session_id:
        facts.append(("Session", f"{report.session_id} of {report.organization_id}"))
        facts.append(("As of", f"{report.generated_at}, {report.state}"))
    return facts
