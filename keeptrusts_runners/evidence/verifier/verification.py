"""A bundle verified from the outside in: archive, signature, digests, chain, contents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from keeptrusts_runners.evidence.dsse import decode_envelope
from keeptrusts_runners.evidence.layout import (
    ARTIFACTS,
    EVENTS,
    HARNESS,
    KEYS,
    LOG_CHECKPOINT,
    MEMBERS,
    OPTIONAL,
    PROFILE,
    SESSION,
    STATEMENT,
    SUMS,
    TRANSITIONS,
)
from keeptrusts_runners.evidence.verifier.anchor import (
    Anchor,
    KeptCheckpoint,
    check_anchor,
    check_anchored_record,
    check_kept,
    read_anchor,
    read_kept,
)
from keeptrusts_runners.evidence.verifier.archive import Archive
from keeptrusts_runners.evidence.verifier.artifact_files import check_files
from keeptrusts_runners.evidence.verifier.contents import (
    LISTS,
    check_artifacts,
    check_checkpoints,
    check_grants,
    check_refusals,
    check_session,
    check_shape,
    check_states,
    check_transitions,
    note_gaps,
)
from keeptrusts_runners.evidence.verifier.ledger import Ledger
from keeptrusts_runners.evidence.verifier.log_leaves import check_leaves
from keeptrusts_runners.evidence.verifier.records import BrokenRecord
from keeptrusts_runners.evidence.verifier.report import UNUSABLE, Damaged, Report, Unusable, shown
from keeptrusts_runners.evidence.verifier.signed import Statement, digest_of, read_statement
from keeptrusts_runners.evidence.verifier.strict_json import parse_json
from keeptrusts_runners.evidence.verifier.sums import check_sums
from keeptrusts_runners.evidence.verifier.trust import (
    Pin,
    PublicKey,
    Signatory,
    checkpoint_signatory,
    keys_of_document,
    read_pin,
    statement_signatory,
)

_DOCUMENTS = (SESSION, PROFILE, HARNESS, *LISTS)


def verify_bundle(
    bundle: Path,
    key: str | None = None,
    artifacts: Path | None = None,
    checkpoint: Path | None = None,
    consistency: Path | None = None,
    leaves: Path | None = None,
) -> Report:
    """Verify a bundle; whatever is wrong with it is in the report, and nothing is raised.

    `key` pins trust: a public key's file, or its id. `artifacts` is a directory with the
    session's files. `checkpoint` is one of the organization's log that the reader has from
    elsewhere, `consistency` a proof between it and the bundle's, `leaves` all that the log has.
    """
    report = Report(bundle=shown(str(bundle)))
    try:
        pin = read_pin(key) if key is not None else None
        log = KnownLog(_read_kept(checkpoint, consistency), leaves)
        with bundle.open("rb") as file:
            _verify(file, pin, artifacts, log, report)
    except Damaged as damage:
        report.break_at("archive", str(damage))
    except Unusable as reason:
        _give_up(report, str(reason))
    except OSError as error:
        _give_up(report, f"{shown(str(bundle))}: {error.strerror or error}")
    return report


@dataclass(frozen=True, slots=True)
class KnownLog:
    """What the reader has of the organization's log from elsewhere."""

    kept: KeptCheckpoint | None
    leaves: Path | None


def _read_kept(checkpoint: Path | None, consistency: Path | None) -> KeptCheckpoint | None:
    if checkpoint is not None:
        return read_kept(checkpoint, consistency)
    if consistency is not None:
        raise Unusable("--consistency proves nothing without --checkpoint")
    return None


def _give_up(report: Report, reason: str) -> None:
    report.break_at("input", reason)
    report.verdict = UNUSABLE


def _verify(
    file: BinaryIO,
    pin: Pin | None,
    artifacts: Path | None,
    log: KnownLog,
    report: Report,
) -> None:
    archive = Archive(file)
    for name in MEMBERS:
        if name not in archive.members and name not in OPTIONAL:
            report.break_at(name, "is not in the bundle")
    anchor = read_anchor(archive, report)
    statement = _signed_statement(archive, pin, anchor, report)
    if statement is not None:
        _check_digests(archive, statement, report)
        ledger = _check_ledger(archive, statement, anchor, report)
        documents = _read_documents(archive, report)
        if ledger is not None and documents is not None:
            _check_contents(archive, documents, ledger, statement, report)
        names = _check_sums(archive, documents, report)
        if artifacts is not None and documents is not None:
            check_files(artifacts, documents[ARTIFACTS], names, report)
        _check_leaves(log, anchor, statement, ledger, report)
    if log.kept is not None:
        _compare_with_kept(log.kept, anchor, report)


