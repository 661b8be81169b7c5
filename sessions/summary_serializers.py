"""What a summary of failures looks like."""

from __future__ import annotations

from rest_framework import serializers

from keeptrusts_runners.api.shapes import IdOut, InstantOut, OutputShape


class FailureGroupOut(OutputShape):
    """Failures with something in common. `key` is what the list filters by, `name` what people
    call it; `query` is the list's query string for exactly these, where it can say so."""

    key = serializers.CharField(allow_null=True)
    name = serializers.CharField(allow_null=True)
    count = serializers.IntegerField()
    states = serializers.DictField(child=serializers.IntegerField())
    first_ended_at = InstantOut()
    last_ended_at = InstantOut()
    samples = serializers.ListField(child=IdOut("sess"))
    query = serializers.CharField(allow_null=True)


class SummaryOut(OutputShape):
    """The failures of a window, the largest group first. `capped`: the window is shorter than was
    asked for; `truncated`: there are more groups."""

    group_by = serializers.CharField()
    ended_after = InstantOut()
    ended_before = InstantOut()
    capped = serializers.BooleanField()
    total = serializers.IntegerField()
    groups = FailureGroupOut(many=True)
    truncated = serializers.BooleanField()
