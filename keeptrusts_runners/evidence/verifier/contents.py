"""The bundle's documents held against its ledger: each must say what the records say.

Server and database are not trusted here: a document that was signed can still tell another story
than the chain. Where a record's body is redacted, only what its header says can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keeptrusts_runners.evidence.layout import (
    ARTIFACTS,
    CHECKPOINTS,
    COMPLETENESS,
    GRANTS,
    HARNESS,
    PROFILE,
    REFUSALS,
    SESSION,
    TRANSITIONS,
)
from keeptrusts_runners.evidence.verifier.ledger import Ledger, Told
from keeptrusts_runners.evidence.verifier.report import Report, shown
from keeptrusts_runners.evidence.verifier.signed import Statement
from keeptrusts_runners.evidence.verifier.strict_json import parse_json

LISTS = (GRANTS, ARTIFACTS, CHECKPOINTS, COMPLETENESS, REFUSALS)

_OF_REFUSAL = ("operation", "code", "actor", "first_at", "last_at")
# Members of a transition that repeat the record's data.
_OF_DATA = ("verb", "from", "to", "reason", "attempt")


def check_session(documents: dict[str, Any], statement: Statement, report: Report) -> None:
    """session.json is the signed session, and profile and harness are the ones that it names."""
    session = documents[SESSION]
    expected: dict[str, object] = {
        "id": statement.session_id,
        "organization_id": statement.organization_id,
        "state": statement.state,
    }
    for name, value in expected.items():
        if session.get(name) != value:
            found = shown(session.get(name))
            report.break_at(SESSION, f"{name} is {found}, and {shown(value)} is signed")
    for name, reference in ((PROFILE, "profile_id"), (HARNESS, "harness_id")):
        document = documents[name]
        own_id = document.get("id") if document is not None else None
        if own_id != session.get(reference):
            report.break_at(name, f"is {shown(own_id)}, and the session's {reference} is another")


def check_states(ledger: Ledger, statement: Statement, report: Report) -> None:
    """The records of states follow from one another, from a dispatch to the signed state."""
    state: str | None = None
    for told in ledger.states:
        target = told.kind.removeprefix("state.")
        if told.data is not None and told.data.get("to") != target:
            report.break_record(told.seq, "its body leads to another state than its kind")
        if told.data is not None and told.data.get("from") != state:
            report.break_record(told.seq, f"it does not lead on from {shown(state)}")
        if state is None and target != "pending":
            report.break_record(told.seq, "the first state is not pending")
        state = target
    if state != statement.state:
        report.break_at(SESSION, f"the records end in {shown(state)}, not {shown(statement.state)}")


def check_transitions(lines: Iterable[bytes], ledger: Ledger, report: Report) -> None:
    """transitions.ndjson lists exactly the records of states, in order."""
    rest = iter(ledger.states)
    for number, line in enumerate(lines, start=1):
        told = next(rest, None)
        if told is None:
            report.break_at(TRANSITIONS, f"line {number} has no record in the ledger")
            return
        difference = _difference(line, told)
        if difference is not None:
            report.break_at(TRANSITIONS, f"line {number}: {difference}", told.seq)
            return
    if (unlisted := next(rest, None)) is not None:
        report.break_at(TRANSITIONS, f"{shown(unlisted.kind)} is not listed", unlisted.seq)
        return
    report.check("Lifecycle", f"{len(ledger.states)} transitions, as the records say")


def _difference(line: bytes, told: Told) -> str | None:
    """What a line says otherwise than its record; None if nothing."""
    try:
        transition = parse_json(line)
    except ValueError as error:
        return f"not JSON ({error})"
    if not isinstance(transition, dict) or transition.get("seq") != told.seq:
        return f"it does not stand for record {told.seq}"
    if transition.get("to") != told.kind.removeprefix("state."):
        return "it leads to another state than the record"
    recorded = _comparable(told)
    for name in transition.keys() & recorded.keys():
        # An empty text in one of them is null in the other.
        if (transition[name] or None) != (recorded[name] or None):
            return f"{name} is not the record's"
    return None


def _comparable(told: Told) -> dict[str, Any]:
    """What a transition may repeat of its record, by the transition's names."""
    recorded: dict[str, Any] = {"actor": told.actor, "lease_epoch": told.epoch}
    if told.data is not None:
        recorded |= {name: told.data.get(name) for name in _OF_DATA}
    return recorded


def check_artifacts(documents: dict[str, Any], ledger: Ledger, report: Report) -> None:
    members = ("name", "size_bytes", "sha256")
    listed = _by_key(documents[ARTIFACTS], "id", ARTIFACTS, report)
    recorded = _Recorded(ledger.artifacts, "artifact_id")
    if _agree(ARTIFACTS, listed, recorded, members, report):
        report.check("Artifacts", f"{len(listed)}, with the digests that were recorded")


