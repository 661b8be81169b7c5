"""What bodies about executors must be, and what answers look like."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from keeptrusts_runners import ids
from keeptrusts_runners.api.inputs import InputShape, Text
from keeptrusts_runners.api.shapes import IdOut, InstantOut, OutputShape
from sessions.executor_models import RunnerExecutor
from sessions.executors import Standing


class DrainIn(InputShape):
    reason = Text(max_length=2000, lines=True, required=False, allow_blank=True)


class EvictIn(InputShape):
    reason = Text(max_length=2000, lines=True)


class DrainingOut(OutputShape):
    at = InstantOut(source="draining_at")
    by = serializers.CharField(source="draining_by")
    reason = serializers.CharField(source="draining_reason")


class ExecutorOut(OutputShape):
    """An executor as its claims show it. `available`: it asks for work now, of the profiles named,
    or of any; `busy`: it does not, and holds leases; else `offline`."""

    id = IdOut("exec", source="executor.id")
    account = serializers.CharField(source="executor.account")
    name = serializers.CharField(source="executor.name")
    version = serializers.CharField(source="executor.version")
    labels = serializers.DictField(child=serializers.CharField(), source="executor.labels")
    profiles = serializers.SerializerMethodField()
    status = serializers.ChoiceField(["available", "busy", "offline"])
    sessions_held = serializers.IntegerField(source="held")
    draining = serializers.SerializerMethodField()
    first_seen_at = InstantOut(source="executor.first_seen_at")
    last_seen_at = InstantOut(source="seen_at")

    def get_profiles(self, obj: Standing) -> list[str] | None:
        """The ids of the profiles that it asks for; null: any."""
        only = obj.executor.profile_ids
        return None if only is None else [ids.encode("prof", each) for each in only]

    def get_draining(self, obj: Standing) -> dict[str, Any] | None:
        """at, by, reason; null: it is handed work."""
        executor: RunnerExecutor = obj.executor
        return DrainingOut.render(executor) if executor.draining_at else None