def _signed_statement(
    archive: Archive, pin: Pin | None, anchor: Anchor | None, report: Report
) -> Statement | None:
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
    carried = _carried_keys(archive, report)
    checkpoint = anchor.checkpoint if anchor else None
    try:
        signatory = statement_signatory(envelope, carried, pin, checkpoint)
    except ValueError as error:
        report.break_at(STATEMENT, str(error))
    else:
        _describe_key(signatory, pin, report)
    _check_anchor(anchor, statement, carried, pin, report)
    return statement


def _carried_keys(archive: Archive, report: Report) -> list[PublicKey]:
    try:
        return keys_of_document(archive.read(KEYS)) if KEYS in archive.members else []
    except ValueError as error:
        report.break_at(KEYS, str(error))
        return []


def _describe(statement: Statement, report: Report) -> None:
    report.organization_id = statement.organization_id
    report.session_id = statement.session_id
    report.state = shown(statement.state)
    report.generated_at = shown(statement.generated_at)
    for what in statement.missing:
        report.lacks(shown(what))


def _describe_key(signatory: Signatory, pin: Pin | None, report: Report) -> None:
    report.key_id, report.key_pinned = signatory.kid, signatory.pinned
    if signatory.pinned:
        report.check("Signature", f"good, by the key that you trust, {report.key_id}")
        return
    report.check("Signature", f"good, by the key that the bundle carries, {report.key_id}")
    if pin is None:
        report.lacks("a key that you trust: get its id from its owner and give it as --key=ID")
    else:
        report.lacks("a key that you trust for all but what is anchored in the log")


def _check_anchor(
    anchor: Anchor | None,
    statement: Statement,
    carried: list[PublicKey],
    pin: Pin | None,
    report: Report,
) -> None:
    if anchor is None:
        # Later records could have been left out by whoever has the key.
        report.lacks("an anchor: no proof that the organization's log has a record of it")
        return
    try:
        signatory = checkpoint_signatory(anchor.checkpoint, carried, pin)
    except ValueError as error:
        report.break_at(LOG_CHECKPOINT, str(error))
        return
    if signatory.kid == report.key_id:
        report.break_at(LOG_CHECKPOINT, "it is signed by the bundle's key, which is not the log's")
        return
    report.log_key_id, report.log_key_pinned = signatory.kid, signatory.pinned
    report.anchored_seq, report.log_size = anchor.seq, anchor.checkpoint.head.size
    whose = "the key that you trust" if signatory.pinned else "the key that the bundle carries"
    report.check("Checkpoint", f"good, by {whose}, {signatory.kid}")
    if pin is not None and not signatory.pinned:
        report.lacks("a key of the log that you trust: who has the bundle's key can name any")
    check_anchor(anchor, statement, report)


def _check_leaves(
    log: KnownLog,
    anchor: Anchor | None,
    statement: Statement,
    ledger: Ledger | None,
    report: Report,
) -> None:
    if log.leaves is not None:
        heads = [anchor.checkpoint.head] if anchor else []
        heads += [log.kept.head] if log.kept else []
        check_leaves(log.leaves, heads, statement, ledger.seq if ledger else None, report)


def _compare_with_kept(kept: KeptCheckpoint, anchor: Anchor | None, report: Report) -> None:
    if anchor is not None:
        check_kept(kept, anchor.checkpoint, report)
    elif not report.problems:
        report.break_at(LOG_CHECKPOINT, "the bundle has none to compare with the one you kept")


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
        if name not in MEMBERS or name in OPTIONAL:
            report.break_at(shown(name), "is signed, and not in the bundle")
    if len(report.problems) == before:
        report.check("Digests", f"{len(statement.digests)} files, as signed")


def _check_ledger(
    archive: Archive, statement: Statement, anchor: Anchor | None, report: Report
) -> Ledger | None:
    """The ledger, read as far as it holds; None if it does not hold to its signed head."""
    if EVENTS not in archive.members:
        return None
    watched = anchor.seq if anchor else 0
    ledger = Ledger(statement.organization, statement.session, watched)
    broken = None
    try:
        ledger.read(archive.batches_of_lines(EVENTS))
        ledger.require_head(statement.head_seq, statement.head_hash)
    except BrokenRecord as found:
        broken = found
        report.break_record(broken.seq, broken.detail)
    report.records, report.head_hash = ledger.seq, ledger.head.hex()
    if broken is not None:
        return None
    report.check("Records", f"{ledger.seq}, chained to the signed head {report.head_hash}")
    if anchor is not None:
        check_anchored_record(anchor, ledger, report)
    if redacted := ledger.redactions.count:
        report.lacks(f"the bodies of {redacted} redacted records")
    return ledger


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


def _check_sums(archive: Archive, documents: dict[str, Any] | None, report: Report) -> list[str]:
    """The names of the artifacts' files; none where the bundle has no list of them."""
    if documents is None or SUMS not in archive.members:
        return []
    return check_sums(archive.read(SUMS), documents[ARTIFACTS], report)


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
    check_refusals(documents, report)
    note_gaps(documents, report)
