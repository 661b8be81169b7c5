"""The in-toto Statement v1 of a session's bundle: which files it has, and what they prove."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
# A name, not an address: nothing is to be fetched to understand a bundle, and it stays the same
# wherever the product runs. Its meaning is docs/evidence-format.md; another meaning is another v.
PREDICATE_TYPE = "urn:keeptrusts:evidence:session:v1"


def session_predicate(
    *,
    organization_id: str,
    session_id: str,
    state: str,
    head_seq: int,
    head_hash: bytes,
    generated_at: datetime,
    missing: Iterable[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """What is said of one session at one moment. The ids are TypeIDs.

    `missing` are objects {code, detail}: what a reader might expect in the bundle and what is
    not there.
    """
    return {
        "organization_id": organization_id,
        "session_id": session_id,
        "state": state,
        "head": {"seq": head_seq, "hash": head_hash.hex()},
        "generated_at": generated_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "missing": [dict(entry) for entry in missing],
    }


def encode_statement(digests: Mapping[str, str], predicate: Mapping[str, Any]) -> bytes:
    """The payload to sign; `digests` is the SHA-256 in hex of each file by its name."""
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": hexa}} for name, hexa in digests.items()],
        "predicateType": PREDICATE_TYPE,
        "predicate": dict(predicate),
    }
    return json.dumps(
        document, separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False
    ).encode()
