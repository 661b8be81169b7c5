"""Query parameters of the profile and harness lists."""

from __future__ import annotations

from keeptrusts_runners.api.filters import LabelFilter, StrictFilterSet, TextFilter, WordsFilter
from profiles.models import HarnessRevision, HarnessStatus, ProfileStatus, RunnerProfile


class ProfileFilters(StrictFilterSet):
    status = WordsFilter([status.value for status in ProfileStatus])
    name = TextFilter(max_length=120)
    execution_target = TextFilter(max_length=64)
    label = LabelFilter()

    class Meta:
        model = RunnerProfile
        fields: list[str] = []


class HarnessFilters(StrictFilterSet):
    status = WordsFilter([status.value for status in HarnessStatus])

    class Meta:
        model = HarnessRevision
        fields: list[str] = []