def check_checkpoints(documents: dict[str, Any], ledger: Ledger, report: Report) -> None:
    listed = _by_key(documents[CHECKPOINTS], "number", CHECKPOINTS, report)
    recorded = _Recorded(ledger.checkpoints, "number")
    if _agree(CHECKPOINTS, listed, recorded, ("digest",), report):
        report.check("Checkpoints", f"{len(listed)}, with the digests that were recorded")


def check_grants(documents: dict[str, Any], ledger: Ledger, report: Report) -> None:
    """Every grant has records, and every record's grant is listed with its operation."""
    listed = _by_key(documents[GRANTS], "id", GRANTS, report)
    recorded = _Recorded(ledger.grants, "grant_id")
    if _agree(GRANTS, listed, recorded, ("operation",), report):
        report.check("Grants", f"{len(listed)}, with {len(ledger.grants)} records")


class _Recorded:
    """The records about things of one kind, and whether redaction left some of them unsaid."""

    def __init__(self, records: list[Told], key: str) -> None:
        self.told = [(told, told.data) for told in records if told.data is not None]
        self.key = key
        self.unsaid = len(self.told) < len(records)

    def keys(self) -> set[Any]:
        return {_hashable(data.get(self.key)) for _, data in self.told}


def _agree(
    where: str,
    listed: dict[Any, dict[str, Any]],
    recorded: _Recorded,
    members: tuple[str, ...],
    report: Report,
) -> bool:
    """Whether list and records name the same things with the same members."""
    before = len(report.problems)
    for told, data in recorded.told:
        key = _hashable(data.get(recorded.key))
        entry = listed.get(key)
        if entry is None:
            report.break_at(where, f"{shown(key)} is recorded and not listed", told.seq)
            continue
        for name in members:
            if name in data and entry.get(name) != data[name]:
                report.break_at(where, f"{name} of {shown(key)} is not the record's", told.seq)
    for key in listed.keys() - recorded.keys() if not recorded.unsaid else ():
        report.break_at(where, f"{shown(key)} is listed and was never recorded")
    return len(report.problems) == before


def _by_key(entries: list[Any], key: str, where: str, report: Report) -> dict[Any, dict[str, Any]]:
    """The entries of a list by a member that names each one."""
    by_key: dict[Any, dict[str, Any]] = {}
    for index, entry in enumerate(entries):
        name = _hashable(entry.get(key)) if isinstance(entry, dict) else None
        if name is None or name in by_key:
            report.break_at(where, f"entry {index} has no {key} of its own")
        else:
            by_key[name] = entry
    return by_key


def _hashable(value: object) -> Any:
    return value if isinstance(value, str) or type(value) is int else None


def check_refusals(documents: dict[str, Any], report: Report) -> None:
    """They are beside the ledger, whose records are what took effect: only the server's word."""
    before = len(report.problems)
    for index, entry in enumerate(documents[REFUSALS]):
        members = [entry.get(name) for name in _OF_REFUSAL] if isinstance(entry, dict) else []
        if not members or not all(isinstance(value, str) for value in members):
            report.break_at(REFUSALS, f"entry {index} is not a refusal")
    if len(report.problems) == before and documents[REFUSALS]:
        report.check("Refusals", f"{len(documents[REFUSALS])} kinds, on record beside the ledger")


def note_gaps(documents: dict[str, Any], report: Report) -> None:
    """What completeness.json says was declared and never received, or never declared at all."""
    for entry in documents[COMPLETENESS]:
        if not isinstance(entry, dict) or type(entry.get("epoch")) is not int:
            report.break_at(COMPLETENESS, "an entry is not of an epoch")
            continue
        epoch, declared = entry["epoch"], entry.get("declared")
        if declared is None:
            report.lacks(f"epoch {epoch}: the number of events was never declared")
        elif entry.get("missing"):
            ranges = shown(entry["missing"])
            report.lacks(f"epoch {epoch}: events {ranges} of {shown(declared)} never arrived")


def check_shape(name: str, document: Any) -> None:
    """Raises ValueError for a document that is not of the kind that its name says."""
    if name in (SESSION, PROFILE) and not isinstance(document, dict):
        raise ValueError("it is not an object")
    if name == HARNESS and not (document is None or isinstance(document, dict)):
        raise ValueError("it is neither an object nor null")
    if name in LISTS and not isinstance(document, list):
        raise ValueError("it is not a list")
