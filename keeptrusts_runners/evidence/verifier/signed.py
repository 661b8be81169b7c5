"""The signed statement: which files the bundle has to have, and of which session it is."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from keeptrusts_runners.evidence.dsse import IN_TOTO
from keeptrusts_runners.evidence.verifier.archive import Archive
from keeptrusts_runners.evidence.verifier.strict_json import parse_json
from keeptrusts_runners.evidence.verifier.typeid import uuid_bytes

# evidence/statement.py writes them; a test holds the two together.
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "urn:keeptrusts:evidence:session:v1"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Statement:
    """What was signed; `digests` is by file name."""

    digests: dict[str, str]
    organization_id: str
    session_id: str
    state: str
    generated_at: str
    head_seq: int
    head_hash: str
    missing: list[str]

    @property
    def organization(self) -> bytes:
        return uuid_bytes("org", self.organization_id)

    @property
    def session(self) -> bytes:
        return uuid_bytes("sess", self.session_id)


def read_statement(payload_type: str, payload: bytes) -> Statement:
    """Raises ValueError for anything but a statement of ours."""
    if payload_type != IN_TOTO:
        raise ValueError("what is signed is not an in-toto statement")
    document = parse_json(payload)
    if not isinstance(document, dict) or document.get("_type") != _STATEMENT:
        raise ValueError("what is signed is not an in-toto statement v1")
    if document.get("predicateType") != _PREDICATE:
        raise ValueError("what is signed is not of a session, or needs a newer verifier")
    try:
        return _statement(document)
    except (KeyError, TypeError, AttributeError):
        raise ValueError("the signed statement lacks something") from None


def _statement(document: dict[str, Any]) -> Statement:
    predicate, head = document["predicate"], document["predicate"]["head"]
    statement = Statement(
        digests=_digests(document["subject"]),
        organization_id=predicate["organization_id"],
        session_id=predicate["session_id"],
        state=predicate["state"],
        generated_at=predicate["generated_at"],
        head_seq=head["seq"],
        head_hash=head["hash"],
        missing=[f"{entry['code']}: {entry['detail']}" for entry in predicate["missing"]],
    )
    texts = (statement.state, statement.generated_at, statement.head_hash)
    if not all(isinstance(text, str) for text in texts) or type(statement.head_seq) is not int:
        raise TypeError("a member of another type")
    uuid_bytes("org", statement.organization_id)
    uuid_bytes("sess", statement.session_id)
    return statement


def _digests(subjects: list[dict[str, Any]]) -> dict[str, str]:
    digests = {subject["name"]: subject["digest"]["sha256"] for subject in subjects}
    if len(digests) != len(subjects):
        raise ValueError("a file is signed twice")
    if not all(isinstance(d, str) and _SHA256.fullmatch(d) for d in digests.values()):
        raise ValueError("a signed digest is not SHA-256 in hex")
    return digests


def digest_of(archive: Archive, name: str) -> str:
    """SHA-256 in hex of a file in the archive."""
    digest = hashlib.sha256()
    for chunk in archive.chunks(name):
        digest.update(chunk)
    return digest.hexdigest()
