"""A bundle verified from the outside in: archive, signature, digests, chain, contents."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

from keeptrusts_runners.evidence.dsse import decode_envelope
from keeptrusts_runners.evidence.layout import (
    ARTIFACTS,
    EVENTS,
    HARNESS,
    KEYS,
    MEMBERS,
    PROFILE,
    SESSION,
    STATEMENT,
    TRANSITIONS,
)
from keeptrusts_runners.evidence.verifier.archive import Archive
from keeptrusts_runners.evidence.verifier.artifact_files import check_files
from keeptrusts_runners.evidence.verifier.contents import (
    LISTS,
    check_artifacts,
    check_checkpoints,
    check_grants,
    check_session,
    check_shape,
    check_states,
    check_transitions,
    note_gaps,
)
from keeptrusts_runners.evidence.verifier.ledger import Ledger
from keeptrusts_runners.evidence.verifier.records import BrokenRecord
from keeptrusts_runners.evidence.verifier.report import UNUSABLE, Damaged, Report, Unusable, shown
from keeptrusts_runners.evidence.verifier.signed import Statement, digest_of, read_statement
from keeptrusts_runners.evidence.verifier.strict_json import parse_json
from keeptrusts_runners.evidence.verifier.trust import (
    Pin,
    keys_of_document,
    read_pin,
    signing_key_of,
)

_DOCUMENTS = (SESSION, PROFILE, HARNESS, *LISTS)


def verify_bundle(bundle: Path, key: str | None = None, artifacts: Path | None = None) -> Report:
    """Verify a bundle; whatever is wrong with it is in the report, and nothing is raised.

    `key` pins trust: a public key's file, or its id. `artifacts` is a directory with the
    session's files.
    """
    report = Report(bundle=shown(str(bundle)))
    try:
        pin = read_pin(key) if key is not None else None
        with bundle.open("rb") as file:
            _verify(file, pin, artifacts, report)
    except Damaged as damage:
        report.break_at("archive", str(damage))
    except Unusable as reason:
        _give_up(report, str(reason))
    except OSError as error:
        _give_up(report, f"{shown(str(bundle))}: {error.strerror or error}")
    return report


def _give_up(report: Report, reason: str) -> None:
    report.break_at("input", reason)
    report.verdict = UNUSABLE


def _verify(file: BinaryIO, pin: Pin | None, artifacts: Path | None, report: Report) -> None:
    archive = Archive(file)
    for name in MEMBERS:
        if name not in archive.members:
            report.break_at(name, "is not in the bundle")
    statement = _signed_statement(archive, pin, report)
    if statement is not None:
        _check_digests(archive, statement, report)
        ledger = _check_ledger(archive, statement, report)
        documents = _read_documents(archive, report)
        if ledger is not None and documents is not None:
            _check_contents(archive, documents, ledger, statement, report)
        if artifacts is not None and documents is not None:
            check_files(artifacts, documents[ARTIFACTS], report)


def _signed_statement(archive: Archive, pin: Pin | None, report: Report) -> Statement | None:
    """The statement, also if its signature is bad, so that what is wrong can be named."""
    if STATEMENT not in archive.members:
        return None
    try:
        envelope = decode_envelope(archive.read(STATEMENT))
        statement = read_statement(envelope.payload_type, envelope.payload)
    except ValueError as error:
        report.break_at(STATEMENT, str(error))
        return None
    _describe(statement, report)
    try:
        carried = keys_of_document(archive.read(KEYS)) if KEYS in archive.members else []
    except ValueError as error:
        report.break_at(KEYS, str(error))
        carried = []
    try:
        report.key_id = signing_key_of(envelope, carried, pin)
    except ValueError as error:
        report.break_at(STATEMENT, str(error))
    else:
        _describe_key(pin, report)
    return statement


def _describe(statement: Statement, report: Report) -> None:
    report.organization_id = statement.organization_id
    report.session_id = statement.session_id
    report.state = shown(statement.state)
    report.generated_at = shown(statement.generated_at)
    for what in statement.missing:
        report.lacks(shown(what))
    # Later records could have been left out by whoever has the key.
    report.lacks("an anchor: no proof that the organization's log has this head")


def _describe_key(pin: Pin | None, report: Report) -> None:
    report.key_pinned = pin is not None
    if pin is not None:
        report.check("Signature", f"good, by the key that you trust, {report.key_id}")
        return
    report.check("Signature", f"good, by the key that the bundle carries, {report.key_id}")
    report.lacks("a key that you trust: get its id from its owner and give it as --key=ID")


def _check_digests(archive: Archive, statement: Statement, report: Report) -> None:
    before = len(report.problems)
    for name in archive.members:
        if name == STATEMENT:
            continue
        if name not in statement.digests:
            report.break_at(name, "is not signed")
        elif digest_of(archive, name) != statement.digests[name]:
            report.break_at(name, "is not the file that was signed")
    for name in statement.digests.keys() - archive.members.keys():
        if name not in MEMBERS:
            report.break_at(shown(name), "is signed, and not in the bundle")
    if len(report.problems) == before:
        report.check("Digests", f"{len(statement.digests)} files, as signed")


def _check_ledger(archive: Archive, statement: Statement, report: Report) -> Ledger | None:
    """The ledger, read as far as it holds; None if it does not hold to its signed head."""
    if EVENTS not in archive.members:
        return None
    ledger = Ledger(statement.organization, statement.session)
    broken = None
    try:
        ledger.read(archive.batches_of_lines(EVENTS))
        _check_head(ledger, statement)
    except BrokenRecord as found:
        broken = found
        report.break_record(broken.seq, broken.detail)
    report.records, report.head_hash = ledger.seq, ledger.head.hex()
    if broken is not None:
        return None
    report.check("Records", f"{ledger.seq}, chained to the signed head {report.head_hash}")
    if ledger.redactions.redacted:
        report.lacks(f"the bodies of {len(ledger.redactions.redacted)} redacted records")
    return ledger


def _check_head(ledger: Ledger, statement: Statement) -> None:
    if ledger.seq < statement.head_seq:
        detail = f"it is missing, as all after it: the signed head is record {statement.head_seq}"
        raise BrokenRecord(ledger.seq + 1, detail)
    if ledger.seq > statement.head_seq:
        raise BrokenRecord(statement.head_seq + 1, "it comes after the signed head")
    if ledger.head.hex() != statement.head_hash:
        raise BrokenRecord(ledger.seq, "the chain ends in another hash than the signed head's")


def _read_documents(archive: Archive, report: Report) -> dict[str, Any] | None:
    """The JSON documents by name; None if one is missing or unreadable."""
    documents: dict[str, Any] = {}
    for name in _DOCUMENTS:
        if name not in archive.members:
            continue
        try:
            documents[name] = parse_json(archive.read(name))
            check_shape(name, documents[name])
        except ValueError as error:
            report.break_at(name, str(error))
            documents.pop(name, None)
    return documents if len(documents) == len(_DOCUMENTS) else None


def _check_contents(
    archive: Archive,
    documents: dict[str, Any],
    ledger: Ledger,
    statement: Statement,
    report: Report,
) -> None:
    check_session(documents, statement, report)
    check_states(ledger, statement, report)
    if TRANSITIONS in archive.members:
        batches = archive.batches_of_lines(TRANSITIONS)
        check_transitions((line for batch in batches for line in batch), ledger, report)
    check_grants(documents, ledger, report)
    check_artifacts(documents, ledger, report)
    check_checkpoints(documents, ledger, report)
    note_gaps(documents, report)
