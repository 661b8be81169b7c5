"""What sessions do about a change of their profile."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.dispatch import receiver

from profiles.models import RunnerProfile
from profiles.signals import work_released
from sessions import wakeups


@receiver(work_released, sender=RunnerProfile, dispatch_uid="sessions.announce_released_work")
def announce_released_work(organization_id: UUID, **_: Any) -> None:
    """Wake the executors that wait: what they may take is there already."""
    wakeups.announce(organization_id)
