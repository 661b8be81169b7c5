"""What sessions do about a change below them: of their profile, or of who runs them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.dispatch import receiver

from keeptrusts_runners.identity import principal
from keeptrusts_runners.identity.models import ServiceAccount
from keeptrusts_runners.identity.signals import account_revoked
from profiles.models import RunnerProfile
from profiles.signals import work_released
from sessions import evictions, wakeups


@receiver(work_released, sender=RunnerProfile, dispatch_uid="sessions.announce_released_work")
def announce_released_work(organization_id: UUID, **_: Any) -> None:
    """Wake the executors that wait: what they may take is there already."""
    wakeups.announce(organization_id)


@receiver(account_revoked, sender=ServiceAccount, dispatch_uid="sessions.end_leases_of_account")
def end_leases_of_account(organization_id: UUID, account: str, **_: Any) -> None:
    """Its tokens are dead, so nobody could go on with what it holds: others may, at once."""
    evictions.end_leases_of_account(account, by=principal.system(organization_id))
