"""Gathers one session's evidence; evidence/ only lays it out and signs it.

Everything is read in one snapshot, so that the documents agree with the ledger and with each
other while the session goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.conf import settings

from grants import lines, queries
from grants.models import LedgerHead
from grants.serializers import ArtifactOut, grant_out
from keeptrusts_runners import clock, ids
from keeptrusts_runners.errors import NotAnchored
from keeptrusts_runners.evidence import audit, bundle_writer, layout, log_keys, log_proofs
from keeptrusts_runners.evidence.log_proofs import Inclusion
from keeptrusts_runners.evidence.log_serializers import bundle_key_out, log_key_out
from keeptrusts_runners.evidence.statement import session_predicate
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Scope
from keeptrusts_runners.identity.tenancy import organization_scope
from keeptrusts_runners.keys import SigningKey, load_or_create
from profiles.serializers import HarnessOut, ProfileOut
from sessions import queries as session_queries
from sessions import refusals
from sessions.insight_serializers import RefusalOut
from sessions.models import Checkpoint, RunnerSession, Transition
from sessions.serializers import CheckpointOut, SessionDetailOut


@lru_cache(maxsize=1)
def signing_key() -> SigningKey:
    """The key that bundles are signed with; not the one for tokens."""
    return load_or_create(settings.EVIDENCE_KEY_FILE)


def keys() -> list[dict[str, Any]]:
    """The public keys that bundles and checkpoints verify with, as JWKs that say their purpose."""
    own = bundle_key_out(signing_key())
    return [own, *map(log_key_out, log_keys.registered_keys())]


def anchored(session: RunnerSession) -> dict[str, Any]:
    """The newest anchored record's inclusion, and the records that are pending. Raises
    NotAnchored."""
    found = log_proofs.inclusion(session.organization_id, session.id)
    head = LedgerHead.objects.get(session_id=session.id)
    pending = None
    if head.seq > found.leaf.seq:
        pending = {"first_seq": found.leaf.seq + 1, "last_seq": head.seq}
    return {
        "leaf": found.leaf,
        "proof": found.proof,
        "checkpoint": found.checkpoint,
        "pending": pending,
    }


def filename(session_id: UUID) -> str:
    return f"{ids.encode('sess', session_id)}.evidence.tar"


def stream(session_id: UUID, *, by: Principal) -> Iterator[bytes]:
    """The signed bundle, as bytes in order. Opens the scopes it needs: first one to put the export
    on record. Raises NotFound."""
    by.require(Scope.AUDIT)
    with organization_scope(by.organization_id):
        _audit(session_queries.session(session_id, by=by), by)
    with organization_scope(by.organization_id, snapshot=True):
        session = session_queries.session(session_id, by=by)
        head = LedgerHead.objects.get(session_id=session_id)
        predicate = session_predicate(
            organization_id=ids.encode("org", session.organization_id),
            session_id=ids.encode("sess", session.id),
            state=session.state,
            head_seq=head.seq,
            head_hash=bytes(head.hash),
            generated_at=clock.now(),
            missing=_missing(session),
        )
        yield from bundle_writer.stream_bundle(_files(session), predicate, signing_key())


def _audit(session: RunnerSession, by: Principal) -> None:
    head = LedgerHead.objects.get(session_id=session.id)
    exported = ids.encode("sess", session.id)
    entry = audit.Entry(
        "evidence.exported", exported, by.actor, after=bytes(head.hash), detail={"seq": head.seq}
    )
    audit.record(session.organization_id, [entry])


def _missing(session: RunnerSession) -> list[dict[str, str]]:
    """What a reader might look for and will not find."""
    if session.is_final:
        return []
    return [{"code": "not_final", "detail": f"The session is {session.state}; more may follow."}]


def _files(session: RunnerSession) -> Iterator[tuple[str, bytes | Iterable[bytes]]]:
    now = clock.now()
    organization = {"organization_id": ids.encode("org", session.organization_id)}
    yield layout.SESSION, _document(SessionDetailOut.render(session) | organization)
    yield layout.PROFILE, _document(ProfileOut.render(session.profile))
    harness = HarnessOut.render(session.harness) if session.harness else None
    yield layout.HARNESS, _document(harness)
    yield layout.TRANSITIONS, map(_transition, session_queries.transitions(session.id))
    yield layout.EVENTS, lines.of_session(session)
    grants = queries.grants(session.id).order_by("id")
    yield layout.GRANTS, _document([grant_out(grant, now) for grant in grants])
    artifacts = queries.artifacts(session.id).order_by("id")
    yield layout.ARTIFACTS, _document(ArtifactOut.render_many(artifacts))
    yield layout.SUMS, queries.manifest(session.id).encode()
    checkpoints = session_queries.checkpoints(session.id).order_by("number")
    yield layout.CHECKPOINTS, _document([_checkpoint(each) for each in checkpoints])
    yield layout.COMPLETENESS, _document(queries.completeness(session))
    refused = refusals.of_session(session.id).reverse()
    yield layout.REFUSALS, _document(RefusalOut.render_many(refused))
    found = _inclusion(session)
    yield layout.ANCHOR, _document(found and _anchor(found))
    yield layout.LOG_CHECKPOINT, found.checkpoint.note.encode() if found else b""
    yield layout.KEYS, _document({"keys": keys()})


def _inclusion(session: RunnerSession) -> Inclusion | None:
    """The newest anchored record's; None while the signer has anchored none."""
    try:
        return log_proofs.inclusion(session.organization_id, session.id)
    except NotAnchored:
        return None


def _anchor(found: Inclusion) -> dict[str, Any]:
    leaf = {
        "kind": found.leaf.kind,
        "subject": ids.encode("sess", found.leaf.subject),
        "seq": found.leaf.seq,
        "hash": bytes(found.leaf.hash).hex(),
    }
    proof = [value.hex() for value in found.proof]
    return {"leaf": leaf, "index": found.leaf.index, "proof": proof}


def _document(content: Any) -> bytes:
    return json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"


def _transition(row: Transition) -> bytes:
    step = {
        "seq": row.seq,
        "verb": row.verb,
        "from": row.source or None,
        "to": row.target,
        "reason": row.reason or None,
        "actor": row.actor,
        "lease_epoch": row.lease_epoch,
        "at": clock.rfc3339(row.at),
    }
    return json.dumps(step, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    """Its digest is the proof; the data itself may be large and stays with the API."""
    return {k: v for k, v in CheckpointOut.render(checkpoint).items() if k != "data"}
