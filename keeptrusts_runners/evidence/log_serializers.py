"""What the routes of the organization's log answer. Hashes are in hex."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from keeptrusts_runners import clock, ids
from keeptrusts_runners.api.shapes import InstantOut, OutputShape
from keeptrusts_runners.evidence.leaves import AUDIT_LEAF, ROLLBACK_LEAF, SESSION_LEAF
from keeptrusts_runners.evidence.log_models import LogCheckpoint, LogKey, LogLeaf
from keeptrusts_runners.evidence.log_proofs import Consistency
from keeptrusts_runners.jwk import required_members
from keeptrusts_runners.keys import SigningKey

_PREFIX = {SESSION_LEAF: "sess", AUDIT_LEAF: "aud", ROLLBACK_LEAF: "org"}
FOR_BUNDLES, FOR_CHECKPOINTS = "bundles", "checkpoints"


class LogCheckpointOut(OutputShape):
    """A checkpoint of the log; `note` is what is signed, with its signatures."""

    size = serializers.IntegerField()
    root = serializers.SerializerMethodField()  # type: ignore[assignment]  # the field, not its owner
    at = InstantOut()
    note = serializers.CharField()

    def get_root(self, checkpoint: LogCheckpoint) -> str:
        return bytes(checkpoint.root).hex()


class LogLeafOut(OutputShape):
    """An entry of the log: that a session's chain had record `seq` with this hash, that an audit
    record has this digest, or that `seq` leaves with this root were given up in a roll-back."""

    index = serializers.IntegerField()
    kind = serializers.CharField()
    subject = serializers.SerializerMethodField()
    seq = serializers.IntegerField()
    hash = serializers.SerializerMethodField()
    appended_at = InstantOut()

    def get_subject(self, leaf: LogLeaf) -> str:
        return ids.encode(_PREFIX[leaf.kind], leaf.subject)

    def get_hash(self, leaf: LogLeaf) -> str:
        return bytes(leaf.hash).hex()


def leaf_line(leaf: LogLeaf) -> bytes:
    """A line of all leaves, in the one spelling that the verifier takes."""
    subject = ids.encode(_PREFIX[leaf.kind], leaf.subject)
    return (
        f'{{"index":{leaf.index},"kind":"{leaf.kind}","subject":"{subject}","seq":{leaf.seq},'
        f'"hash":"{bytes(leaf.hash).hex()}"}}\n'
    ).encode()


class ConsistencyOut(OutputShape):
    """A proof of RFC 9162 that the log of size `to` begins with all of size `from`."""

    # Which is no name in Python.
    locals()["from"] = serializers.IntegerField(source="old")
    to = serializers.IntegerField(source="new")
    proof = serializers.SerializerMethodField()

    def get_proof(self, consistency: Consistency) -> list[str]:
        return [value.hex() for value in consistency.proof]


class InclusionOut(OutputShape):
    """A proof of RFC 9162 that the log of this checkpoint has this leaf."""

    leaf = LogLeafOut()
    proof = serializers.SerializerMethodField()
    checkpoint = LogCheckpointOut()

    def get_proof(self, inclusion: Mapping[str, Any]) -> list[str]:
        return [value.hex() for value in inclusion["proof"]]


def log_key_out(key: LogKey) -> dict[str, Any]:
    """A JWK of the key, with what it is for and when it signs; `until` is null for the present."""
    return {
        **required_members(bytes(key.public_key)),
        "kid": key.kid,
        "alg": "EdDSA",
        "use": "sig",
        "purpose": FOR_CHECKPOINTS,
        "since": clock.rfc3339(key.since),
        "until": clock.rfc3339(key.until),
    }


def bundle_key_out(key: SigningKey) -> dict[str, Any]:
    return {**key.public_jwk(), "purpose": FOR_BUNDLES}
