"""What is said of the queue as a whole, and of a session that does not move."""

from __future__ import annotations

from rest_framework import serializers

from keeptrusts_runners.api.shapes import IdOut, InstantOut, OutputShape
from sessions.refusal_models import Refusal


class DepthOut(OutputShape):
    queued = serializers.IntegerField()
    oldest_waiting_at = InstantOut(allow_null=True)
    active = serializers.IntegerField()
    paused = serializers.IntegerField()
    polling = serializers.IntegerField()


class ProfileDepthOut(DepthOut):
    profile_id = IdOut("prof")
    name = serializers.CharField()
    status = serializers.CharField()


class StatsOut(OutputShape):
    """Depth in total and by profile, the busiest first; `truncated`: there are more profiles."""

    total = DepthOut()
    profiles = ProfileDepthOut(many=True)
    truncated = serializers.BooleanField()


class WaitingOut(OutputShape):
    code = serializers.CharField()
    until = InstantOut(allow_null=True)
    blocked = serializers.BooleanField()


class SlotsOut(OutputShape):
    max_concurrent_sessions = serializers.IntegerField(source="most")
    active = serializers.IntegerField()
    holders = serializers.ListField(child=IdOut("sess"))


class KeySlotsOut(OutputShape):
    key = serializers.CharField(source="name")
    concurrency_limit = serializers.IntegerField(source="most")
    active = serializers.IntegerField()
    holders = serializers.ListField(child=IdOut("sess"))


class AudienceOut(OutputShape):
    """Of the executors that ask for work of the profile now."""

    polling = serializers.IntegerField()
    offering = serializers.IntegerField()
    lacking = serializers.DictField(child=serializers.CharField())
    truncated = serializers.BooleanField()


class RefusalOut(OutputShape):
    """What was refused within one minute: `count` times, the last time in `request_id`."""

    operation = serializers.CharField()
    code = serializers.CharField()
    reason = serializers.CharField()
    actor = serializers.CharField()
    named_epoch = serializers.SerializerMethodField()
    lease_epoch = serializers.SerializerMethodField()
    count = serializers.IntegerField()
    first_at = InstantOut()
    last_at = InstantOut()
    request_id = serializers.CharField()

    def get_named_epoch(self, obj: Refusal) -> int | None:
        """The epoch that the refused one named."""
        return obj.named_epoch or None

    def get_lease_epoch(self, obj: Refusal) -> int | None:
        """The session's own, where it was looked at."""
        return obj.lease_epoch or None


class ExplanationOut(OutputShape):
    """Why a session is where it is, and what may be asked of it. The last six are of pending
    sessions; `position` is of at least that place when `position_capped`. `refusals` are the last
    five."""

    id = IdOut("sess", source="session.id")
    state = serializers.CharField(source="session.state")
    reason = serializers.CharField(source="session.reason")
    labels = serializers.DictField(child=serializers.CharField(), source="session.labels")
    sentence = serializers.CharField()
    allowed_verbs = serializers.ListField(child=serializers.CharField())
    refusals = RefusalOut(many=True)
    waiting = WaitingOut(allow_null=True)
    position = serializers.IntegerField(allow_null=True)
    position_capped = serializers.BooleanField()
    limit = SlotsOut(allow_null=True)
    key_limit = KeySlotsOut(allow_null=True)
    executors = AudienceOut(allow_null=True)
