"""What bodies about notes, holds and redactions must be, and what answers look like."""

from __future__ import annotations

from rest_framework import serializers

from grants.custody_models import Verdict, Verification
from keeptrusts_runners.api.inputs import InputShape, Text
from keeptrusts_runners.api.shapes import IdOut, InstantOut, OutputShape


class NoteIn(InputShape):
    message = Text(max_length=16 * 1024, lines=True)


class HoldIn(InputShape):
    reason = Text(max_length=2000, lines=True)


class RedactIn(InputShape):
    reason = Text(max_length=2000, lines=True)


class HoldOut(OutputShape):
    session_id = IdOut("sess")
    reason = serializers.CharField()
    placed_by = serializers.CharField()
    placed_at = InstantOut()


class VerificationRunOut(OutputShape):
    """A check in the background: up to where the chain holds so far. `failed_at`: it could not go
    on, and does so from there when it is asked for again."""

    requested_by = serializers.CharField()
    requested_at = InstantOut()
    records = serializers.IntegerField()
    failed_at = InstantOut(allow_null=True)


class VerificationOut(OutputShape):
    """`pending`: never checked; `expired`: retention has dropped the records. While a check is
    `running` the rest is of the one before it."""

    session_id = IdOut("sess")
    verdict = serializers.ChoiceField(Verdict.choices)
    records = serializers.IntegerField()
    head_hash = serializers.SerializerMethodField()
    checked_at = InstantOut(allow_null=True)
    first_bad_seq = serializers.IntegerField(allow_null=True)
    reason = serializers.CharField(allow_blank=True)
    running = VerificationRunOut(allow_null=True)

    def get_head_hash(self, obj: Verification) -> str:
        """Of the last record that holds, in hex."""
        return bytes(obj.head_hash).hex()
